"""Whether the clock can be believed, before something is deleted because it is old."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

CLOCK_STEP: Final = 300.0
"""Seconds by which a clock that was set, and does not merely drift, has moved."""
CLOCK_REST: Final = 3600.0
"""Seconds without deleting after such a step: time to set it right, if it was set wrong."""


def since_boot() -> float:
    """Seconds that nobody can set, those in which the machine slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """The wall clock, and whether somebody set it lately. For one thread."""

    def __init__(self, wall: Callable[[], float] = time.time, since_boot: Callable[[], float] = since_boot) -> None:
        """`wall`: epoch seconds. What it says now is believed."""
        self.wall = wall
        self._since_boot = since_boot
        self._booted_at = wall() - since_boot()
        self._trusted_at = 0.0

    def stepped(self, now: float) -> bool:
        """Whether it was set since this was last asked. `now`: what `wall` says."""
        booted_at = now - self._since_boot()
        if abs(booted_at - self._booted_at) <= CLOCK_STEP:
            return False
        self._booted_at, self._trusted_at = booted_at, self._since_boot() + CLOCK_REST
        return True

    def trusted(self, now: float) -> bool:
        """Whether what is old at `now` may be deleted."""
        return not self.stepped(now) and self._since_boot() >= self._trusted_at
