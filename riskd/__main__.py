"""The program: what `python -m riskd` and the console script `riskd` run."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType


def run() -> int:
    """Run the command line and return its exit code.

    Ctrl-C ends the process at once while modules are imported: an exception there would be shown with a traceback, or
    be lost in a callback of the import system. Then `main` takes over. What a shell told to ignore Ctrl-C ignores it.
    """
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from riskd.cli.main import main  # noqa: PLC0415 - it takes the time of which the docstring speaks

    signal.signal(signal.SIGINT, interrupt)
    _prepare_streams()
    return main()


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """Leave with the code that shells report for Ctrl-C."""
    os._exit(128 + signal.SIGINT)


def _prepare_streams() -> None:
    """Print UTF-8 in every locale, and open those standard streams that the caller closed on the null device: otherwise
    the next file to be opened would have their number, and what a library prints to stderr could end up in it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the end
        elif mode == "w":
            stream.reconfigure(encoding="utf-8", errors=stream.errors)


if __name__ == "__main__":
    sys.exit(run())
