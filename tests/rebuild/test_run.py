"""Rebuilding a store from the log restores everything exactly once, whatever happens meanwhile."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.decision_log import Erasure, FileLogArchive
from riskd.adapters.lmdb_store import DATA, LmdbStore, beside
from riskd.adapters.memory import MemoryStore
from riskd.adapters.redis_store import Access, RedisStore
from riskd.adapters.rekeying import Mark, move_all, write_mark
from riskd.config import Settings, data_directory
from riskd.config.settings import Attributes
from riskd.core import record
from riskd.core.activation import ActivationRequest
from riskd.core.attempt import Outcome
from riskd.core.errors import InvalidSettings, RiskdError
from riskd.core.history import DAY, TABLES, Delta, History, decode
from riskd.core.lineup import Lineup
from riskd.core.pseudonym import Layer, Pseudonyms
from riskd.core.recall import ACTIVITY, RECEIPT
from riskd.core.record import AssessmentRecord, SecurityEventRecord, written
from riskd.core.rekey import MARK, merged
from riskd.core.stored import NOBODY, PLACE, Change, Swap, expiry, payload
from riskd.counts import Counts
from riskd.engine import Engine
from riskd.housekeeping import TURN
from riskd.offline.dataset.compact import Dataset
from riskd.offline.dataset.reading import DatasetReader
from riskd.offline.dataset.target import Target
from riskd.progress import Progress
from riskd.rebuild import merge, run
from riskd.rebuild.messages import Summary
from riskd.rebuild.order import Line, LogReader, SegmentReader
from riskd.rebuild.past import Past
from riskd.rebuild.run import LINES, RECORDS, STAGED, rebuild
from riskd.rotation import rotate
from riskd.stores import checks, open_store
from riskd.subjects import Subject, Subjects
from riskd.wiring import lineup_in_use, open_releases
from tests.cases.world import NOW
from tests.decision_log import types, write
from tests.doubles import ListLog
from tests.offline.town import PEPPER, RELEASE, Town, lived
from tests.rebuild.world import deployment, held, live_through, logged, records
from tests.redis_servers import RedisServer, running

ATTEMPTS = 300
UNTIL = NOW + 400 * DAY


class Killed(BaseException):
    """The process was killed."""


def rebuilt(
    settings: Settings,
    report: Callable[[str, int, int], object] = lambda *_: None,
    until: float | None = UNTIL,
    reader: LogReader | None = None,
) -> Summary:
    """Rebuild. `report` gets the half, how much of it is done, and its size."""

    def begin(half: str, total: int) -> Progress:
        done: list[int] = []

        def progress(more: int) -> None:
            done.append(more)
            report(half, sum(done), total)

        return progress

    return rebuild(settings, reader or SegmentReader(settings), until, begin)


def of_kinds(lines: list[bytes]) -> tuple[int, int]:
    """The number of outcomes and of security events among the lines."""
    kinds = types(lines)
    return kinds["outcome"], kinds["event"]


@pytest.fixture(scope="module")
def town() -> tuple[Town, list[bytes]]:
    log = ListLog()
    return lived(log, ATTEMPTS, gossip=0.2), log.lines


def test_every_record_is_restored(tmp_path: Path, town: tuple[Town, list[bytes]]) -> None:
    """The store is restored bit for bit from the logs of several workers, lines are counted, and no files are left
    behind; a second run has nothing to do."""
    before, lines = town
    settings = deployment(tmp_path)
    logged(settings, lines)
    seen: list[tuple[str, int, int]] = []
    summary = rebuilt(settings, lambda *said: seen.append(said))

    assert held(settings, time.time()) == records(before.store, time.time())
    told, heard = of_kinds(lines)
    assert summary.counts == {"attempts": ATTEMPTS, "outcomes": told, "events": heard, "erased": 0}
    assert told > 0 < heard
    assert {half: (done, total) for half, done, total in seen} == {half: (total, total) for half, _, total in seen}, (
        "progress ends at the total"
    )
    assert not beside(Path(settings.store.path)).exists()
    assert not (Path(settings.log.dir) / "erasures" / "done").exists()
    again = rebuilt(settings, until=None)
    assert (again.done_before, again.records) == (True, 0)
    assert held(settings, time.time()) == records(before.store, time.time())
    with pytest.raises(InvalidSettings, match="is too late: the store has the lines until"):
        rebuilt(settings, until=UNTIL + 1)


def test_a_segment_deleted_while_it_is_read_is_read_to_its_end(tmp_path: Path, town: tuple[Town, list[bytes]]) -> None:
    """If a service with a full log deletes its oldest segments during the rebuild, they are still read to the end."""
    settings = deployment(tmp_path)
    logged(settings, town[1])
    done: list[int] = []
    reader = SegmentReader(settings)
    whole = reader.size()
    lines = reader.lines(Counts(), done.append)
    begun = list(islice(lines, ATTEMPTS // 2))
    for segment in Path(settings.log.dir).glob("*.jsonl"):
        segment.unlink()

    assert len([*begun, *lines]) == len(town[1])
    assert sum(done) == whole


def test_assessments_afterwards_are_answered_alike(tmp_path: Path, town: tuple[Town, list[bytes]]) -> None:
    """The rebuilt store and the lost one give the same score, tier, reasons and gaps, request by request."""
    before, lines = town
    settings = deployment(tmp_path)
    logged(settings, lines)
    rebuilt(settings)
    kept, then = MemoryStore(), max(before.now, time.time())  # what has expired by now is not restored
    assert kept.replace([Change(key, None, one) for key, one in records(before.store, then).items()])
    asker = Town(ListLog(), seed=3)
    asker.now = before.now + 60.0
    with closing(LmdbStore(Path(settings.store.path), 64 << 20)) as store:
        engines = [Engine(replace(asker.engine.parts, store=each), RELEASE) for each in (kept, store)]
        for number in range(60):
            asker.now += 600.0
            one = replace(asker.attempt(), request_id=f"{number}")
            lost, again = (engine.assess(one, 10.0) for engine in engines)
            assert again == lost
            for engine in engines:
                engine.record(Outcome(assessment_id=lost.id, tenant=one.tenant, kind="session_established"), 10.0)


def test_histories_are_restored_on_redis(tmp_path: Path, town: tuple[Town, list[bytes]]) -> None:
    """Histories lost on Redis are rebuilt in the same way."""
    before, lines = town
    server = RedisServer(tmp_path / "redis")
    with running(server):
        chosen = deployment(tmp_path)
        url = f"redis://127.0.0.1:{server.port}"
        settings = replace(chosen, store=replace(chosen.store, kind="redis", url=url))
        logged(settings, lines)
        rebuilt(settings)
        with closing(RedisStore([server.address], Access())) as store:
            keys, cursor = list[bytes](), b""
            while not keys or cursor:
                more, cursor = store.walk(cursor, 1000)
                keys += more
            own = [key for key in keys if not key.startswith(NOBODY)]
            found = {key: kept for key, kept in zip(own, store.load(own), strict=True) if kept is not None}
    now = time.time()
    assert found == records(before.store, now)


@pytest.mark.parametrize("role", ["files", "candidate", "shadow"])
def test_what_counters_counted_is_restored(role: str, tmp_path: Path) -> None:
    """The records of counted attributes are restored, too, whichever of the releases in use counts them."""
    policies = tmp_path / "policies"
    policies.mkdir()
    rule = (
        "{name: n, when: counted.plan.attempts_1h > 9.0, then: DENY, reason: A, text: B., journeys: all, shadow: true}"
    )
    for source in data_directory("policies").glob("*.yaml"):
        text = source.read_text(encoding="utf-8").replace("rules:\n", f"counters: [plan]\nrules:\n  - {rule}\n", 1)
        (policies / source.name).write_text(text, encoding="utf-8")
    made = deployment(tmp_path)
    chosen = replace(made.release, policies=str(policies))
    settings = replace(made, release=chosen, attributes=Attributes(names=("plan",)))
    log = ListLog()
    before = Town(log, apart=30.0)
    if role != "files":
        releases = open_releases(settings)
        for folder, wish in (
            (data_directory("policies"), {}),
            (policies, {"shadow": True} if role == "shadow" else {"percent": 5.0}),
        ):
            release = releases.create(folder, data_directory("models"), "test", "").id
            releases.activate(ActivationRequest(release=release, actor="test", **wish))
    before.engine.install(lineup_in_use(settings))
    before.now = time.time() - 3600.0
    before.live(100)
    logged(settings, log.lines)
    rebuilt(settings)
    counted = (
        before.engine.parts.pseudonyms.counter_keys("", "customer", {"plan": "gold"}, ("plan",))["plan"] + ACTIVITY
    )

    assert counted in held(settings, before.now)
    assert held(settings, before.now) == records(before.store, before.now)


def test_histories_are_restored_from_a_dataset(tmp_path: Path, town: tuple[Town, list[bytes]]) -> None:
    """A dataset compacted from the log restores the same histories as the log."""
    before, lines = town
    settings = deployment(tmp_path)
    logged(settings, lines)
    target = str(tmp_path / "dataset")
    log = Path(settings.log.dir)
    Dataset(Target.open(target), log, FileLogArchive(log, 1.0, 1.0)).compact({}, lambda _: None, 1)
    shutil.rmtree(log)
    summary = rebuilt(settings, reader=DatasetReader(target))
    told, heard = of_kinds(lines)
    assert summary.counts == {"attempts": ATTEMPTS, "outcomes": told, "events": heard, "erased": 0}
    assert held(settings, time.time()) == records(before.store, time.time())


class Dying(Struct, frozen=True):
    """A log whose reader is killed after so many lines."""

    settings: Settings
    after: int

    def size(self) -> int:
        return SegmentReader(self.settings).size()

    def lines(self, counts: Counts, progress: Progress) -> Iterator[Line]:
        yield from islice(SegmentReader(self.settings).lines(counts, progress), self.after)
        raise Killed


@pytest.fixture(scope="module")
def busy() -> tuple[Town, list[bytes]]:
    """A town in which everything happens within minutes."""
    log = ListLog()
    town = Town(log, apart=0.5, gossip=0.2)
    town.live(ATTEMPTS)
    return town, log.lines


@pytest.mark.parametrize(
    ("first", "pace"), [(0, "town"), (1, "town"), (77, "busy"), (77, "town"), (150, "town"), (399, "town")]
)
def test_a_rebuild_killed_while_reading_resumes(
    tmp_path: Path, first: int, pace: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed twice while reading lines, at or between bookmarks, the rebuild ends with the same store, counts each line
    once and leaves no bookmarks."""
    monkeypatch.setattr(run, "EVERY", 50)
    before, lines = request.getfixturevalue(pace)
    settings = deployment(tmp_path)
    logged(settings, lines)
    for after in (first, first + 13):
        with pytest.raises(Killed):
            rebuilt(settings, reader=Dying(settings, after))
    summary = rebuilt(settings)
    assert summary.resumed == (first + 13 >= 50)
    told, heard = of_kinds(lines)
    assert summary.counts == {"attempts": ATTEMPTS, "outcomes": told, "events": heard, "erased": 0}
    assert held(settings, time.time()) == records(before.store, time.time())
    assert not unnamed(settings)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_rebuild_killed_while_merging_resumes(tmp_path: Path, town: tuple[Town, list[bytes]], steps: int) -> None:
    """Killed several times while merging records, the rebuild adds each record once, and still knows its counts. It
    needs the log no more."""
    before, lines = town
    settings = deployment(tmp_path)
    logged(settings, lines)
    for _ in range(3):
        left = steps

        def die(half: str, *_: int) -> None:
            nonlocal left
            left -= half == RECORDS
            if not left:
                raise Killed

        with pytest.raises(Killed):
            rebuilt(settings, die)
    for segment in Path(settings.log.dir).glob("*.jsonl"):
        segment.unlink()
    summary = rebuilt(settings)
    assert (summary.resumed, summary.counts["attempts"]) == (True, ATTEMPTS)
    assert held(settings, time.time()) == records(before.store, time.time())


