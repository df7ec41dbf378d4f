"""The engine: what is counted once, how failures are handled, what is refused, and who may report outcomes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import pytest
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.core import learn, record, replies
from riskd.core.assess import Release
from riskd.core.attempt import (
    Attempt,
    Behaviour,
    Device,
    Federation,
    Network,
    Outcome,
    Outside,
    ReportedPlace,
    Session,
)
from riskd.core.context import Missing, Place
from riskd.core.errors import InvalidAttempt, InvalidOutcome, Unavailable, UnknownAssessment
from riskd.core.features import NAMES
from riskd.core.history import History
from riskd.core.lineup import Lineup
from riskd.core.pseudonym import Pseudonyms
from riskd.core.recall import ACTIVITY, RECEIPT, REPLY
from riskd.core.stored import PLACE, Change
from riskd.engine import Engine
from riskd.ports import HistoryStore
from tests.bench import ASKED, GEO, LOGIN, THREADS, Bench, at_once, parts, release, store
from tests.cases.world import NOW, facts
from tests.doubles import FailingStore, ListLog, PartialStore

__all__ = ["release", "store"]
LONG, LONGER, WORD = "x" * 257, "x" * 1025, "x" * 65
BAD: Final = (math.nan, math.inf, -math.inf)


def test_a_repeated_request_gets_the_first_answer(release: Release, store: HistoryStore) -> None:
    """A repeated request id gets the first answer, even if measurements differ; nothing is counted twice."""
    bench = Bench(release, store)
    first = bench.assess(ASKED)
    again = bench.assess(replace(ASKED, time=NOW + 1, behaviour=Behaviour(form_seconds=9.0)))

    assert again == first
    assert bench.tries() == 1
    assert bench.logged() == 1
    assert sum(bench.meter.told.values()) == 2, "one assessment, with one gap"


def test_eight_repeats_at_once_get_one_answer(release: Release, store: HistoryStore) -> None:
    """Eight concurrent calls with one request id are counted once and get the same answer."""
    bench = Bench(release, store)
    answers = at_once(lambda _: bench.assess(ASKED))

    assert len({replies.encode(answer, b"") for answer in answers}) == 1
    assert bench.tries() == 1
    assert bench.logged() == 1


def test_eight_requests_at_once_are_eight(release: Release, store: HistoryStore) -> None:
    """Eight concurrent calls with different request ids or none are counted eight times."""
    bench = Bench(release, store)
    answers = at_once(lambda number: bench.assess(replace(LOGIN, request_id=str(number) if number % 2 else "")))

    assert len({answer.id for answer in answers}) == THREADS
    assert bench.tries() == THREADS
    assert bench.logged() == THREADS


@pytest.mark.parametrize("other", [{"tenant": "t-2"}, {"subject": "kim"}, {"domain": "workforce"}])
def test_a_request_id_is_the_caller_s_own(release: Release, other: dict[str, str]) -> None:
    """The same request id from another tenant, subject or domain is another request."""
    bench = Bench(release, MemoryStore())

    assert bench.assess(ASKED).id != bench.assess(replace(ASKED, **other)).id
    assert bench.logged() == 2


@pytest.mark.parametrize(
    ("works", "gaps", "causes"),
    [
        ({}, True, ("history:unavailable", "reputation:unavailable", "store:not_written")),
        ({"writes": True}, True, ("history:unavailable", "reputation:unavailable")),
        ({"reads": True}, False, ("store:not_written",)),
    ],
    ids=["down", "cannot be read", "cannot be written"],
)
def test_a_failing_store_causes_a_gap_and_is_reported(
    release: Release, works: dict[str, bool], gaps: bool, causes: tuple[str, ...]
) -> None:
    """If the store fails, the caller still gets an answer; the gaps and causes are in the answer and the log, and each
    failure is counted."""
    bench = Bench(release, FailingStore(**works))
    answer = bench.assess(ASKED)
    (line,) = map(record.decode, bench.log.lines)

    assert isinstance(line, record.AssessmentRecord)
    lacking = {gap for gap in answer.gaps if gap.why == "unavailable"}
    assert lacking == ({Missing("history", "unavailable"), Missing("reputation", "unavailable")} if gaps else set())
    assert answer.causes == line.causes == causes
    assert bench.meter.told["failed", "store"] == 2 - len(works)
    assert bench.meter.told["gap", "history", "unavailable"] == gaps


def part(key: bytes) -> Callable[[bytes], bool]:
    """Whether a place is this key's."""
    return lambda place: place == key[:PLACE]


