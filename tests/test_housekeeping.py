"""Housekeeping beside the answers."""

from __future__ import annotations

import logging
import math
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from riskd import housekeeping
from riskd.adapters.caching import CachingStore
from riskd.adapters.decision_log import FileLogArchive
from riskd.adapters.memory import MemoryStore
from riskd.adapters.null import NullMeter
from riskd.adapters.rekeying import Mark, RekeyingStore, read_mark, write_mark
from riskd.config import Settings
from riskd.core.errors import InvalidSettings, Problem, Unavailable
from riskd.core.history import DAY, Delta
from riskd.core.pseudonym import Pseudonyms
from riskd.core.recall import PROFILE
from riskd.core.rekey import MARK
from riskd.core.stored import Change, pack
from riskd.host.clock import Clock
from riskd.ports import HistoryStore, Meter
from riskd.stores import checks, first_mark, with_peppers
from tests.bench import STORES
from tests.cases.world import NOW

PATIENCE = 10.0
NOBODY = NullMeter()
PEPPERS = [b"pepper of the golden cases", b"the second of the peppers", b"the third of the peppers."]


class Told(NullMeter):
    """Keeps how full the disks are, when the log was last compacted, and which part failed, as it is told."""

    def __init__(self) -> None:
        self.disks: list[tuple[str, int, int]] = []
        self.compacted: list[float] = []
        self.failures: list[str] = []

    def failed(self, part: str) -> None:
        """Keep it."""
        self.failures.append(part)

    def disk(self, folder: str, used: int, size: int) -> None:
        """Keep it."""
        self.disks.append((folder, used, size))

    def logged(self, segments: int, size: int, compacted: float, asked: float) -> None:
        """Keep it."""
        self.compacted.append(compacted)


def test_the_metrics_say_how_full_the_disks_are(tmp_path: Path) -> None:
    """The file systems of the store and of the log are reported with their size, and with what riskd can no longer use
    of them; that of a store on other machines, or of a folder that is not there, is not."""
    meter, disk, usual = Told(), shutil.disk_usage(tmp_path), Settings()
    here, gone = str(tmp_path), str(tmp_path / "gone")
    lmdb = replace(usual, store=replace(usual.store, path=here), log=replace(usual.log, dir=gone))
    redis = replace(usual, store=replace(usual.store, kind="redis", path=here), log=replace(usual.log, dir=here))
    for settings in (lmdb, redis):
        housekeeping.report_disks(settings, meter)
    assert [(folder, size) for folder, _, size in meter.disks] == [("store", disk.total), ("log", disk.total)]
    assert [used for _, used, _ in meter.disks] == pytest.approx([disk.total - disk.free] * 2, rel=0.1)


