"""Takes expired records out of a store, unless the clock that calls them expired was set wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from riskd.clock import Clock, since_boot
from riskd.ports import HistoryStore, Meter

SWEEP: Final = 2_000
"""Records looked at in one go for expiry: a few milliseconds."""


class Sweeper:
    """Sweeps a store and reports its size.

    What a clock that was set wrong takes for expired is forgotten, but not deleted: after a step nothing is swept for
    an hour, so that there is time to set it right.
    """

    def __init__(
        self,
        store: HistoryStore,
        meter: Meter,
        wall: Callable[[], float] = time.time,
        since_boot: Callable[[], float] = since_boot,
    ) -> None:
        """As `Clock`."""
        self._store = store
        self._meter = meter
        self._clock = Clock(wall, since_boot)

    def sweep(self) -> None:
        """Look once. Raises Unavailable."""
        now = self._clock.wall()
        if self._clock.stepped(now):
            self._meter.failed("clock")
        if self._clock.trusted(now):
            self._store.sweep(now, SWEEP)
        self._meter.stored(*self._store.size())
