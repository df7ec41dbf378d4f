"""Takes expired records out of a store, unless the clock that calls them expired was set wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from riskd.ports import HistoryStore, Meter

SWEEP: Final = 2_000
"""Records looked at in one go for expiry: a few milliseconds."""
CLOCK_STEP: Final = 300.0
"""Seconds by which a clock that was set, and does not merely drift, has moved."""
CLOCK_REST: Final = 3600.0
"""Seconds without sweeping after such a step."""


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Sweeper:
    """Sweeps a store and reports its size.

    What a clock that was set wrong takes for expired is forgotten, but not deleted: after a step nothing is swept for
    `CLOCK_REST` seconds, so that there is time to set it right.
    """

    def __init__(
        self,
        store: HistoryStore,
        meter: Meter,
        wall: Callable[[], float] = time.time,
        since_boot: Callable[[], float] = _since_boot,
    ) -> None:
        """`wall`: epoch seconds; `since_boot`: seconds that nobody can set."""
        self._store = store
        self._meter = meter
        self._wall = wall
        self._since_boot = since_boot
        self._booted_at = wall() - since_boot()
        self._trusted_at = 0.0

    def sweep(self) -> None:
        """Look once. Raises Unavailable."""
        booted_at = self._wall() - self._since_boot()
        if abs(booted_at - self._booted_at) > CLOCK_STEP:
            self._booted_at, self._trusted_at = booted_at, self._since_boot() + CLOCK_REST
            self._meter.failed("clock")
        if self._since_boot() >= self._trusted_at:
            self._store.sweep(self._wall(), SWEEP)
        self._meter.stored(*self._store.size())