def test_a_compaction_that_fails_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed compaction is counted, and logs the file that it cannot read, and what to check."""
    monkeypatch.setattr(housekeeping, "DUE_SECONDS", 0.01)
    damaged = tmp_path / "erasures" / "1.json"
    damaged.parent.mkdir()
    damaged.write_bytes(b"{")
    meter = Told()
    engine: Any = SimpleNamespace(parts=SimpleNamespace(meter=meter), release=None)
    archive, known = FileLogArchive(tmp_path, 3600.0, 600.0), housekeeping.PepperState(Mark(), [])
    with (
        caplog.at_level(logging.ERROR),
        housekeeping.housekeeping(Settings(), engine, archive, MemoryStore(), known),
    ):
        deadline = time.monotonic() + PATIENCE
        while not caplog.records:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    event = caplog.records[0]
    (problem,) = event.fields["problems"]  # type: ignore[attr-defined]
    assert event.message == f"compaction_failed: {problem}"
    assert str(damaged) in problem.what
    assert set(meter.failures) == {"compaction"}


@pytest.mark.parametrize(
    ("ago_s", "again"), [(None, True), (3700.0, True), (3500.0, False)], ids=["never", "long ago", "lately"]
)
def test_the_log_is_compacted_when_it_is_due(tmp_path: Path, ago_s: float | None, again: bool) -> None:
    """The log is compacted once `log.compact_minutes` have passed since the last time. A log that never was counts, in
    the metrics, from the start of the process, so that no alert fires at once. How full its disk is, is told each
    time."""
    meter, began = Told(), time.time()
    engine: Any = SimpleNamespace(parts=SimpleNamespace(meter=meter), release=SimpleNamespace(policies={}))
    if ago_s is not None:
        FileLogArchive(tmp_path, 3600.0, 3600.0, lambda: began - ago_s).compact({}, threading.Event())
    archive = FileLogArchive(tmp_path, 3600.0, 3600.0)
    settings = Settings()
    settings = replace(settings, log=replace(settings.log, dir=str(tmp_path), compact_minutes=60))
    housekeeping._Compactor(settings, engine, archive).look(threading.Event())
    assert (archive.state().compacted >= began) == again
    assert "log" in {folder for folder, _, _ in meter.disks}
    (compacted,) = meter.compacted
    assert compacted >= began if ago_s is None else compacted == began - ago_s


def kept(
    directory: Path, store: MemoryStore, mark: Mark, peppers: Sequence[bytes], meter: Meter = NOBODY
) -> list[HistoryStore]:
    """Two rounds of housekeeping. Returns the stores to which it switched."""
    file = directory / "pepper"
    file.write_bytes(b"\n".join(peppers))
    settings = Settings()
    settings = replace(settings, secrets=replace(settings.secrets, pepper_file=str(file)))
    switched: list[HistoryStore] = []
    engine: Any = SimpleNamespace(
        parts=SimpleNamespace(meter=meter), rekey=lambda store, _pseudonyms: switched.append(store)
    )
    known = housekeeping.PepperState(mark, list(peppers))
    keeper = housekeeping._Keeper(settings, engine, store, known, 0)
    for _ in range(2):
        keeper.look(threading.Event())
    return switched


def written(store: MemoryStore, *layers: bytes) -> None:
    """What a worker writes under these layers."""
    key = Pseudonyms(PEPPERS[0], layers).digest("", "customer", "subject", "anne") + PROFILE
    store.write([Delta(key, NOW, 2 * NOW, (("sign_in", "", 1),))], (), NOW, 1.0)


@pytest.mark.parametrize("moved", [1, 2], ids=["during a rotation", "after rotations"])
def test_a_store_that_is_emptied_under_a_service_keeps_its_note_on_the_peppers(
    tmp_path: Path, moved: int, caplog: pytest.LogCaptureFixture
) -> None:
    """If a store loses its data while workers run, they write its note on the peppers again: the next start is not
    refused, and no rotation seems to be under way that is not."""
    mark, store = Mark(moved, checks(PEPPERS[: moved + 1])), MemoryStore()
    written(store, *PEPPERS[1:])
    assert kept(tmp_path, store, mark, PEPPERS) == []
    assert read_mark(store) == mark == first_mark(store, PEPPERS)
    with_peppers(store, PEPPERS, mark)
    assert caplog.records == []


@pytest.mark.parametrize("peppers", [PEPPERS[:1], [b"short"]], ids=["known peppers", "refused peppers"])
def test_what_has_expired_is_swept(tmp_path: Path, peppers: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    """Housekeeping deletes expired records, and leaves the others, also if the peppers are refused, which is counted
    and logged."""
    store = MemoryStore()
    written(store)
    (key,), expired = store.walk(b"", 9)[0], b"of bert.the rest" + PROFILE
    assert store.replace([Change(expired, None, pack(1.0, b""))])
    meter, refused = Told(), 2 * (peppers != PEPPERS[:1])
    kept(tmp_path, store, Mark(), peppers, meter)
    assert [record is None for record in store.load((key, expired))] == [False, True]
    assert meter.failures == ["reload"] * refused
    assert [each.message.partition(":")[0] for each in caplog.records] == ["pepper_refused"] * refused


@pytest.mark.parametrize("alive", [0.2, 0.5, 0.95])
@pytest.mark.parametrize("kind", STORES)
def test_expired_records_are_gone_within_a_day(kind: str, alive: float, tmp_path: Path) -> None:
    """However many records there are, those that have expired are deleted within a day, if at least a fifth remain: a
    large store that was swept as slowly as a small one would grow for ever."""
    total, every, now = 8 * housekeeping.SWEEP, DAY / 6, [NOW]
    expired = round(total * (1 - alive))
    with closing(STORES[kind](tmp_path)) as store:
        for first in range(0, total, 1000):
            numbers = range(first, first + 1000)
            ends = [NOW if number * 7919 % total < expired else math.inf for number in numbers]
            keys = [number.to_bytes(16, "big") + PROFILE for number in numbers]
            assert store.replace([Change(key, None, pack(end, b"")) for key, end in zip(keys, ends, strict=True)])
        sweeper = housekeeping.Sweeper(store, NullMeter(), Clock(lambda: now[0], lambda: now[0]), every)
        for _ in range(round(DAY / every)):
            now[0] += every
            sweeper.sweep(threading.Event())
        assert store.size()[0] == total - expired


class Large(MemoryStore):
    """A store of 80 million records, and the limits of its sweeps."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[int] = []

    def size(self) -> tuple[int, int]:
        """So many."""
        return 80_000_000, 0

    def sweep(self, now: float, limit: int) -> int:
        """Note the limit."""
        self.limits.append(limit)
        return 0


