"""Background maintenance of a service: sweeps expired records, adopts new peppers, compacts the decision log."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from math import ceil
from typing import Final

from msgspec import Struct

from riskd.adapters.caching import CachingStore
from riskd.adapters.decision_log import FileLogArchive
from riskd.adapters.rekeying import Mark, restore_mark
from riskd.config import Settings, obtain_peppers
from riskd.core.assess import Release
from riskd.core.errors import InvalidSettings, Unavailable
from riskd.core.history import DAY
from riskd.engine import Engine
from riskd.host.background import every
from riskd.host.clock import Clock
from riskd.ports import HistoryStore, Meter
from riskd.stores import with_peppers

SWEEP: Final = 2_000
"""Most records checked at a time: a millisecond of work. On one machine a sweep checks at least as many."""
PASS_SECONDS: Final = DAY / 2
"""Longest pass of sweeps over a store that keeps its size. It takes less than a day if at least a fifth remains."""
DUE_SECONDS: Final = 30.0
"""Seconds between checks whether the log is due for compaction."""
_LOG: Final = logging.getLogger("riskd.housekeeping")


class PepperState(Struct, frozen=True):
    """The peppers in use, and the store's note on its own."""

    mark: Mark
    peppers: list[bytes]


def log_retention(release: Release) -> dict[str, float]:
    """By identity domain, how many seconds the policy keeps lines of the decision log."""
    return {domain: float(policy.retention.log) for domain, policy in release.policies.items()}


def report_disks(settings: Settings, meter: Meter) -> None:
    """Report how full the file systems are that histories and decisions are written to."""
    folders = {"log": settings.log.dir}
    if settings.store.kind == "lmdb":
        folders["store"] = settings.store.path
    for folder, path in folders.items():
        with suppress(OSError):
            disk = shutil.disk_usage(path)
            meter.disk(folder, disk.total - disk.free, disk.total)


@contextmanager
def housekeeping(
    settings: Settings,
    engine: Engine,
    archive: FileLogArchive,
    base: HistoryStore,
    known: PepperState,
    *,
    worker: int = 0,
) -> Iterator[None]:
    """Run maintenance threads until the context exits.

    `base` is the store without its wrappers; `known` are the peppers that the engine uses now; `worker` numbers the
    process among those of this machine.
    """
    keeper, compactor = _Keeper(settings, engine, base, known, worker), _Compactor(settings, engine, archive)
    with every(settings.store.sweep_s, keeper.look, "housekeeping"), every(DUE_SECONDS, compactor.look, "compaction"):
        yield


class Sweeper:
    """Sweeps a store and reports its size.

    After the clock was stepped, nothing is deleted for an hour, so that an operator has time to correct it. Until
    then, records that a wrong clock makes look expired are only ignored.
    """

    def __init__(self, store: HistoryStore, meter: Meter, clock: Clock, every: float, least: int = SWEEP) -> None:
        """`every`: seconds between two sweeps, or 0 if another process sees to `PASS_SECONDS`. `least`: fewest records
        that a sweep checks."""
        self._store = store
        self._meter = meter
        self._share = every / PASS_SECONDS
        self._least = least
        self._clock = clock
        self._records = 0

    def sweep(self, stop: threading.Event) -> None:
        """Report the store's size, and delete some expired records if the clock is trusted.

        Raises Unavailable, after all that can be done: of a cluster, some servers may have failed.
        """
        now = self._clock.wall()
        if self._clock.stepped(now):
            self._meter.failed("clock")
        failed: Unavailable | None = None
        try:
            self._records, size = self._store.size()
            self._meter.stored(self._records, size)
        except Unavailable as error:
            failed = error
        if self._clock.trusted(now):
            left = max(self._least, ceil(self._records * self._share))
            while left > 0 and not stop.is_set():
                try:
                    self._store.sweep(now, min(left, SWEEP))
                except Unavailable as error:
                    failed = error
                left -= SWEEP
        if failed is not None:
            raise failed


class _Keeper:
    """Sweeps expired records, and switches the engine to a pepper that was added or fully applied.

    On Redis only the first worker of a machine goes through the store, because all machines share it.
    """

    def __init__(self, settings: Settings, engine: Engine, base: HistoryStore, known: PepperState, worker: int) -> None:
        self._settings = settings
        self._engine = engine
        self._base = base
        self._known = known
        self._meter = engine.parts.meter
        remote = settings.store.kind == "redis"
        pace = 0.0 if remote and worker else settings.store.sweep_s
        self._sweeper = Sweeper(base, self._meter, Clock(), pace, 1 if remote else SWEEP)

    def look(self, stop: threading.Event) -> None:
        """Do one round. Failures are logged and counted."""
        for work in (self._rekey, partial(self._sweeper.sweep, stop)):
            try:
                work()
            except Unavailable as error:
                self._meter.failed("store")
                _LOG.error("store_failed: %s", error, extra={"fields": {"problems": error.problems}})
            except InvalidSettings as error:
                self._meter.failed("reload")
                _LOG.error("pepper_refused: %s", error, extra={"fields": {"problems": error.problems}})

    def _rekey(self) -> None:
        peppers = obtain_peppers(self._settings)
        mark = restore_mark(self._base, self._known.mark, len(self._known.peppers) - 1)
        found = PepperState(mark, peppers)
        if self._known != found:
            store, pseudonyms = with_peppers(self._base, peppers, mark)
            self._engine.rekey(CachingStore(store, self._meter), pseudonyms)
            self._known = found
            _LOG.info("pepper", extra={"fields": {"layers": len(peppers) - 1, "moved": mark.layers}})


class _Compactor:
    """Compacts the log if no worker has done so for `log.compact_minutes`."""

    def __init__(self, settings: Settings, engine: Engine, archive: FileLogArchive) -> None:
        self._settings = settings
        self._engine = engine
        self._archive = archive
        self._began = time.time()

    def look(self, stop: threading.Event) -> None:
        """Report how full the disks are and the log's size, and compact it if due. Failures are logged and counted."""
        meter = self._engine.parts.meter
        report_disks(self._settings, meter)
        try:
            state = self._archive.state()
            meter.logged(state.segments, state.size, state.compacted or self._began, state.asked)
            if state.compacted + self._settings.log.compact_minutes * 60 <= time.time():
                self._archive.compact(log_retention(self._engine.release), stop)
        except Unavailable as error:
            meter.failed("compaction")
            _LOG.error("compaction_failed: %s", error, extra={"fields": {"problems": error.problems}})
