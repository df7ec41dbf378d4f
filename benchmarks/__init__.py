"""Programs that measure riskd and print the figures: `python -m benchmarks.NAME`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn, ParamSpec

_Given = ParamSpec("_Given")


def program(main: Callable[_Given, int | None], *args: _Given.args, **kwargs: _Given.kwargs) -> NoReturn:
    """Run a benchmark and exit with its code. If its output is closed (`| head`), exit as the command line does."""
    try:
        code = main(*args, **kwargs)
        sys.stdout.flush()
    except BrokenPipeError:
        from riskd.cli.main import UNREAD, silence  # noqa: PLC0415 - must not be imported while measuring

        silence()
        code = UNREAD
    sys.exit(code)