def test_a_rebuild_whose_own_store_was_damaged_begins_again(tmp_path: Path, town: tuple[Town, list[bytes]]) -> None:
    """If a crash of the machine has damaged what was replayed, it is replayed again."""
    before, lines = town
    settings = deployment(tmp_path)
    logged(settings, lines)
    with pytest.raises(Killed):
        rebuilt(settings, reader=Dying(settings, 199))
    (beside(Path(settings.store.path)) / STAGED / DATA).write_bytes(b"noise" * 5000)
    summary = rebuilt(settings)
    assert (summary.resumed, summary.counts["attempts"]) == (False, ATTEMPTS)
    assert held(settings, time.time()) == records(before.store, time.time())


class Shared(LmdbStore):
    """The store of a service, which a process cannot open twice: the rebuild shares it and leaves it open. Records the
    writes of an engine."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(Path(settings.store.path), 64 << 20)
        self.writes: list[tuple[Sequence[Delta], Sequence[Swap], float]] = []

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        done = super().write(deltas, swaps, now, timeout)
        if done:
            self.writes.append((deltas, swaps, now))
        return done

    def close(self) -> None:
        """Stay open."""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shared]:
    store = Shared(deployment(tmp_path))
    monkeypatch.setattr(run, "open_store", lambda _: store)
    yield store
    LmdbStore.close(store)


def test_writes_during_a_rebuild_are_added(tmp_path: Path, town: tuple[Town, list[bytes]], shared: Shared) -> None:
    """If sign-ins and outcomes continue during the rebuild, each history ends as the sum of the old one and the new
    writes."""
    before, lines = town
    settings = deployment(tmp_path)
    logged(settings, lines)
    living, stop = Town(ListLog(), seed=2), threading.Event()
    living.engine = Engine(replace(living.engine.parts, store=shared), RELEASE)
    living.now = before.now

    def live() -> None:
        while not stop.is_set():
            living.now += 60.0
            one = living.attempt()
            answer = living.engine.assess(one, 10.0)
            told = Outcome(assessment_id=answer.id, tenant=one.tenant, kind="session_established")
            living.engine.record(told, 10.0)

    with ThreadPoolExecutor(1) as pool:
        served = pool.submit(live)
        try:
            rebuilt(settings)
        finally:
            stop.set()
        served.result()
    assert len(shared.writes) > 20
    apart = MemoryStore()
    for deltas, swaps, then in shared.writes:
        for swap in swaps:
            assert apart.write((), (replace(swap, expected=apart.read((), (swap.key,), then, 1.0)[1][0]),), then, 1.0)
        apart.write(deltas, (), then, 1.0)
    now = time.time()
    was, came = records(before.store, now), records(apart, now)
    both = {key for key in was.keys() & came.keys() if key[-1:] != RECEIPT}
    expected = was | came | {key: merged(was[key], came[key]) for key in both}
    found = {key: kept for key, kept in records(shared, now).items() if not key.startswith(NOBODY)}
    assert plain(found) == plain(expected)


def unnamed(settings: Settings) -> set[bytes]:
    """What is in the store besides histories and the documents about its state."""
    with closing(LmdbStore(Path(settings.store.path), 64 << 20)) as store:
        keys, _ = store.walk(b"", 100_000)
    return {key for key in keys if key.startswith(NOBODY)} - {merge.KEY, MARK, TURN}


def plain(held: dict[bytes, bytes]) -> dict[bytes, object]:
    """Records as values; the order of a table's values does not matter."""
    return {
        key: kept if key[-1:] == RECEIPT else (expiry(kept), ordered(decode(payload(kept))))
        for key, kept in held.items()
    }


