"""Pepper rotation: nothing is forgotten or counted twice, and old pseudonyms lead nowhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from riskd.adapters.caching import CachingStore
from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.memory import MemoryStore
from riskd.adapters.null import NullMeter
from riskd.adapters.redis_store import Access, RedisStore
from riskd.adapters.rekeying import RekeyingStore, move, move_all
from riskd.core.assessment import Assessment
from riskd.core.attempt import Outcome
from riskd.core.errors import Unavailable, UnknownAssessment
from riskd.core.history import EMPTY, WEEK, Delta, History, decode
from riskd.core.learn import UNITS
from riskd.core.pseudonym import Layer, Origins, Pseudonyms, short
from riskd.core.recall import ACTIVITY, ASIDE, IMPORT, NOTE, OWN, PROFILE, RECEIPT, SHARE
from riskd.core.record import AssessmentRecord
from riskd.core.record import decode as decode_line
from riskd.core.rekey import layer_parity
from riskd.core.retention import RECEIPT_SECONDS
from riskd.core.stored import PLACE, Change, Swap, pack, payload
from riskd.core.tallies import Tallies
from riskd.ports import PATIENCE, HistoryStore
from tests.cases.world import NOW, attempt
from tests.decision_log import read_segments
from tests.interleaved import Cluster, Process, run
from tests.office import PAYEE, PEOPLE, Office, lived, named, steps, total
from tests.redis_servers import RedisServer, cluster, flush

FIRST, SECOND, THIRD = b"pepper of the golden cases", b"the second of the peppers", b"the third of the peppers."


def rotating(office: Office, store: HistoryStore, older: tuple[bytes, ...], newest: bytes) -> None:
    """What a worker does when it learns of a new pepper."""
    origins = Origins()
    moving = RekeyingStore(store, origins, Layer(newest))
    office.engine.rekey(moving, Pseudonyms(FIRST, (*older, newest), origins))


def rotated(office: Office, store: HistoryStore, *layers_: bytes) -> None:
    """What a worker does when it learns that everything was moved."""
    office.engine.rekey(store, Pseudonyms(FIRST, layers_))


def moved_all(store: HistoryStore, pepper: bytes, parity: int) -> int:
    return move_all(store, Layer(pepper), parity, threading.Event(), lambda _: None)


@given(st.binary(min_size=16, max_size=16))
def test_parts_get_the_layer_of_the_whole(digest: bytes) -> None:
    """Layering a pseudonym's short form or place gives that of the layered pseudonym; the length shows the parity."""
    layer = Layer(SECOND)
    once = layer.over(digest)
    assert short(once) == layer.over_short(short(digest))
    assert once[:PLACE] == layer.over_place(digest[:PLACE])
    assert (len(once), len(Layer(THIRD).over(once))) == (17, 16)
    assert (layer_parity(digest + b"P"), layer_parity(once + b"P"), layer_parity(once[:PLACE] + once + b"R")) == (
        0,
        1,
        1,
    )
    entity = layer.over(digest[:PLACE])
    assert short(entity) == short(once)
    assert (len(entity), len(Layer(THIRD).over(entity)), layer_parity(entity + b"A")) == (9, 8, 1)


def test_every_age_of_a_pseudonym_is_known() -> None:
    """Records written before a layer are found under the pseudonym that they had."""
    many = Pseudonyms(FIRST, (SECOND, THIRD))
    ages = many.at_each_layer("", "customer", "subject", "anne")
    assert ages == [
        Pseudonyms(FIRST, peppers).digest("", "customer", "subject", "anne")
        for peppers in ((), (SECOND,), (SECOND, THIRD))
    ]
    assert many.digest("", "customer", "subject", "anne") == many.common("", "customer", "subject", "anne") == ages[-1]


unrepeated = steps.map(lambda step: {**step, "request_id": ""})
"""Without request ids, because one that is repeated after a day is a new request, and its answer's id depends on the
layers."""