def test_what_can_be_read_is_used(release: Release) -> None:
    """If one place cannot be read, only the gap of its source is in the answer and the log, with its posture; the
    rest is known, and the failure is counted."""
    store = PartialStore()
    bench, keys = Bench(release, store), facts(LOGIN, GEO, NOW, store)[0]
    for _ in range(3):
        bench.tell(bench.assess(LOGIN), "confirmed_legitimate")
    for place, lost, names in ((keys.address, "reputation", ("address",)), (keys.subject, "history", ("subject",))):
        store.unread = part(place)
        answer = bench.assess(LOGIN)
        line = record.decode(bench.log.lines[-1])
        assert isinstance(line, record.AssessmentRecord)
        assert [gap for gap in answer.gaps if gap.why == "unavailable"] == [Missing(lost, "unavailable")]
        assert answer.causes == line.causes == (f"{lost}:unavailable",)
        assert line.facts.unread == names
        known = {name: value is not None for name, value in zip(NAMES, line.vector, strict=True)}
        assert known["address_attempts_10m"] == (lost == "history")
        assert known["subject_attempts_10m"] == known["new_browser"] == (lost == "reputation")
        assert known["network_attempts_1h"]
    assert bench.meter.told["failed", "store"] == 2
    assert bench.meter.told["gap", "history", "unavailable"] == 1
    assert bench.meter.told["gap", "reputation", "unavailable"] == 1


def test_a_count_that_is_lost_is_reported_and_no_more(release: Release) -> None:
    """If the count of an address cannot be written, the answer, its repeats and the log say so. It is kept: the
    subject's count is there, and an outcome teaches."""
    store = PartialStore()
    bench, keys = Bench(release, store), facts(LOGIN, GEO, NOW, store)[0]
    store.unwritten = part(keys.address)
    first = bench.assess(ASKED)
    again = bench.assess(ASKED)
    line, repeat = map(record.decode, bench.log.lines)

    assert isinstance(line, record.AssessmentRecord)
    assert isinstance(repeat, record.RepeatRecord)
    assert first.causes == line.causes == repeat.causes == ("store:partly_written",)
    assert again == first
    assert (bench.tries(), bench.meter.told["failed", "store"]) == (1, 1)
    assert bench.tell(first, "confirmed_legitimate") == learn.UNITS
    assert bench.learned().tallies.sign_in is not None
    assert bench.meter.told["failed", "store"] == 2


def test_an_answer_whose_receipt_is_lost_is_not_kept(release: Release) -> None:
    """If the subject's place cannot be written, the answer is not kept, whatever else was counted."""
    store = PartialStore()
    bench, keys = Bench(release, store), facts(LOGIN, GEO, NOW, store)[0]
    store.unwritten = part(keys.subject)
    answer = bench.assess(LOGIN)
    ((address,), _) = store.read((keys.address + ACTIVITY,), (), NOW, 1.0)

    assert answer.causes == ("store:not_written",)
    assert (bench.tries(), address is not None) == (0, True)
    with pytest.raises(UnknownAssessment):
        bench.tell(answer, "session_established")


def test_an_outcome_needs_only_the_place_of_its_receipt(release: Release) -> None:
    """After rotations of the pepper, a receipt may be in one of several places. If it is found, the others need not be
    read; if it is not, and one could not be read, it may be there."""
    store, layered = PartialStore(), Pseudonyms(b"the first of the peppers", (b"the second of the peppers",))
    engine = Engine(parts(store=store, pseudonyms=layered), release)
    answer = engine.assess(LOGIN, 10.0)
    here, there = layered.receipt_pseudonyms(answer.id)
    outcome = Outcome(assessment_id=answer.id, kind="session_established")
    store.unread = part(there)
    assert engine.record(outcome, 10.0).taught == 1
    store.unread = part(here)
    with pytest.raises(Unavailable):
        engine.record(outcome, 10.0)
    store.unread = lambda _: False
    store.erase([here + RECEIPT])
    with pytest.raises(UnknownAssessment):
        engine.record(outcome, 10.0)


def test_an_outcome_needs_the_store(release: Release) -> None:
    """An outcome that cannot be stored is refused and not logged, so that the caller retries."""
    bench = Bench(release, FailingStore(writes=True))
    answer = bench.assess(LOGIN)
    logged = len(bench.log.lines)

    with pytest.raises(Unavailable):
        bench.tell(answer, "session_established")
    assert bench.logged() == logged


def test_no_time_left_is_a_gap(release: Release) -> None:
    """If the deadline has passed, the history is a gap, and the attempt is still counted."""
    bench = Bench(release, MemoryStore())
    answer = bench.engine.assess(LOGIN, 0.0)

    assert Missing("history", "unavailable") in answer.gaps
    assert bench.tries() == 1