def ordered(history: History) -> tuple[object, ...]:
    tables = {table: dict(history.tallies.of(table)) for table in TABLES}
    return tables, history.marks, history.sketches


def test_a_subject_erased_during_a_rebuild_stays_erased(
    tmp_path: Path, town: tuple[Town, list[bytes]], shared: Shared
) -> None:
    """A subject erased before, during or at the end of the rebuild is not restored, whether or not its lines are still
    in the log; others are."""
    settings = deployment(tmp_path)
    logged(settings, town[1])
    archive = FileLogArchive(Path(settings.log.dir), 1.0, 1.0)
    victims = [f"person {who}" for who in (1, 2, 3)]
    coming = iter(victims)
    living = Town(ListLog())
    subjects = Subjects(Engine(replace(living.engine.parts, store=shared), RELEASE), archive, lambda: 0)

    def erase(half: str, done: int, total: int) -> None:
        if (half == RECORDS and done < total / 2) or done == total:
            for who in islice(coming, 1):
                subjects.erase(Subject("", "customer", who), 10.0)
                archive.compact({}, threading.Event())

    subjects.erase(Subject("", "customer", "person 7"), 10.0)
    rebuilt(settings, erase)
    assert next(coming, None) is None
    for who in (*victims, "person 7"):
        assert shared.held(place_of(who), 0.0, 10) == []
        assert subjects.export(Subject("", "customer", who), 10, b"l").records == ()
    assert shared.held(place_of("person 6"), 0.0, 10)
    assert not (Path(settings.log.dir) / "erasures" / "done").exists()