@settings(max_examples=20)
@given(st.lists(unrepeated, max_size=8), st.lists(unrepeated, max_size=8), st.integers(1, 9))
def test_a_rotation_forgets_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[dict[str, object]],
    during: list[dict[str, object]],
    moved_first: int,
) -> None:
    """After a rotation in the middle of some history, all histories have the counts that they would have without it,
    old assessments still teach, and no old key remains."""
    plain = Office(tmp_path_factory.mktemp("plain"))
    office = Office(tmp_path_factory.mktemp("moving"), store := MemoryStore())
    answers: list[list[tuple[str, Assessment]]] = [lived(one, before) for one in (plain, office)]
    rotating(office, store, (), SECOND)
    for key in store.walk(b"", moved_first)[0]:
        move(store, key, Layer(SECOND))
    meanwhile = [[answer.requirement.tier for _, answer in lived(one, during)] for one in (plain, office)]
    # For a while an account counts twice at an address, under both names, which may raise a tier.
    assume(meanwhile[0] == meanwhile[1])
    for (_, first), (_, second) in zip(*answers, strict=True):
        assert told(plain, first) == told(office, second)
    moved_all(store, SECOND, 1)
    rotated(office, store, SECOND)

    assert {layer_parity(key) for key in office.records()} <= {1}
    assert counts(plain) == counts(office)
    for who in PEOPLE:
        old, new = (one.subjects.summary(named(who)) for one in (plain, office))
        assert (old.units, old.since, old.attempts, len(old.open)) == (
            new.units,
            new.since,
            new.attempts,
            len(new.open),
        )
    for one in (plain, office):
        one.engine.close()


def told(office: Office, answer: Assessment) -> int | None:
    """Units that an old assessment taught once it is confirmed; None if its receipt has expired."""
    try:
        return office.tell(answer, "confirmed_legitimate")
    except UnknownAssessment:
        return None


def counts(office: Office) -> list[tuple[bytes, list[list[int]]]]:
    """All counts, without keys."""
    histories = {key: record for key, record in office.records().items() if key[-1:] in b"PACDO"}
    return sorted(
        (
            key[-1:],
            sorted(tally for table in decode(payload(record)).tallies.__struct_fields__
                   for tally in decode(payload(record)).tallies.of(table).values()),
        )
        for key, record in histories.items()
    )  # fmt: skip


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    with cluster(tmp_path_factory.mktemp("cluster")) as formed:
        yield formed


@pytest.fixture(params=["memory", "lmdb", "cluster"])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    base: HistoryStore = MemoryStore()
    if request.param == "lmdb":
        base = CachingStore(LmdbStore(tmp_path / "store", map_size=64 << 20), NullMeter())
    elif request.param == "cluster":
        servers: list[RedisServer] = request.getfixturevalue("nodes")
        flush(servers)
        base = RedisStore([server.address for server in servers], Access())
    opened = Office(tmp_path, base)
    with closing(opened.engine):
        yield opened


def test_ids_given_out_before_still_find_their_receipts(office: Office) -> None:
    """After one and two rotations, an old id finds its receipt, and fraud takes back exactly what was taught."""
    store = office.store
    answers = [office.sign_in("anne") for _ in range(3)]
    for older, newest in (((), SECOND), ((SECOND,), THIRD)):
        rotating(office, store, older, newest)
        moved_all(store, newest, (len(older) + 1) % 2)
        rotated(office, store, *older, newest)
        assert office.tell(answers.pop(), "confirmed_fraud") == 0
        answers.insert(0, office.sign_in("anne"))
    assert office.subjects.summary(named("anne")).units == 3 * UNITS
    for answer in answers:
        assert office.tell(answer, "confirmed_fraud") == 0
    assert office.subjects.summary(named("anne")).units == 0


def test_a_strange_device_waits_across_rotations(office: Office) -> None:
    """A device on probation that taught has to wait during and after one and two rotations. Who asks is shown that it
    does, and an erasure ends it."""
    store = office.store

    def passed() -> int:
        return office.tell(office.sign_in("anne", "challenge_failed", device={"device_id": "new"}), "challenge_passed")

    office.sign_in("anne")
    office.now += 4 * WEEK
    assert passed() == 1
    for older, newest in (((), SECOND), ((SECOND,), THIRD)):
        rotating(office, store, older, newest)
        assert passed() == 0
        moved_all(store, newest, (len(older) + 1) % 2)
        rotated(office, store, *older, newest)
        assert passed() == 0
    assert [one.content for one in office.export("anne") if one.kind == "wait"] == [b"{}"]
    assert office.erase("anne")["wait"] == 1
    assert passed() == 1


def test_outcomes_are_taken_by_the_id_of_an_open_receipt(office: Office) -> None:
    """An outcome is accepted under the original id and, after a rotation, under the id that the summary shows."""
    store = office.store
    answer = office.sign_in("anne")
    for older, newest in (((), SECOND), ((SECOND,), THIRD)):
        [shown] = office.subjects.summary(named("anne")).open
        assert (shown.id == answer.id) == (older == ())
        assert office.engine.record(Outcome(assessment_id=shown.id, kind="session_established"), 10.0).taught == UNITS
        rotating(office, store, older, newest)
        moved_all(store, newest, (len(older) + 1) % 2)
        rotated(office, store, *older, newest)
    [shown] = office.subjects.summary(named("anne")).open
    assert office.engine.record(Outcome(assessment_id=shown.id, kind="confirmed_fraud"), 10.0).taught == 0


