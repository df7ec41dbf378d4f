"""Limits how many events a stream may report, so that whoever has a transmitter's key cannot flood the decision log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

MINUTE: Final = 60.0


class Pace:
    """At most `most` events a minute. A minute begins with the first event after the previous one ended.
    Thread-safe."""

    def __init__(self, most: int, now: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._now = now
        self._lock = threading.Lock()
        self._began = -MINUTE
        self._count = 0

    def admits(self) -> bool:
        """Whether one more event may be reported now. It counts."""
        with self._lock:
            if self._now() - self._began >= MINUTE:
                self._began, self._count = self._now(), 0
            self._count += 1
            return self._count <= self._most
