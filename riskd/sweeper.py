"""Deletes expired records from a store, unless the clock may be wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from riskd.clock import Clock, since_boot
from riskd.ports import HistoryStore, Meter

SWEEP: Final = 2_000
"""Records checked per sweep: a few milliseconds of work."""


class Sweeper:
    """Sweeps a store and reports its size.

    After the clock was stepped, nothing is deleted for an hour, so that an operator has time to correct it. Until
    then, records that a wrong clock makes look expired are only ignored.
    """

    def __init__(
        self,
        store: HistoryStore,
        meter: Meter,
        wall: Callable[[], float] = time.time,
        since_boot: Callable[[], float] = since_boot,
    ) -> None:
        """`wall`, `since_boot`: as for `Clock`."""
        self._store = store
        self._meter = meter
        self._clock = Clock(wall, since_boot)

    def sweep(self) -> None:
        """Report the store's size, and delete some expired records if the clock is trusted. Raises Unavailable."""
        now = self._clock.wall()
        if self._clock.stepped(now):
            self._meter.failed("clock")
        self._meter.stored(*self._store.size())
        if self._clock.trusted(now):
            self._store.sweep(now, SWEEP)