def test_a_repeated_request_gets_the_first_answer_across_a_rotation(office: Office) -> None:
    """A repeat gets the first answer before and after its record was moved."""
    first = office.sign_in("anne", request_id="r-1")
    rotating(office, office.store, (), SECOND)
    assert office.sign_in("anne", request_id="r-1").id == first.id
    moved_all(office.store, SECOND, 1)
    rotated(office, office.store, SECOND)
    assert office.sign_in("anne", request_id="r-1").id == first.id


def test_fraud_during_the_move_undoes_earlier_lessons(office: Office) -> None:
    """If the receipt was moved first, fraud still takes back what was taught."""
    answer = office.sign_in("anne")
    rotating(office, office.store, (), SECOND)
    receipt = next(key for key in office.records() if key[-1:] == RECEIPT)
    move(office.store, receipt, Layer(SECOND))
    assert office.tell(answer, "confirmed_fraud") == 0
    moved_all(office.store, SECOND, 1)
    left = [decode(payload(record)) for key, record in office.records().items() if key[-1:] == PROFILE]
    assert [(history.tallies, history.marks) for history in left] == [(Tallies(), {})] * 2, "only two sketches remain"


@pytest.mark.parametrize("moved_first", [b"", RECEIPT, RECEIPT + ACTIVITY], ids=["nothing", "receipt", "all"])
def test_counters_count_across_a_rotation(office: Office, moved_first: bytes) -> None:
    """Attempts of before, and challenges of before that fail during the move and after it, are counted together."""
    answers = [office.engine.assess(attempt({"subject": who, "attributes": PAYEE}), 10.0) for who in PEOPLE]
    rotating(office, office.store, (), SECOND)
    for key in [key for key in office.records() if key[-1:] in moved_first]:
        move(office.store, key, Layer(SECOND))
    office.tell(answers[0], "challenge_failed")
    moved_all(office.store, SECOND, 1)
    rotated(office, office.store, SECOND)
    office.tell(answers[1], "challenge_failed")
    key = office.engine.parts.pseudonyms.counter_keys("", "customer", PAYEE, ("payee",))["payee"]
    tallies = decode(payload(office.records()[key + ACTIVITY])).tallies

    assert [sum(tallies.of(table)[""][1:]) for table in ("attempt_day", "failure_day")] == [3, 2]
    assert {layer_parity(key) for key in office.records()} == {1}


@pytest.mark.parametrize("moved_first", [b"", RECEIPT, OWN], ids=["nothing", "receipt", "own"])
def test_what_is_own_stays_own_across_a_rotation(office: Office, moved_first: bytes) -> None:
    """What an account proved with a value before the move is taken back during it, and the rest is known during it and
    after it."""

    def own(who: str) -> float:
        office.engine.assess(attempt({"subject": who, "attributes": PAYEE}), 10.0)
        line = decode_line([*read_segments(office.directory)][-1])
        assert isinstance(line, AssessmentRecord)
        return line.facts.counted["payee.own"]

    office.sign_in("anne")
    fraud = office.sign_in("anne", "challenge_passed")
    before = own("anne")
    rotating(office, office.store, (), SECOND)
    for key in [key for key in office.records() if moved_first and key[-1:] in moved_first]:
        move(office.store, key, Layer(SECOND))
    office.tell(fraud, "confirmed_fraud")
    assert own("anne") == pytest.approx(2.0)
    assert own("bert") == 0.0
    moved_all(office.store, SECOND, 1)
    rotated(office, office.store, SECOND)
    assert before > own("anne") == pytest.approx(2.0)


def test_an_erasure_during_the_move_leaves_nothing(office: Office) -> None:
    """An erasure during the move removes all of the subject, in the log under every pseudonym that it had."""
    for _ in range(2):
        office.sign_in("anne")
        office.sign_in("bert")
    rotating(office, office.store, (), SECOND)
    for key in office.store.walk(b"", 5)[0]:
        move(office.store, key, Layer(SECOND))
    office.sign_in("anne")
    assert len(office.subjects.export(named("anne"), 500, b"l").records) == 6
    office.erase("anne")
    moved_all(office.store, SECOND, 1)
    office.compact()
    both = Pseudonyms(FIRST, (SECOND,)).at_each_layer("", "customer", "subject", "anne")
    content = b"".join(path.read_bytes() for path in office.directory.glob("*.jsonl"))

    assert not [key for key in office.records() for age in both if key.startswith(age[:PLACE])]
    assert not [age for age in both if age[:PLACE].hex().encode() in content]
    assert office.subjects.summary(named("anne")).units == 0
    assert office.subjects.summary(named("bert")).units == 2 * UNITS


