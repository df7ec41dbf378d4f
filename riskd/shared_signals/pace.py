"""How many events a stream may tell: whoever has a transmitter's key fills no decision log with them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

MINUTE: Final = 60.0


class Pace:
    """So many in a minute, which begins with the first after the one before has ended. For many threads."""

    def __init__(self, most: int, now: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._now = now
        self._lock = threading.Lock()
        self._began = -MINUTE
        self._count = 0

    def admits(self) -> bool:
        """Whether one more may go now; it is counted."""
        with self._lock:
            if self._now() - self._began >= MINUTE:
                self._began, self._count = self._now(), 0
            self._count += 1
            return self._count <= self._most
