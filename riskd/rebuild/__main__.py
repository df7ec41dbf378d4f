"""The process that the watch starts. It reads the settings from stdin and writes one message per line to stdout."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from typing import Final

from riskd import progress
from riskd.core.errors import Problem, RiskdError
from riskd.host.files import cause
from riskd.rebuild.messages import Ended, Message, Progress, Refused, line, unpacked
from riskd.rebuild.order import SegmentReader
from riskd.rebuild.run import rebuild

NICE: Final = 10
"""Niceness: it gets about a tenth of a worker's share while both want the processor."""
REPORT_SECONDS: Final = 0.5
"""Shortest time between two messages about progress."""
_SET_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG, prctl(2)


def _send(message: Message) -> None:
    sys.stdout.buffer.write(line(message))
    sys.stdout.buffer.flush()


def main(parent: int) -> None:
    """Rebuild, unless the parent process has ended. This process is killed if its parent dies."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        return
    with suppress(PermissionError):  # a filter of system calls may refuse it
        os.nice(NICE)
    settings, sent_at = unpacked(sys.stdin.buffer.read()), 0.0

    def begin(half: str, total: int) -> progress.Progress:
        done = 0

        def report(more: int) -> None:
            nonlocal done, sent_at
            done += more
            if done >= total or time.monotonic() >= sent_at + REPORT_SECONDS:
                sent_at = time.monotonic()
                _send(Progress(half, done, total))

        return report

    try:
        _send(Ended(rebuild(settings, SegmentReader(settings), None, begin)))
    except RiskdError as error:
        _send(Refused(tuple(error.problems)))
    except OSError as error:  # mostly a full disk
        _send(Refused((Problem(error.filename or "the rebuild", cause(error)),)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
