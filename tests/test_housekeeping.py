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
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
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
from riskd.core.stored import PLACE, Change, pack
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
    keeper = housekeeping._Keeper(settings, engine, store, known)
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
        assert store.size()[0] == total - expired + 1


class Large(MemoryStore):
    """A store of 80 million records, the limits of its sweeps, and where they began."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[int] = []
        self.began: list[bytes] = []

    def size(self) -> tuple[int, int]:
        """So many."""
        return 80_000_000, 0

    def sweep(self, now: float, limit: int) -> int:
        """Note the limit, and go on."""
        self.limits.append(limit)
        self.began.append(self.swept)
        self.swept = f"{int(self.swept or b'0') + limit}".encode()
        return 0


ROUND: Final = 18_519
"""Records of such a store that are to be checked in ten seconds."""


def sweeper(store: HistoryStore, now: list[float], every: float = 10.0) -> housekeeping.Sweeper:
    """A process that sweeps the store, at a time that the test sets."""
    return housekeeping.Sweeper(store, NullMeter(), Clock(lambda: now[0], lambda: now[0]), every)


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
    store, now = PartlyDown(), [NOW]
    process = sweeper(store, now)
    for times in (1, 2):
        with pytest.raises(Unavailable):
            process.sweep(threading.Event())
        assert sum(store.limits) == times * ROUND
        now[0] += 10.0


class Silent(Large):
    """A single server that stops answering: every call waits its time, and fails."""

    silent = False

    def load(self, keys: Sequence[bytes], timeout: float = 0.0) -> list[bytes | None]:
        """Until it is silent."""
        self._ask()
        return super().load(keys)

    def size(self) -> tuple[int, int]:
        """Likewise."""
        self._ask()
        return super().size()

    def sweep(self, now: float, limit: int) -> int:
        """Likewise."""
        self._ask()
        return super().sweep(now, limit)

    def replace(self, changes: Sequence[Change], timeout: float = 0.0) -> bool:
        """Likewise."""
        self._ask()
        return super().replace(changes)

    def _ask(self) -> None:
        if self.silent:
            self.limits.append(0)
            raise Unavailable([Problem("redis", "no answer in time")])


def test_a_silent_server_is_not_asked_for_each_share_of_a_round() -> None:
    """A round that checks ten times what one call does ends with the first that fails, if the server is the only
    one: each would wait its whole time."""
    store, now = Silent(), [NOW]
    process = sweeper(store, now)
    process.sweep(threading.Event())
    assert len(store.limits) == ROUND // housekeeping.SWEEP + 1
    now[0], store.silent, store.limits = NOW + 10.0, True, []
    with pytest.raises(Unavailable):
        process.sweep(threading.Event())
    assert len(store.limits) == 3  # its size, whose turn it is, and one share
    with pytest.raises(Unavailable):
        sweeper(store, now).sweep(threading.Event())  # of a process that begins meanwhile


@given(
    starts=st.lists(st.floats(0.0, 10.0), min_size=1, max_size=6),
    lives=st.integers(1, 50),
    late=st.floats(0.0, 0.5),
)
def test_a_pass_takes_as_long_for_any_number_of_processes(starts: list[float], lives: int, late: float) -> None:
    """However many processes share a store, whenever they look, and although each is replaced after a few looks:
    together they check what one would, each record once, without a gap."""
    store, now, every = Large(), [NOW], 10.0
    looks = sorted(
        (start + number * (every + late), which) for which, start in enumerate(starts) for number in range(60)
    )
    processes = {}
    for number, (moment, which) in enumerate(looks):
        now[0] = NOW + moment
        if number % lives == 0 or which not in processes:
            processes[which] = sweeper(store, now)
            store.swept = b"7"  # where this one had stopped when it last had a turn
        processes[which].sweep(threading.Event())
    assert [int(began or b"0") for began in store.began] == [sum(store.limits[:n]) for n in range(len(store.limits))]
    seconds = looks[-1][0] - looks[0][0]
    assert sum(store.limits) == pytest.approx(seconds / 10.0 * ROUND, rel=0.05)


def test_a_turn_of_a_wrong_clock_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """A turn that seems to be in the future, a note that is damaged, and a store that was not swept for long are swept
    as usual; where the last sweep stopped counts, if it is known."""
    store = Large()
    for last, cursor in ((NOW + 60.0, b"7"), (NOW - DAY, b"7"), (NOW - 25.0, b"7"), (None, b"")):
        record = b"damaged" if last is None else housekeeping._packed(housekeeping.Turn(last, cursor))
        (before,) = store.load((housekeeping.TURN,))
        assert store.replace([Change(housekeeping.TURN, before, record)])
        store.limits, store.began = [], []
        sweeper(store, [NOW]).sweep(threading.Event())
        assert (sum(store.limits), store.began[0]) == (ROUND, cursor)


def test_one_of_two_that_look_at_once_sweeps() -> None:
    """If two processes look at the same moment, and a third has the turn already, only one sweeps."""
    store, now = Large(), [NOW]
    one, other = sweeper(store, now), sweeper(store, now)
    load = store.load

    def both(keys: Sequence[bytes], timeout: float = 0.0) -> list[bytes | None]:
        found = load(keys)
        store.load = load  # type: ignore[method-assign]
        other.sweep(threading.Event())
        return found

    store.load = both  # type: ignore[method-assign]
    one.sweep(threading.Event())
    assert sum(store.limits) == ROUND
    now[0] += 4.9
    one.sweep(threading.Event())
    assert sum(store.limits) == ROUND
    now[0] += 0.2
    one.sweep(threading.Event())
    assert sum(store.limits) == pytest.approx(1.51 * ROUND, rel=0.01)


class Full(Large):
    """A store that takes nothing more."""

    def replace(self, changes: Sequence[Change], timeout: float = 0.0) -> bool:
        """Refuse it."""
        raise Unavailable([Problem("redis", "no memory left")])


def test_a_full_store_is_swept() -> None:
    """A store in which a turn cannot be noted is swept all the same: it may be full, and expiry makes room. The failure
    is reported, and the next sweep goes on from there."""
    store, now = Full(), [NOW]
    process = sweeper(store, now)
    for times in (1, 2):
        with pytest.raises(Unavailable, match="no memory left"):
            process.sweep(threading.Event())
        assert sum(store.limits) == times * ROUND
        assert int(store.swept) == times * ROUND
        now[0] += 10.0


@pytest.mark.parametrize(("kind", "checked"), [("lmdb", housekeeping.SWEEP), ("redis", 1)])
def test_a_small_store_is_swept_faster_on_one_machine(kind: str, checked: int) -> None:
    """Of a store of one machine a sweep checks at least so many records; of one on other machines, where each call
    costs a server something, no more than a pass of twelve hours needs."""
    store, settings = Large(), Settings()
    store.size = lambda: (10, 0)  # type: ignore[method-assign]
    settings = replace(settings, store=replace(settings.store, kind=kind))
    engine: Any = SimpleNamespace(parts=SimpleNamespace(meter=NullMeter()))
    keeper = housekeeping._Keeper(settings, engine, store, housekeeping.PepperState(Mark(), []))
    keeper._sweeper.sweep(threading.Event())
    assert store.limits == [checked]


def test_a_note_on_sweeps_is_no_history() -> None:
    """A store that has nothing but notes of riskd's is a new one: it gets the note on its peppers."""
    store = MemoryStore()
    sweeper(store, [NOW]).sweep(threading.Event())
    assert store.walk(b"", 9)[0] == [housekeeping.TURN]
    assert first_mark(store, PEPPERS[:1]) == Mark(0, checks(PEPPERS[:1]))


class Spread(MemoryStore):
    """A cluster, whose first server has nothing but riskd's notes."""

    def walk(self, cursor: bytes, limit: int) -> tuple[list[bytes], bytes]:
        """First the notes, then all else."""
        keys, _ = super().walk(b"", limit)
        notes = [key for key in keys if key.startswith(bytes(PLACE))]
        return ([key for key in keys if key not in notes], b"") if cursor else (notes, b"next")


def test_records_on_another_server_are_no_empty_store(tmp_path: Path) -> None:
    """If a server of a cluster lost its data, the note on the peppers among them, no process takes the store of the
    others for a new one, or for one whose note it knows."""
    store = Spread()
    written(store)
    sweeper(store, [NOW]).sweep(threading.Event())
    assert first_mark(store, PEPPERS[:2]) == Mark()
    kept(tmp_path, store, Mark(1, checks(PEPPERS[:2])), PEPPERS[:2])
    assert read_mark(store) == Mark()


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
    assert meter.failures == ["store"] * (kind is Evicting)
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
