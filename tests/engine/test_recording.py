"""What the engine logs, what a repeat gets, and what may change during a request."""

from __future__ import annotations

import threading
from itertools import count, cycle, product

import msgspec
import pytest
from msgspec.structs import replace

from riskd.adapters.user_agent import AgentParser
from riskd.core import record
from riskd.core.address import Address
from riskd.core.assess import Release
from riskd.core.attempt import (
    DOMAINS,
    JOURNEYS,
    OUTCOMES,
    PURPOSES,
    Attempt,
    Behaviour,
    Device,
    Federation,
    Network,
    Outcome,
    Outside,
    ReportedPlace,
    SecurityEvent,
    Session,
)
from riskd.core.context import Located, Missing, Place
from riskd.core.features import NAMES
from riskd.core.lineup import Lineup
from riskd.core.pseudonym import Pseudonyms
from riskd.core.validation import EARLIEST, FUTURE_S, ID, INTERVALS, ITEMS, TEXT, WORD
from riskd.engine import Engine
from riskd.ports import Parts
from tests.bench import parts as made
from tests.doubles import FailingStore, ListLog
from tests.shipped import shipped_release

NOW = 1_800_000_000.0
OSLO = Place("NO", 59.9, 10.75, 10.0)
LONDON = Place("GB", 51.5, -0.1, 10.0)
LOGIN = Attempt(
    domain="customer",
    subject="kim",
    journey="login",
    network=Network(client_ip="192.0.2.7", rtt_ms=2.0),
    request_id="once",
)