def test_an_erasure_during_the_move_takes_a_share_out_of_its_device(office: Office) -> None:
    """An erasure during the move takes the subject's share out of a device that no receipt names; the device goes with
    its last share."""
    for who in ("anne", "bert"):
        office.sign_in(who, **{"with": "phone"})
    office.now += RECEIPT_SECONDS + 1
    office.store.sweep(office.now, 1000)
    rotating(office, office.store, (), SECOND)
    assert office.erase("anne")["share"] == 2, "that of the device, and that of its fingerprint"
    moved_all(office.store, SECOND, 1)
    rotated(office, office.store, SECOND)
    held = office.records()
    shares = [key for key in held if key[-1:] == SHARE]
    assert len(shares) == 2
    assert {(total(held[key]), total(held[key[PLACE:-1] + PROFILE])) for key in shares} == {(UNITS, UNITS)}
    assert office.erase("bert")["device_profile"] == 2


def test_a_worker_that_has_not_heard_loses_no_count(office: Office) -> None:
    """What a worker writes under old keys after the move is added to the new ones in the end."""
    office.sign_in("anne")
    stale = Office(office.directory.parent / "stale", office.store)
    rotating(office, office.store, (), SECOND)
    moved_all(office.store, SECOND, 1)
    office.sign_in("anne")
    stale.sign_in("anne")
    moved_all(office.store, SECOND, 1)
    rotated(office, office.store, SECOND)

    assert office.subjects.summary(named("anne")).units == 3 * UNITS
    assert {layer_parity(key) for key in office.records()} == {1}
    stale.log.close()


def test_an_attempt_under_way_keeps_the_pseudonyms_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a worker learns of a pepper between an attempt's read and its write, the receipt still moves, teaches and is
    erased with the account."""
    store = MemoryStore()
    office = Office(tmp_path, store)
    read = store.read

    def hearing(
        histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History], list[bytes | None]]:
        found = read(histories, documents, now, timeout)
        monkeypatch.undo()
        rotating(office, store, (), SECOND)
        return found

    monkeypatch.setattr(store, "read", hearing)
    answer = office.engine.assess(attempt({"subject": "anne"}), 10.0)
    moved_all(store, SECOND, 1)
    rotated(office, store, SECOND)

    assert office.tell(answer, "confirmed_legitimate") == UNITS
    assert office.subjects.summary(named("anne")).units == UNITS
    assert office.erase("anne")["receipt"] == 1
    assert not [key for key in office.records() if key[-1:] == RECEIPT]


def test_many_threads_during_the_move_lose_no_count(office: Office) -> None:
    """Sign-ins on three threads lose no count while a fourth moves everything."""
    for _ in range(5):
        office.sign_in("anne")
    rotating(office, office.store, (), SECOND)

    def busy() -> None:
        for _ in range(10):
            office.sign_in("anne")

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        moved_all(office.store, SECOND, 1)
    moved_all(office.store, SECOND, 1)
    rotated(office, office.store, SECOND)

    assert office.subjects.summary(named("anne")).units == 35 * UNITS
    assert {total(record) for key, record in office.records().items() if key[-1:] == PROFILE} == {35 * UNITS}


PERSON = ("", "customer", "subject", "anne")
UNIT = ("sign_in", "", 1)


@pytest.mark.parametrize("calls", range(9))
@pytest.mark.parametrize(
    ("ask", "units"),
    [
        (lambda store, key: store.read((key,), (), NOW, 1.0)[0] != [EMPTY], 1),
        (lambda store, key: store.load((key,))[0] is not None, 1),
        (lambda store, key: store.write((Delta(key, NOW, NOW + WEEK, (UNIT,)),), (), NOW, 1.0), 2),
        (lambda store, key: [each for each in store.held(key[:PLACE], NOW, 9) if each[-1:] != NOTE] == [key], 1),
        (lambda store, key: store.erase((key,)) == 1, 0),
    ],
    ids=["read", "load", "write", "held", "erase"],
)
def test_whatever_is_asked_of_a_record_concerns_what_was_not_moved_yet(
    ask: Callable[[HistoryStore, bytes], bool], units: int, calls: int
) -> None:
    """A record not yet moved, or whose mover died after some calls, is found, added to and erased under its new key,
    and nothing stays under the old one."""
    store, origins = Cluster(), Origins()
    old = Pseudonyms(FIRST).digest(*PERSON) + PROFILE
    assert store.write((Delta(old, NOW, NOW + WEEK, (UNIT,)),), (), NOW, 1.0)
    many = Pseudonyms(FIRST, (SECOND,), origins)
    new = many.digest(*PERSON) + PROFILE
    run([Process(store, lambda mine: move(mine, old, Layer(SECOND)), calls)], ())
    assert ask(RekeyingStore(store, origins, Layer(SECOND)), new)
    left, aside, found = store.load((old, old + ASIDE, new))
    assert (left, aside, total(found) if found else 0) == (None, None, units)


def test_a_record_that_always_changes_is_unavailable() -> None:
    """A record that changes at each attempt to move it is neither lost nor half moved; the caller gets Unavailable."""

    class Busy(MemoryStore):
        def replace(self, changes: Sequence[Change], timeout: float = PATIENCE) -> bool:
            return False

    store, key = Busy(), Pseudonyms(FIRST).digest(*PERSON) + PROFILE
    assert store.write((Delta(key, NOW, NOW + WEEK, (UNIT,)),), (), NOW, 1.0)
    with pytest.raises(Unavailable, match="kept changing while it was moved"):
        move(store, key, Layer(SECOND))
    assert store.walk(b"", 9)[0] == [key]


def test_how_far_an_import_has_come_is_found_again(office: Office) -> None:
    """An import's progress, kept under its own pseudonym, is found before and after it was moved."""
    parts = office.engine.parts
    name = ("", "customer", "import", "okta")
    swap = Swap(parts.pseudonyms.digest(*name) + IMPORT, None, b"so far", office.now + 60)
    assert parts.store.write((), (swap,), office.now, 1.0)
    rotating(office, office.store, (), SECOND)
    for _ in range(2):
        parts = office.engine.parts
        found = parts.store.read((), (parts.pseudonyms.digest(*name) + IMPORT,), office.now, 1.0)
        assert found == ([], [b"so far"])
        moved_all(office.store, SECOND, 1)
        rotated(office, office.store, SECOND)