def test_a_full_log_is_named(release: Release) -> None:
    """An answer that could not be logged reports that and is counted; the attempt still counts and can teach."""
    bench = Bench(release, MemoryStore(), ListLog(full=True))
    answer = bench.assess(LOGIN)

    assert answer.causes == ("decision_log:not_written",)
    assert bench.meter.told["failed", "decision_log"] == 1
    assert bench.tries() == 1
    assert bench.tell(answer, "session_established") == 1
    assert bench.meter.told["failed", "decision_log"] == 2


INVALID: Final[list[tuple[str, dict[str, Any]]]] = [
    ("domain", {"domain": ""}),
    ("domain", {"domain": "17"}),
    ("journey", {"journey": "sign-in"}),
    ("credential_result", {"credential_result": "maybe"}),
    ("subject", {"subject": ""}),
    ("subject", {"subject": LONG}),
    ("subject", {"subject": "a\0b"}),
    ("subject", {"subject": "a\ud800b"}),
    ("tenant", {"tenant": LONG}),
    ("request_id", {"request_id": LONG}),
    *(("network.client_ip", {"network": Network(client_ip=ip)}) for ip in ("", "localhost", "1.2.3", "1.2.3.256")),
    *(("network.client_ip", {"network": Network(client_ip=ip)}) for ip in ("192.0.2.1:443", "fe80::1%eth0", "x" * 99)),
    ("network.forwarded", {"network": Network(client_ip="192.0.2.1", forwarded=("192.0.2.1",) * 17)}),
    ("network.forwarded[1]", {"network": Network(client_ip="192.0.2.1", forwarded=("192.0.2.1", WORD))}),
    ("network.ja4", {"network": Network(client_ip="192.0.2.1", ja4=WORD)}),
    *(("network.rtt_ms", {"network": Network(client_ip="192.0.2.1", rtt_ms=ms)}) for ms in (*BAD, -1.0, 60_001.0)),
    ("device.user_agent", {"device": Device(user_agent=LONGER)}),
    ("device.user_agent", {"device": Device(user_agent="\udfff")}),
    ("device.platform", {"device": Device(platform=WORD)}),
    ("device.device_id", {"device": Device(device_id=LONG)}),
    ("device.fingerprint", {"device": Device(fingerprint=LONG)}),
    ("device.screen", {"device": Device(screen=WORD)}),
    ("device.languages", {"device": Device(languages=("en",) * 17)}),
    ("device.languages[0]", {"device": Device(languages=(WORD,))}),
    ("device.timezone", {"device": Device(timezone=WORD)}),
    ("device.attestation", {"device": Device(attestation="strong")}),
    *(("place.latitude", {"place": ReportedPlace(latitude=bad, longitude=0)}) for bad in (*BAD, 90.1, -90.1)),
    *(("place.longitude", {"place": ReportedPlace(latitude=0, longitude=bad)}) for bad in (*BAD, 180.1, -180.1)),
    *(("place.accuracy_m", {"place": ReportedPlace(latitude=0, longitude=0, accuracy_m=bad)}) for bad in (*BAD, -1.0)),
    ("behaviour.typing_intervals_ms", {"behaviour": Behaviour(typing_intervals_ms=(1.0,) * 513)}),
    *(
        ("behaviour.typing_intervals_ms", {"behaviour": Behaviour(typing_intervals_ms=(1.0, bad))})
        for bad in (*BAD, -1.0)
    ),
    ("behaviour.pointer_events", {"behaviour": Behaviour(pointer_events=-1)}),
    *(("behaviour.form_seconds", {"behaviour": Behaviour(form_seconds=bad)}) for bad in (*BAD, -1.0)),
    ("behaviour.form_failures", {"behaviour": Behaviour(form_failures=1_001)}),
    *(("time", {"time": bad}) for bad in (*BAD, 0.0, -1.0, NOW + 301, NOW * 1000)),
    ("session.id", {"session": Session(id=LONG)}),
    ("session.start_time", {"session": Session(start_time=NOW + 301)}),
    ("session.authentication_time", {"session": Session(authentication_time=math.nan)}),
    ("session.acr", {"session": Session(acr=LONG)}),
    ("session.amr", {"session": Session(amr=("pwd",) * 17)}),
    ("session.amr[0]", {"session": Session(amr=(WORD,))}),
    ("session.binding", {"session": Session(binding="bound")}),
    ("federation.issuer", {"federation": Federation(issuer=LONG)}),
    ("federation.protocol", {"federation": Federation(protocol="ldap")}),
    ("federation.amr[0]", {"federation": Federation(amr=(WORD,))}),
    ("federation.issue_time", {"federation": Federation(issue_time=NOW * 1000)}),
    ("outside.risk_level", {"outside": Outside(risk_level="grave")}),
    ("consent[1]", {"consent": ("device", "fun")}),
    ("consent", {"consent": ("device",) * 17}),
    ("attributes", {"attributes": {f"a{number}": "" for number in range(10_000)}}),
    ("attributes[colour]", {"attributes": {"colour": "red"}}),
    ("attributes[plan]", {"attributes": {"plan": LONG}}),
]