class PartlyDown(Large):
    """A cluster of which one server is down since its size was last asked for."""

    def size(self) -> tuple[int, int]:
        """Once."""
        if self.limits:
            raise Unavailable([Problem("redis", "one server is down")])
        return super().size()

    def sweep(self, now: float, limit: int) -> int:
        """Note the limit; afterwards, what the server that is down has cannot be swept."""
        super().sweep(now, limit)
        raise Unavailable([Problem("redis", "one server is down")])


def test_a_sweep_goes_as_far_without_a_server_of_the_cluster() -> None:
    """If the store cannot tell its size, or a part of it cannot be swept, a sweep checks as many records, and says that
    it failed."""
    store = PartlyDown()
    sweeper = housekeeping.Sweeper(store, NullMeter(), Clock(lambda: NOW, lambda: 0.0), 10.0)
    for times in (1, 2):
        with pytest.raises(Unavailable):
            sweeper.sweep(threading.Event())
        assert sum(store.limits) == times * 18_519


@pytest.mark.parametrize(
    ("kind", "worker", "checked"), [("lmdb", 0, 18_519), ("lmdb", 3, 18_519), ("redis", 0, 18_519), ("redis", 3, 1)]
)
def test_on_redis_the_first_worker_of_a_machine_sweeps(kind: str, worker: int, checked: int) -> None:
    """A sweep every ten seconds checks as many as a pass of twelve hours needs. On Redis, which all machines share, the
    other workers of a machine hardly sweep."""
    store, settings = Large(), Settings()
    settings = replace(settings, store=replace(settings.store, kind=kind))
    engine: Any = SimpleNamespace(parts=SimpleNamespace(meter=NullMeter()))
    known = housekeeping.PepperState(Mark(), [])
    housekeeping._Keeper(settings, engine, store, known, worker)._sweeper.sweep(threading.Event())
    assert checked <= sum(store.limits) < checked + housekeeping.SWEEP
    assert max(store.limits) <= housekeeping.SWEEP


def test_an_old_backup_gets_no_newer_note(tmp_path: Path) -> None:
    """A store of before the first rotation, put in place under a service, is moved again: its records stay in reach."""
    store = MemoryStore()
    written(store)
    (moving,) = kept(tmp_path, store, Mark(1, checks(PEPPERS[:2])), PEPPERS[:2])
    assert read_mark(store) == Mark()
    assert isinstance(moving, CachingStore)
    assert isinstance(moving._store, RekeyingStore)


class Evicting(MemoryStore):
    """A store that says at each sweep that it may evict histories."""

    def sweep(self, now: float, limit: int) -> int:
        """Refuse it."""
        raise Unavailable([Problem("store", "may evict histories", "set noeviction")])


@pytest.mark.parametrize("kind", [MemoryStore, Evicting])
def test_a_note_that_is_there_stays(tmp_path: Path, kind: type[MemoryStore]) -> None:
    """A service takes up a rotation that ended meanwhile, and does not replace the note on it by the one that it knew
    before, also if its store cannot be swept."""
    store, ended, meter = kind(), Mark(2, checks(PEPPERS)), Told()
    write_mark(store, ended)
    assert len(kept(tmp_path, store, Mark(1, checks(PEPPERS[:2])), PEPPERS, meter)) == 1
    assert meter.failures == ["store"] * (2 * (kind is Evicting))
    assert read_mark(store) == ended


@pytest.mark.parametrize("damage", [b"", b"\x91\xc1", b"\xa1\xff"])
def test_a_damaged_note_costs_no_start(damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If the note on the peppers is damaged, riskd starts as if the store could not be reached, and keeps saying why
    it does not know which peppers the records have."""
    store = MemoryStore()
    assert store.replace([Change(MARK, None, pack(math.inf, damage))])
    assert first_mark(store, PEPPERS) == Mark(len(PEPPERS) - 2)
    kept(tmp_path, store, Mark(), PEPPERS[:1])
    told = [(each.message, *vars(each)["fields"]["problems"]) for each in caplog.records]
    assert {message for message, _ in told} == {f"store_failed: {problem}" for _, problem in told}
    assert all(problem.what.startswith("is damaged: ") for _, problem in told)


def test_a_start_that_is_refused_does_not_cost_the_peppers() -> None:
    """If a store without a note may have lost its data, the remedy begins with that, and not with dropping peppers."""
    store = MemoryStore()
    written(store, *PEPPERS[1:])
    with pytest.raises(InvalidSettings, match="if the store lost its data, empty it and keep all lines; else leave 2"):
        with_peppers(store, PEPPERS, first_mark(store, PEPPERS))
