"""A turn that threads and processes take one after another, and that nobody waits for longer than they can."""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from pathlib import Path
from threading import Lock
from time import perf_counter, sleep
from typing import Final
from weakref import finalize

LONG_S: Final = 0.05
"""A wait that was in vain for so long means that the holder does not move; a turn is some 0.1 ms."""
_SHORTEST_S: Final = 20e-6
_LONGEST_S: Final = 0.5e-3


class Turn:
    """A lock on a file (`flock`), asked for until the caller's time is over.

    The kernel gives it back when its holder dies, at any moment and by any signal. Who waited in vain for long
    spares the others the wait: until somebody gets the turn again, each asks once and no more, so that a process
    that was stopped, or a disk that does not answer, costs one long wait in each process and not one in each call.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        finalize(self, os.close, self._descriptor)
        self._threads = Lock()
        self._moves = True

    def take(self, timeout: float) -> bool:
        """Wait for the turn for at most `timeout` seconds. True: it is ours, and must be given back."""
        started = perf_counter()
        patience = timeout if self._moves else 0.0
        if self._threads.acquire(timeout=patience):
            if self._lock(started + patience):
                self._moves = True
                return True
            self._threads.release()
        if perf_counter() - started >= LONG_S:
            self._moves = False
        return False

    def give(self) -> None:
        """Let the next one."""
        try:
            flock(self._descriptor, LOCK_UN)
        finally:
            self._threads.release()

    def _lock(self, deadline: float) -> bool:
        pause = _SHORTEST_S
        while True:
            try:
                flock(self._descriptor, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                if perf_counter() >= deadline:
                    return False
                sleep(pause)
                pause = min(pause * 2, _LONGEST_S)
            else:
                return True