class OnePlace:
    """Geo data that give one place for every address."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def locate(self, address: Address, time: float) -> Located:
        return self._place, Missing("route", "not_installed"), ()

    def offset(self, timezone: str, time: float) -> int | None:
        return None


class DyingLog(ListLog):
    """A log at which the process dies before anything is written."""

    def append(self, record: bytes) -> bool:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def release() -> Release:
    return shipped_release()


@pytest.fixture
def parts() -> Parts:
    return made(geo=OnePlace(OSLO), agents=AgentParser(), clock=lambda: NOW)


def log(engine: Engine) -> ListLog:
    found = engine.parts.log
    assert isinstance(found, ListLog)
    return found


def test_a_repeat_gets_the_first_answer_and_is_logged(parts: Parts, release: Release) -> None:
    """A repeat gets the same id and score and is logged as a repeat; nothing is counted twice."""
    engine = Engine(parts, release)
    first = engine.assess(LOGIN)
    before = parts.store.size()

    assert engine.assess(replace(LOGIN, network=Network(client_ip="192.0.2.7", rtt_ms=80.0))) == first
    assert parts.store.size() == before
    logged, repeated = log(engine).records()
    assert isinstance(logged, record.AssessmentRecord)
    assert isinstance(repeated, record.RepeatRecord)
    assert (repeated.id, repeated.tier, repeated.score) == (logged.id, logged.tier, logged.score)


def test_an_answer_is_logged_although_its_first_giver_died(parts: Parts, release: Release) -> None:
    """If a process dies between store and log, the repeat is answered from the store and logged."""
    with pytest.raises(KeyboardInterrupt):
        Engine(replace(parts, log=DyingLog()), release).assess(LOGIN)
    engine = Engine(parts, release)

    answer = engine.assess(LOGIN)
    (line,) = log(engine).records()
    assert isinstance(line, record.RepeatRecord)
    assert (line.id, line.release) == (answer.id, release.id)


def test_one_answer_in_sixteen_is_explained_unasked(parts: Parts, release: Release) -> None:
    """One answer in sixteen, chosen by its id, is logged with contributions, and every answer for which they were
    requested."""
    hours = count()
    engine = Engine(replace(parts, clock=lambda: NOW + 3600.0 * next(hours)), release)
    for number in range(160):
        engine.assess(replace(LOGIN, subject=f"u-{number}", credential_result="succeeded"))
    engine.assess(replace(LOGIN, subject="asked", credential_result="succeeded"), explain=True)
    *lines, asked = [line for line in log(engine).records() if isinstance(line, record.AssessmentRecord)]
    assert {line.tier for line in (*lines, asked)} == {"BASELINE"}
    explained = [line.id for line in lines if line.contributions is not None]
    assert explained == [line.id for line in lines if line.id.endswith("0")]
    assert 3 <= len(explained) <= 20
    assert not asked.id.endswith("0")
    assert set(asked.contributions or ()) == set(NAMES)


def test_an_answer_missing_from_the_log_reports_it(parts: Parts, release: Release) -> None:
    """On a full disk the answer reports `decision_log:not_written`, and so do its repeats."""
    engine = Engine(parts, release)
    log(engine).full = True

    assert engine.assess(LOGIN).causes == ("decision_log:not_written",)
    assert engine.assess(LOGIN).causes == ("decision_log:not_written",)
    log(engine).full = False
    assert engine.assess(LOGIN).causes == ("decision_log:not_written",)
    assert engine.assess(replace(LOGIN, request_id="twice")).causes == ()


def test_an_answer_that_is_not_stored_reports_it(parts: Parts, release: Release) -> None:
    """An answer that is not stored reports it, in the answer and in the log."""
    engine = Engine(replace(parts, store=FailingStore(reads=True)), release)

    assert engine.assess(LOGIN).causes == ("store:not_written",)
    (line,) = log(engine).records()
    assert isinstance(line, record.AssessmentRecord)
    assert line.causes == ("store:not_written",)


@pytest.mark.parametrize(("time", "written"), [(None, None), (NOW, None), (NOW - 60.0, NOW)])
def test_a_line_tells_when_it_was_written(
    time: float | None, written: float | None, parts: Parts, release: Release
) -> None:
    """A line has the time of what happened, by default now, and that of its writing if it is another."""
    engine = Engine(replace(parts, clock=lambda: NOW), release)
    answer = engine.assess(replace(LOGIN, time=time))
    engine.record(Outcome(assessment_id=answer.id, kind="session_established", time=time))
    engine.record_event(SecurityEvent(domain="customer", subject="kim", kind="account_enabled", time=time))

    lines = log(engine).records()
    assert [type(line) for line in lines] == [record.AssessmentRecord, record.OutcomeRecord, record.SecurityEventRecord]
    told = [msgspec.structs.asdict(line) for line in lines]
    assert [(each["time"], each["written"]) for each in told] == [(NOW if time is None else time, written)] * 3


def test_other_databases_and_another_release_hold_from_the_next_attempt_on(parts: Parts, release: Release) -> None:
    """New geo databases and releases apply from the next attempt on, until they are replaced."""
    engine = Engine(parts, release)
    engine.assess(replace(LOGIN, request_id=""))
    engine.install(Lineup(Release("other", release.policies, release.scorers)))
    engine.locate_by(OnePlace(LONDON))
    engine.assess(replace(LOGIN, request_id=""))
    engine.install(Lineup(release))
    engine.assess(replace(LOGIN, request_id=""))

    seen = [line for line in log(engine).records() if isinstance(line, record.AssessmentRecord)]
    assert [line.release for line in seen] == [release.id, "other", release.id]
    assert [line.facts.place for line in seen] == [OSLO, LONDON, LONDON]


def test_concurrent_replacements_all_take_effect(
    parts: Parts, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If geo databases and pseudonyms are replaced concurrently, both replacements take effect."""
    engine, place, pseudonyms = Engine(parts, release), OnePlace(LONDON), Pseudonyms(b"another pepper of 16")
    other = threading.Thread(target=lambda: engine.rekey(parts.store, pseudonyms))

    def slow(before: Parts, **changes: object) -> Parts:
        if "geo" in changes:
            other.start()
            other.join(0.2)
        return replace(before, **changes)

    monkeypatch.setattr("riskd.engine.engine.replace", slow)
    engine.locate_by(place)
    other.join()

    assert engine.parts.geo is place
    assert engine.parts.pseudonyms is pseudonyms