@pytest.mark.parametrize(
    ("where", "fields"), INVALID, ids=[f"{number} {where}" for number, (where, _) in enumerate(INVALID)]
)
def test_an_invalid_attempt_leaves_no_trace(release: Release, where: str, fields: dict[str, Any]) -> None:
    """An invalid attempt is refused with the field and a remedy; nothing is counted, stored or logged."""
    bench = Bench(release, MemoryStore())
    with pytest.raises(InvalidAttempt) as refused:
        bench.assess(replace(ASKED, **fields))

    (problem,) = refused.value.problems
    assert problem.where == where
    assert problem.what
    assert problem.remedy
    assert len(str(problem)) < 250, "a bounded answer to unbounded input"
    assert bench.store.size() == (0, 0)
    assert bench.log.lines == []
    assert not bench.meter.told


def test_every_violation_is_reported_at_once(release: Release) -> None:
    """Every violation of an attempt is reported at once."""
    bad = Attempt(
        domain="x",
        subject="",
        journey="x",
        network=Network(client_ip="x", rtt_ms=math.nan),
        tenant=LONG,
        time=math.inf,
        credential_result="x",
        device=Device(user_agent=LONGER, attestation="x"),
        place=ReportedPlace(latitude=math.nan, longitude=999.0),
        behaviour=Behaviour(form_seconds=math.inf),
        session=Session(authentication_time=math.nan),
        federation=Federation(protocol="x"),
        outside=Outside(risk_level="x"),
        consent=("x",),
        attributes={"x": LONG},
    )
    with pytest.raises(InvalidAttempt) as refused:
        Bench(release, MemoryStore()).assess(bad)

    assert [problem.where for problem in refused.value.problems] == [
        "domain",
        "journey",
        "credential_result",
        "subject",
        "tenant",
        "time",
        "network.client_ip",
        "network.rtt_ms",
        "device.user_agent",
        "device.attestation",
        "place.latitude",
        "place.longitude",
        "behaviour.form_seconds",
        "session.authentication_time",
        "federation.protocol",
        "outside.risk_level",
        "consent[0]",
        "attributes[x]",
        "attributes[x]",
    ]


def test_limits_are_inclusive(release: Release) -> None:
    """A value exactly at its limit is accepted."""
    full = replace(
        ASKED,
        subject="s" * 256,
        time=NOW + 300,
        network=Network(client_ip="192.0.2.1", forwarded=("192.0.2.1",) * 16, rtt_ms=60_000.0),
        device=Device(user_agent="u" * 1024, device_id="d" * 256, languages=("en",) * 16),
        place=ReportedPlace(latitude=-90.0, longitude=180.0, accuracy_m=0.0),
        behaviour=Behaviour(typing_intervals_ms=(0.0,) * 512),
        consent=("device",) * 16,
        attributes={"plan": "\u00fc" * 256},
    )
    bench = Bench(release, MemoryStore())
    bench.assess(full)

    assert bench.logged() == 1


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"tenant": "t-2"}, UnknownAssessment),
        ({"assessment_id": "0" * 32}, UnknownAssessment),
        ({"assessment_id": "../etc/passwd"}, InvalidOutcome),
        ({"assessment_id": ""}, InvalidOutcome),
        ({"kind": "x"}, InvalidOutcome),
        ({"seconds": math.nan}, InvalidOutcome),
        ({"time": NOW + 301}, InvalidOutcome),
        ({"amr": (WORD,)}, InvalidOutcome),
        ({"amr": ("\ud800",)}, InvalidOutcome),
    ],
    ids=["another tenant", "unknown", "no id", "empty", "kind", "seconds", "future", "amr", "no UTF-8"],
)
def test_nobody_else_can_report_an_outcome(
    release: Release, store: HistoryStore, fields: dict[str, Any], error: type[Exception]
) -> None:
    """An outcome of another tenant, of no assessment or with invalid fields is refused, changes nothing and is not
    logged."""
    bench = Bench(release, store)
    answer = bench.assess(LOGIN)
    outcome = Outcome(assessment_id=answer.id, kind="confirmed_legitimate")

    with pytest.raises(error):
        bench.engine.record(replace(outcome, **fields), 10.0)
    assert bench.learned() == History()
    assert bench.logged() == 1
    assert bench.tell(answer, "confirmed_legitimate") == learn.UNITS