def test_a_subject_erased_between_two_runs_stays_erased(tmp_path: Path, town: tuple[Town, list[bytes]]) -> None:
    """If a rebuild is killed right after an erasure, which did not see what was merged at the same time, the next run
    takes it out of the store again."""
    settings, who = deployment(tmp_path), place_of("person 7")
    logged(settings, town[1])

    def die(half: str, done: int, total: int) -> None:
        if half == RECORDS and done >= total:
            raise Killed

    with pytest.raises(Killed):
        rebuilt(settings, die)
    assert who in {key[:PLACE] for key in held(settings, time.time())}
    FileLogArchive(Path(settings.log.dir), 1.0, 1.0).forget([who])
    assert rebuilt(settings).counts["erased"] == 1
    left = {key[:PLACE] for key in held(settings, time.time())}
    assert left
    assert who not in left


def test_a_dataset_started_during_a_rebuild_applies_erasures(tmp_path: Path, town: tuple[Town, list[bytes]]) -> None:
    """A subject erased during the rebuild is also removed from a dataset that was first compacted in that time."""
    settings = deployment(tmp_path)
    logged(settings, town[1])
    log, archive = Path(settings.log.dir), FileLogArchive(Path(settings.log.dir), 1.0, 1.0)
    target, erased = Target.open(str(tmp_path / "set")), place_of("person 1")
    steps = iter(range(10))

    def begin(half: str, done: int, total: int) -> None:
        if half == RECORDS and next(steps, None) == 0:
            assert Dataset(target, log, archive).compact({}, lambda _: None)
            archive.forget([erased])
            archive.compact({}, threading.Event())

    rebuilt(settings, begin)
    filed = Dataset(target, log, archive).compact({}, lambda _: None)

    assert filed is not None
    assert filed.gone > 0


