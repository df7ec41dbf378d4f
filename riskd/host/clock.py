"""Detects steps of the wall clock, so that nothing is deleted as old while the clock may be wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

CLOCK_STEP: Final = 300.0
"""Seconds: a larger change against the time since boot is a step, also if it comes in small parts."""
CLOCK_REST: Final = 3600.0
"""Seconds after a step in which nothing is deleted, so that a wrong clock can be corrected."""


def since_boot() -> float:
    """Seconds since boot, including suspend (CLOCK_BOOTTIME). Nobody can set this clock, but it drifts with the wall
    clock, and is slewed with it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """The wall clock, and whether it was stepped lately. For one thread."""

    def __init__(self, wall: Callable[[], float] = time.time, since_boot: Callable[[], float] = since_boot) -> None:
        """`wall` returns epoch seconds; its present value is trusted. `since_boot` returns seconds since boot."""
        self.wall = wall
        self._since_boot = since_boot
        self._booted_at = wall() - since_boot()
        self._trusted_at = 0.0

    def stepped(self, now: float) -> bool:
        """Whether the clock was stepped since the last call. `now`: the value of `wall`."""
        booted_at = now - self._since_boot()
        if abs(booted_at - self._booted_at) <= CLOCK_STEP:
            return False
        self._booted_at, self._trusted_at = booted_at, self._since_boot() + CLOCK_REST
        return True

    def trusted(self, now: float) -> bool:
        """Whether records that are expired at `now` may be deleted."""
        return not self.stepped(now) and self._since_boot() >= self._trusted_at
