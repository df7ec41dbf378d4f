"""Settings for all tests."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: a busy machine is no failure, and pytest's timeout ends what hangs.
settings.register_profile("riskd", deadline=None)
settings.load_profile("riskd")

# Tests run in parallel, so threads of scikit-learn would only compete with them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell has what it starts in the background ignore Ctrl-C, which would make those ignore it that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The state of riskd of the user who runs the tests is neither read nor changed.
_HOME = tempfile.TemporaryDirectory(prefix="riskd-tests-")
for _name in ("XDG_STATE_HOME", "XDG_DATA_HOME"):
    os.environ[_name] = str(Path(_HOME.name) / _name)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The thousands of tests live as long as their process, so the garbage collector need not visit them again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()