def test_erasures_are_checked_at_intervals(
    tmp_path: Path, town: tuple[Town, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many records there are, erasures are read at most every half second, because each read takes all of
    them."""
    settings = deployment(tmp_path)
    logged(settings, town[1])
    looks = list[float]()
    erased = FileLogArchive.erased

    def look(archive: FileLogArchive) -> list[Erasure]:
        looks.append(time.monotonic())
        return erased(archive)

    monkeypatch.setattr(FileLogArchive, "erased", look)
    monkeypatch.setattr(merge, "STEP", 4)
    summary = rebuilt(settings)

    assert summary.records > 100
    assert len(looks) <= 3 + 2 * (looks[-1] - looks[0])


def place_of(who: str) -> bytes:
    return Pseudonyms(PEPPER).digest("", "customer", "subject", who)[:PLACE]


def test_lines_of_before_a_rotation_come_back_under_the_last_pepper(tmp_path: Path) -> None:
    """After two pepper rotations, lines give the same keys and counts as records that were moved twice, and an id from
    before the first rotation still finds its receipt."""
    layers = [b"the second of the peppers", b"the third of the peppers."]
    log = ListLog()
    town = Town(log, gossip=0.2)
    for count in range(3):
        pseudonyms = Pseudonyms(PEPPER, layers[:count])
        if count:
            move_all(town.store, Layer(layers[count - 1]), count % 2, threading.Event(), lambda _: None)
        town.engine.rekey(town.store, pseudonyms)
        town.live(80)
    settings = deployment(tmp_path, (PEPPER, *layers))
    logged(settings, log.lines)
    summary = rebuilt(settings)
    told, heard = of_kinds(log.lines)
    assert summary.counts == {"attempts": 240, "outcomes": told, "events": heard, "erased": 0}
    now = time.time()
    again, was = held(settings, now), records(town.store, now)
    assert again.keys() == was.keys()
    assert counts(again) == counts(was)
    first = record.decode(log.lines[0])
    assert isinstance(first, AssessmentRecord)
    with closing(LmdbStore(Path(settings.store.path), 64 << 20)) as store:
        engine = Engine(replace(town.engine.parts, store=store), RELEASE)
        engine.record(Outcome(assessment_id=first.id, tenant=first.tenant, kind="sign_in_abandoned"), 10.0)


def counts(held: dict[bytes, bytes]) -> dict[bytes, object]:
    """Records without sketches, whose bits belong to the pseudonyms at the time they were set."""
    return {key: found[:1] + found[1][:2] if isinstance(found, tuple) else found for key, found in plain(held).items()}


def test_another_pepper_teaches_nothing(
    tmp_path: Path, town: tuple[Town, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of a log written under another pepper are counted as such and restore nothing, also if a run with the right
    one was killed before."""
    monkeypatch.setattr(run, "EVERY", 50)
    logged(deployment(tmp_path), town[1])
    with pytest.raises(Killed):
        rebuilt(deployment(tmp_path), reader=Dying(deployment(tmp_path), 199))
    shutil.rmtree(tmp_path / "store")
    settings = deployment(tmp_path, (b"another pepper altogether",))
    summary = rebuilt(settings)
    told, heard = of_kinds(town[1])
    assert summary.counts == {"other_pepper": ATTEMPTS + heard, "outcomes_of_nothing": told, "erased": 0}
    assert held(settings, time.time()) == {}


def test_lines_after_until_are_left_out(tmp_path: Path, town: tuple[Town, list[bytes]]) -> None:
    """Lines written at or after `until` are not replayed, nor those that a killed run with a later one has replayed;
    without `until` the rebuild does not start."""
    lines = town[1]
    settings = deployment(tmp_path)
    logged(settings, lines)
    with pytest.raises(InvalidSettings, match="--until: is needed"):
        rebuilt(settings, until=None)
    with pytest.raises(Killed):
        rebuilt(settings, reader=Dying(settings, 400))
    until = written(record.decode(lines[200]))
    summary = rebuilt(settings, until=until)
    store = MemoryStore()
    live_through(Past(store, Pseudonyms(PEPPER), Lineup(RELEASE)), lines[:200])
    assert summary.counts["later"] == len(lines) - 200
    assert held(settings, time.time()) == records(store, time.time())


def test_a_line_written_at_the_epoch_is_counted(tmp_path: Path, town: tuple[Town, list[bytes]]) -> None:
    """Even the earliest time that a line may have is after "nothing read yet"."""
    first = next(one for one in map(record.decode, town[1]) if isinstance(one, SecurityEventRecord))
    settings = deployment(tmp_path)
    line = record.encode(replace(first, time=0.0, written=None))
    write(Path(settings.log.dir) / "19700101T000000.000000-w0-1.jsonl", line)
    assert rebuilt(settings).counts == {"events": 1, "erased": 0}


def test_without_signals_all_but_typing_is_restored(tmp_path: Path, town: tuple[Town, list[bytes]]) -> None:
    """With `log.signals` off, everything is restored except the typing rhythm."""
    before, lines = town
    settings = deployment(tmp_path)
    ones = [record.decode(line) for line in lines]
    silent = [replace(one, signals=None) if isinstance(one, AssessmentRecord) else one for one in ones]
    logged(settings, [record.encode(one) for one in silent])
    rebuilt(settings)
    now = time.time()
    assert untyped(held(settings, now)) == untyped(records(before.store, now))


def untyped(held: dict[bytes, bytes]) -> dict[bytes, object]:
    found = plain({key: kept for key, kept in held.items() if key[-1:] != RECEIPT})
    for value in found.values():
        assert isinstance(value, tuple)
        value[1][0].pop("typing")
    return found


def test_no_rebuild_starts_while_another_cleans_up(
    tmp_path: Path, town: tuple[Town, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebuild does not start while another one deletes its working files."""
    settings = deployment(tmp_path)
    logged(settings, town[1])
    clear, met = shutil.rmtree, list[str]()

    def slowly(path: Path) -> None:
        clear(path)
        if path == place:
            with pytest.raises(RiskdError) as refused:
                rebuilt(settings)
            met.append(str(refused.value))

    place = beside(Path(settings.store.path))
    monkeypatch.setattr(shutil, "rmtree", slowly)
    rebuilt(settings)
    assert ["another rebuild is running" in each for each in met] == [True]
    assert not place.exists()


def test_a_rebuild_is_not_mixed_with_another(tmp_path: Path, town: tuple[Town, list[bytes]]) -> None:
    """A second concurrent rebuild is refused, and so is a rotation. If the working files are lost half way, or belong
    to the rebuild of another store, the rebuild is refused with a remedy."""
    under_way = settings = deployment(tmp_path)
    logged(settings, town[1])

    def twice(half: str, *_: int) -> None:
        with pytest.raises(RiskdError, match="another rebuild is running"):
            rebuilt(under_way)
        if half == RECORDS:
            raise Killed

    with pytest.raises(Killed):
        rebuilt(settings, twice)
    with pytest.raises(InvalidSettings, match="being rebuilt"):
        rotate(settings, lambda _: None, lambda _: None)
    (tmp_path / "other").mkdir()
    under_way = other = deployment(tmp_path / "other")
    logged(other, town[1])
    with pytest.raises(Killed):
        rebuilt(other, twice)
    working, others = (beside(Path(each.store.path)) / "store" for each in (settings, other))
    for there in (False, True):
        shutil.rmtree(working)
        if there:
            shutil.copytree(others, working)
        with pytest.raises(InvalidSettings, match="begin with an empty one"):
            rebuilt(settings)


def test_a_rebuild_is_refused_during_a_rotation(tmp_path: Path, town: tuple[Town, list[bytes]]) -> None:
    """While a rotation moves records, a rebuild is refused. What was refused leaves nothing, which would seem to be
    under way."""
    settings = deployment(tmp_path, (PEPPER, b"the second of the peppers"))
    logged(settings, town[1])
    with closing(LmdbStore(Path(settings.store.path), 64 << 20)) as store:
        write_mark(store, Mark(0, checks([PEPPER])))
    with pytest.raises(RiskdError, match=r"being rotated, .*run `riskd pepper rotate`"):
        rebuilt(settings)
    assert not beside(Path(settings.store.path)).exists()


@pytest.fixture
def machines(tmp_path: Path, town: tuple[Town, list[bytes]]) -> Iterator[tuple[Settings, Settings]]:
    """The settings of two machines that share a Redis server and a pepper. The first has a log to rebuild from."""
    server = RedisServer(tmp_path / "redis")
    with running(server):
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
        one, other = (deployment(tmp_path / name) for name in ("one", "other"))
        shared = replace(one.store, kind="redis", url=f"redis://127.0.0.1:{server.port}")
        logged(one, town[1])
        yield replace(one, store=shared), replace(other, store=replace(shared, path=other.store.path))


def test_a_rotation_is_refused_while_another_machine_merges(machines: tuple[Settings, Settings]) -> None:
    """Records come in under the pseudonyms of when the rebuild began. So the store says that they do, and no machine
    rotates the pepper. Afterwards any machine does."""
    refused: list[str] = []

    def report(half: str, *_: int) -> None:
        if half == RECORDS and not refused:
            with pytest.raises(InvalidSettings, match="are being rebuilt") as caught:
                rotate(machines[1], lambda _: None, lambda _: None)
            refused.append(str(caught.value))

    rebuilt(machines[0], report)
    assert len(refused) == 1
    assert rotate(machines[1], lambda _: None, lambda _: None) > 0


def test_a_rebuild_does_not_merge_once_another_machine_rotates(machines: tuple[Settings, Settings]) -> None:
    """While lines are read, the store does not know of the rebuild, and a pepper may be rotated. Then nothing is
    merged, and the next run begins again."""
    pepper = Path(machines[0].secrets.pepper_file)

    def report(half: str, done: int, total: int) -> None:
        if half == LINES and done == total:
            rotate(machines[1], lambda _: None, lambda _: None)
            pepper.write_bytes(Path(machines[1].secrets.pepper_file).read_bytes())

    with pytest.raises(RiskdError, match="rotated"):
        rebuilt(machines[0], report)
    with closing(open_store(machines[0])) as store:
        assert not [key for key in store.walk(b"", 1000)[0] if not key.startswith(NOBODY)]
    assert rebuilt(machines[0]).records > 0


def test_a_rebuild_is_refused_with_peppers_that_are_not_the_stores(
    tmp_path: Path, town: tuple[Town, list[bytes]]
) -> None:
    """Of what is added under another pepper than the service's, nobody would find anything."""
    settings = deployment(tmp_path)
    logged(settings, town[1])
    with closing(LmdbStore(Path(settings.store.path), 64 << 20)) as store:
        write_mark(store, Mark(0, checks([b"the pepper of the service"])))
    with pytest.raises(InvalidSettings, match="not the peppers that the store was written with"):
        rebuilt(settings)
    assert held(settings, time.time()) == {}
