"""A lock between threads and processes with a timeout: whoever holds it has the turn to write."""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from pathlib import Path
from threading import Lock
from time import perf_counter, sleep
from typing import Final
from weakref import finalize

TURN: Final = "turn"
"""File beside the data. Its lock is the turn to write."""
PATIENCE_S: Final = 2.0
"""Longest wait for the turn of work for which no caller waits: opening, sweeping, erasing."""
LONG_S: Final = 0.05
"""If nobody gets the turn for this long, its holder is considered stuck. A turn usually takes about 0.1 ms."""
_SHORTEST_S: Final = 20e-6
_LONGEST_S: Final = 0.5e-3


class Turn:
    """A lock on a file (`flock`) that is polled until a timeout.

    The kernel releases it when its holder dies. If its holder is stuck (a stopped process, a disk that does not
    answer), the first caller of a process waits for its whole timeout. After that, callers try once without waiting
    until one gets the turn, so that not every call is delayed.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        finalize(self, os.close, self._descriptor)
        self._threads = Lock()
        self._moves = True

    def take(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the turn. True: the caller has it, and must call `give`."""
        started = perf_counter()
        patience = timeout if self._moves else 0.0
        if self._threads.acquire(timeout=patience):
            taken = False
            try:
                taken = self._lock(started + patience)
            finally:  # also if a signal's handler raises
                if not taken:
                    self._threads.release()
            if taken:
                self._moves = True
                return True
        if perf_counter() - started >= LONG_S:
            self._moves = False
        return False

    def give(self) -> None:
        """Release the turn."""
        try:
            flock(self._descriptor, LOCK_UN)
        finally:
            self._threads.release()

    def _lock(self, deadline: float) -> bool:
        pause = _SHORTEST_S
        while True:
            try:
                flock(self._descriptor, LOCK_EX | LOCK_NB)
            except OSError:  # somebody else has it, or the kernel has no memory for another lock
                if perf_counter() >= deadline:
                    return False
                sleep(pause)
                pause = min(pause * 2, _LONGEST_S)
            else:
                return True