def test_a_stopped_move_is_continued_later(office: Office) -> None:
    """If the move is stopped, the next call moves the rest."""
    office.sign_in("anne")
    stop = threading.Event()
    stop.set()
    assert move_all(office.store, Layer(SECOND), 1, stop, lambda _: None) == 0
    held = len(office.records())
    assert moved_all(office.store, SECOND, 1) == held
    assert moved_all(office.store, SECOND, 1) == 0


def test_everything_moves_however_little_is_looked_at_in_one_go(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With small steps, everything is still moved."""
    monkeypatch.setattr("riskd.adapters.rekeying.STEP", 3)
    for who in PEOPLE:
        office.sign_in(who, request_id=who)
    held = len(office.records())
    assert moved_all(office.store, SECOND, 1) == held > 9
    assert {layer_parity(key) for key in office.records()} == {1}


@pytest.mark.parametrize("kind", [PROFILE, RECEIPT])
@pytest.mark.parametrize("left", [0, 3, 12])
def test_a_damaged_record_does_not_stop_the_move(office: Office, kind: bytes, left: int) -> None:
    """A damaged record is deleted, because it cannot be moved; all others are moved."""
    office.sign_in("anne")
    before = office.records()
    key = next(key for key in before if key.endswith(kind))
    with suppress(Unavailable):  # Redis writes a record without an expiry, and complains
        office.store.replace([Change(key, before[key], before[key][:left])])
    assert office.store.load((key,)) != [before[key]]

    assert moved_all(office.store, SECOND, 1) == len(before) - 1
    assert all(layer_parity(key) == 1 for key in office.records())


def test_a_damaged_record_under_the_new_key_gives_way() -> None:
    """If the record that is already under the new key cannot be decoded, the one that is moved replaces it."""
    store, old = MemoryStore(), Pseudonyms(FIRST).digest(*PERSON) + PROFILE
    new = Pseudonyms(FIRST, (SECOND,)).digest(*PERSON) + PROFILE
    assert store.write((Delta(old, NOW, NOW + WEEK, (UNIT,)),), (), NOW, 1.0)
    assert store.replace([Change(new, None, pack(NOW + WEEK, b"damaged"))])
    assert move(store, old, Layer(SECOND)) == 1
    (found,) = store.load((new,))
    assert found is not None
    assert total(found) == 1
