"""Background maintenance of a service: sweeps expired records, adopts new peppers, compacts the decision log."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from math import ceil, inf
from typing import Final

import msgspec
from msgspec import Struct

from riskd.adapters.caching import CachingStore
from riskd.adapters.decision_log import FileLogArchive
from riskd.adapters.rekeying import Mark, restore_mark
from riskd.config import Settings, obtain_peppers
from riskd.core.assess import Release
from riskd.core.errors import UNDECODABLE, InvalidSettings, Unavailable
from riskd.core.history import DAY
from riskd.core.stored import NOBODY, Change, pack, payload
from riskd.engine import Engine
from riskd.host.background import every
from riskd.host.clock import Clock
from riskd.ports import HistoryStore, Meter
from riskd.stores import with_peppers

SWEEP: Final = 2_000
"""Most records checked at a time: a millisecond of work. On one machine a sweep checks at least as many."""
PASS_SECONDS: Final = DAY / 2
"""Longest pass of sweeps over a store that keeps its size. It takes less than a day if at least a fifth remains."""
TURN: Final = NOBODY + b"swept"
"""Key of the store's note on its sweeps."""
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
) -> Iterator[None]:
    """Run maintenance threads until the context exits.

    `base` is the store without its wrappers; `known` are the peppers that the engine uses now.
    """
    keeper, compactor = _Keeper(settings, engine, base, known), _Compactor(settings, engine, archive)
    with every(settings.store.sweep_s, keeper.look, "housekeeping"), every(DUE_SECONDS, compactor.look, "compaction"):
        yield


class Turn(Struct, frozen=True):
    """The store's note on its sweeps: when the latest began (epoch seconds), and where the next begins."""

    began: float = -inf
    cursor: bytes = b""


class Sweeper:
    """Sweeps a store and reports its size.

    The processes that share the store sweep it in turns: each looks, and sweeps if no other has done so for a while,
    from where that one stopped. So a pass takes as long however many processes there are, and however briefly they
    live.

    After the clock was stepped, nothing is deleted for an hour, so that an operator has time to correct it. Until
    then, records that a wrong clock makes look expired are only ignored.
    """

    def __init__(self, store: HistoryStore, meter: Meter, clock: Clock, every: float, least: int = SWEEP) -> None:
        """`every`: seconds between two looks. `least`: fewest records that a sweep checks."""
        self._store = store
        self._meter = meter
        self._every = every
        self._least = least
        self._clock = clock
        self._records = 0

    def sweep(self, stop: threading.Event) -> None:
        """Report the store's size, and delete some expired records if it is this process's turn and the clock is
        trusted.

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
            try:
                self._take_turn(now, stop)
            except Unavailable as error:
                failed = error
        if failed is not None:
            raise failed

    def _take_turn(self, now: float, stop: threading.Event) -> None:
        """Sweep if it is this process's turn, and note where the next turn begins.

        Raises Unavailable, after all that can be done: a store that cannot tell or note whose turn it is may be full,
        so it is swept all the same.
        """
        seconds, taken, failed = self._every, b"", list[Unavailable]()
        try:
            (found,) = self._store.load((TURN,))
            last = _read_turn(found)
            since = now - last.began
            if 0.0 <= since < self._every / 2:
                return
            ours = _packed(Turn(now, last.cursor))
            if not self._store.replace([Change(TURN, found, ours)]):
                return
            taken, self._store.swept = ours, last.cursor
            seconds = since if 0.0 <= since <= 2 * self._every else self._every
        except Unavailable as error:
            failed.append(error)
        failed += self._swept(now, seconds, stop)
        if taken:
            self._store.replace([Change(TURN, taken, _packed(Turn(now, self._store.swept)))])
        if failed:
            raise failed[-1]

    def _swept(self, now: float, seconds: float, stop: threading.Event) -> list[Unavailable]:
        """Sweep what a pass of `PASS_SECONDS` checks in so many seconds. Returns the failures; ends at one after which
        the store does not go on to another server."""
        failed = list[Unavailable]()
        left = max(self._least, ceil(self._records * seconds / PASS_SECONDS))
        while left > 0 and not stop.is_set():
            before = self._store.swept
            try:
                self._store.sweep(now, min(left, SWEEP))
            except Unavailable as error:
                failed.append(error)
                if self._store.swept == before:
                    break
            left -= SWEEP
        return failed


def _packed(turn: Turn) -> bytes:
    return pack(inf, msgspec.msgpack.encode(turn))


def _read_turn(record: bytes | None) -> Turn:
    """A turn that is absent or damaged is long ago."""
    try:
        return Turn() if record is None else msgspec.msgpack.decode(payload(record), type=Turn)
    except UNDECODABLE:
        return Turn()


class _Keeper:
    """Sweeps expired records, and switches the engine to a pepper that was added or fully applied."""

    def __init__(self, settings: Settings, engine: Engine, base: HistoryStore, known: PepperState) -> None:
        self._settings = settings
        self._engine = engine
        self._base = base
        self._known = known
        self._meter = engine.parts.meter
        least = 1 if settings.store.kind == "redis" else SWEEP
        self._sweeper = Sweeper(base, self._meter, Clock(), settings.store.sweep_s, least)

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