@pytest.mark.parametrize(("edge", "known"), [(None, False), (LONDON, True)])
def test_the_edge_bounds_how_far_the_client_can_be(
    edge: Place | None, known: bool, parts: Parts, release: Release
) -> None:
    """A round trip of two milliseconds to London rules out Oslo; without an edge there is no value."""
    engine = Engine(replace(parts, edge=edge), release)
    engine.assess(LOGIN)

    (line,) = log(engine).records()
    assert isinstance(line, record.AssessmentRecord)
    shortfall = line.vector[NAMES.index("rtt_shortfall_km")]
    assert (shortfall is not None and 900 < shortfall < 1000) is known


def test_the_log_has_what_a_policy_decides_by(parts: Parts, release: Release) -> None:
    """The log has the authentication and declared attributes, so that a backtest can decide again, but no session
    id."""
    engine = Engine(replace(parts, attributes=frozenset({"amount"})), release)
    session = Session(id="secret-cookie", authentication_time=NOW - 60, acr="mfa", amr=("pwd", "otp"), binding="proven")
    federation = Federation(issuer="https://idp.example", amr=("hwk",), authentication_time=NOW - 90)
    engine.assess(replace(LOGIN, session=session, federation=federation, attributes={"amount": "700"}))

    (line,) = log(engine).lines
    (logged,) = log(engine).records()
    assert isinstance(logged, record.AssessmentRecord)
    assert logged.session == record.Authentication(
        acr="mfa", amr=("pwd", "otp"), authentication_time=NOW - 60, binding="proven"
    )
    assert logged.federation == record.Authentication(
        amr=("hwk",), authentication_time=NOW - 90, issuer="https://idp.example"
    )
    assert logged.attributes == {"amount": "700"}
    assert b"secret-cookie" not in line


def test_absent_fields_are_not_in_the_log(parts: Parts, release: Release) -> None:
    """Without session, assertion and attributes, the log line has no such keys."""
    engine = Engine(parts, release)
    engine.assess(LOGIN)

    (line,) = log(engine).lines
    assert not {"session", "federation", "attributes"} & msgspec.json.decode(line).keys()


FURTHEST = replace(
    LOGIN,
    time=float(EARLIEST),
    tenant="t" * ID,
    request_id="r" * ID,
    network=Network(client_ip="::", forwarded=("",) * ITEMS, ja4="j" * WORD, rtt_ms=60_000.0),
    device=Device(user_agent="\u00e5" * TEXT, device_id="d" * ID, languages=("l" * WORD,) * ITEMS, timezone="z" * WORD),
    place=ReportedPlace(latitude=-90.0, longitude=180.0, accuracy_m=20_000_000.0),
    behaviour=Behaviour(
        typing_intervals_ms=(0.0, *(600_000.0,) * (INTERVALS - 1)),
        pointer_events=1_000_000,
        form_seconds=86_400.0,
        form_failures=1_000,
    ),
    session=Session(
        start_time=NOW + FUTURE_S, authentication_time=float(EARLIEST), acr="a" * ID, amr=("m" * WORD,) * ITEMS
    ),
    federation=Federation(issuer="i" * ID, authentication_time=NOW + FUTURE_S),
    outside=Outside(risk_level="high"),
    consent=PURPOSES,
)


ADDRESSES = ("::", "255.255.255.255", "2001:db8:1::1", "::ffff:1.2.3.4", "0:1::", "64:ff9b:0:1::")


@pytest.mark.parametrize(
    ("address", "kind"), [*zip(cycle(ADDRESSES), product(DOMAINS, JOURNEYS), strict=False)], ids=str
)
def test_the_furthest_that_is_acceptable_can_be_read_back(
    parts: Parts, release: Release, address: str, kind: tuple[str, str]
) -> None:
    """A record with every field at its limit can be decoded and re-encoded exactly."""
    domain, journey = kind
    one = replace(FURTHEST, domain=domain, journey=journey, network=replace(FURTHEST.network, client_ip=address))
    engine = Engine(parts, release)
    answer = engine.assess(one, 10.0, explain=True)
    for came in OUTCOMES:
        engine.record(Outcome(assessment_id=answer.id, tenant=one.tenant, kind=came, seconds=86_400.0), 10.0)
    read = [record.decode(line) for line in log(engine).lines]
    assert len(read) == 1 + len(OUTCOMES)
    assert isinstance(read[0], record.AssessmentRecord)
    assert record.encode(read[0]) == log(engine).lines[0]
