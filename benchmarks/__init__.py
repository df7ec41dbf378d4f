"""Programs that print what riskd costs: `python -m benchmarks.NAME`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn, ParamSpec

_Given = ParamSpec("_Given")


def program(main: Callable[_Given, int | None], *args: _Given.args, **kwargs: _Given.kwargs) -> NoReturn:
    """Run a benchmark, and end with its exit code; as the command line does where nobody reads on."""
    try:
        code = main(*args, **kwargs)
        sys.stdout.flush()
    except BrokenPipeError:
        from riskd.cli.main import UNREAD, silence  # noqa: PLC0415 - what is measured is measured without it

        silence()
        code = UNREAD
    sys.exit(code)
