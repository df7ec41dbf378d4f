"""What holds for every test."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import settings

# A busy machine is not a broken law: pytest's own timeout ends what hangs.
settings.register_profile("riskd", deadline=None)
settings.load_profile("riskd")

# Tests run several at a time: threads of scikit-learn that wait for each other would only be in the way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What riskd keeps for whoever runs the tests is neither read nor changed.
_HOME = tempfile.TemporaryDirectory(prefix="riskd-tests-")
for _name in ("XDG_STATE_HOME", "XDG_DATA_HOME"):
    os.environ[_name] = str(Path(_HOME.name) / _name)