@pytest.mark.parametrize("ahead", [0, 1, 299])
def test_a_recovery_recorded_by_a_fast_clock_counts(release: Release, ahead: float) -> None:
    """If a recovery was recorded by a machine whose clock runs ahead within the tolerance, an immediate profile update
    still counts as following it."""
    bench = Bench(release, MemoryStore())
    recovery = bench.assess(replace(LOGIN, journey="recovery"))
    bench.now = NOW + 60 + ahead
    bench.tell(recovery, "recovery_completed")
    bench.now = NOW + 60
    bench.assess(replace(LOGIN, journey="profile_update"))
    update = record.decode(bench.log.lines[-1])

    assert isinstance(update, record.AssessmentRecord)
    assert "recovery_then_update" in update.hits
    assert update.vector[NAMES.index("hours_since_recovery")] == 0.0


def damage(store: HistoryStore, kind: bytes) -> None:
    """Cut off the end of every record of a kind."""
    keys, _ = store.walk(b"", 1000)
    for key, record_ in zip(keys, store.load(keys), strict=True):
        if key.endswith(kind) and record_ is not None:
            assert store.replace([Change(key, record_, record_[:-4])])


def test_a_damaged_first_answer_is_replaced(release: Release, store: HistoryStore) -> None:
    """If the stored answer is damaged, a repeat is assessed again and reports `store:not_written`."""
    bench = Bench(release, store)
    first = bench.assess(ASKED)
    damage(store, REPLY)
    again = bench.assess(ASKED)

    assert again.requirement == first.requirement
    assert again.causes == ("store:not_written",)
    assert bench.tries() == 1
    assert bench.meter.told["failed", "store"] == 2


def test_an_outcome_of_a_damaged_receipt_is_unavailable(release: Release, store: HistoryStore) -> None:
    """An outcome of a damaged receipt raises Unavailable and teaches nothing."""
    bench = Bench(release, store)
    answer = bench.assess(LOGIN)
    damage(store, RECEIPT)

    with pytest.raises(Unavailable, match="the receipt is damaged"):
        bench.tell(answer, "confirmed_legitimate")
    assert bench.learned() == History()


def test_concurrent_outcomes_teach_once(release: Release, store: HistoryStore) -> None:
    """Eight concurrent reports of one session teach one unit, and each report gets that result."""
    bench = Bench(release, store)
    answer = bench.assess(LOGIN)

    assert at_once(lambda _: bench.tell(answer, "session_established")) == [1] * THREADS
    assert sum(bench.learned().tallies.of("sign_in")[""][1:]) == 1


def test_fraud_prevails_in_any_order(release: Release, store: HistoryStore) -> None:
    """If proofs and a confirmed fraud are reported at once, nothing stays learned, whatever the order."""
    bench = Bench(release, store)
    answer = bench.assess(LOGIN)
    kinds = ("confirmed_fraud", "session_established", "confirmed_legitimate")
    at_once(lambda number: bench.tell(answer, kinds[number % 3]))

    assert bench.learned().tallies.sign_in is None
    assert bench.tell(answer, "confirmed_legitimate") == 0


def test_a_release_is_installed_between_attempts(release: Release) -> None:
    """After a release is installed, the next attempt is decided by it, and answer and record name it."""
    bench = Bench(release, MemoryStore())
    first = bench.assess(LOGIN)
    bench.engine.install(Lineup(replace(release, id="next")))
    second = bench.assess(LOGIN)

    assert (first.release, second.release) == (release.id, "next")
    assert bench.engine.release.id == "next"


@pytest.mark.parametrize("edge", [None, Place("", -33.87, 151.21, 0.0)], ids=["nowhere", "in Sydney"])
def test_round_trips_are_measured_from_the_edge(release: Release, edge: Place | None) -> None:
    """A client that answers Sydney within a millisecond is not in Europe; without a configured edge there is no
    value."""
    log = ListLog()
    near = replace(LOGIN, network=replace(LOGIN.network, rtt_ms=1.0))
    Engine(parts(log=log, edge=edge), release).assess(near, 10.0)

    (line,) = [line for each in log.lines if isinstance(line := record.decode(each), record.AssessmentRecord)]
    shortfall = line.vector[NAMES.index("rtt_shortfall_km")]
    assert shortfall is None if edge is None else shortfall is not None and shortfall > 13_000
