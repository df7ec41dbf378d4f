"""Security events in the engine: they are stored, logged, used in assessments, and erased."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.core import record
from riskd.core.assess import Release
from riskd.core.attempt import Outside, SecurityEvent
from riskd.core.context import Missing
from riskd.core.errors import InvalidEvent, Unavailable
from riskd.core.pseudonym import short
from riskd.core.record import AssessmentRecord, SecurityEventRecord
from riskd.core.requirement import Tier
from riskd.core.retention import USUAL
from riskd.offline.replay.fold import Fold
from riskd.ports import HistoryStore
from tests.bench import LOGIN, Bench, release, store
from tests.cases.world import NOW, PSEUDONYMS
from tests.doubles import FailingStore, ListLog, SlowStore
from tests.office import Office, pseudonym

__all__ = ["release", "store"]

IDP: Final = "https://idp.example"
HIGH: Final = SecurityEvent(
    domain="customer", subject=LOGIN.subject, kind="risk_level_change", level="high", issuer=IDP
)
STOLEN: Final = replace(HIGH, kind="credential_compromise", level="", credential_type="password")
CHANGED: Final = replace(STOLEN, kind="credential_change")


def assessed(bench: Bench, **changes: Any) -> AssessmentRecord:  # noqa: ANN401 - fields of an attempt
    """The log line of a login."""
    bench.assess(replace(LOGIN, request_id="", **changes))
    line = record.decode(bench.log.lines[-1])
    assert isinstance(line, AssessmentRecord)
    return line


def said(line: AssessmentRecord) -> Outside | None:
    assert line.signals is not None
    return line.signals.outside


def test_an_event_counts_like_the_callers_own_signal(release: Release, store: HistoryStore) -> None:
    """An event has exactly the effect of the same outside signal sent by the caller: features, score, tier, reasons and
    log."""
    told, sent = Bench(release, store), Bench(release, MemoryStore())
    told.engine.record_event(HIGH, 10.0)
    told.engine.record_event(STOLEN, 10.0)
    after = assessed(told)
    before = assessed(sent, outside=Outside(credential_breached=True, risk_level="high"))

    assert {"RISK_REPORTED", "CREDENTIAL_BREACHED"} <= set(after.reasons)
    assert Tier[after.tier] > Tier.BASELINE
    assert said(after) == Outside(credential_breached=True, risk_level="high")
    assert replace(after, id="") == replace(before, id="")


def test_an_event_counts_for_its_subject_only(release: Release, store: HistoryStore) -> None:
    """An event affects neither other subjects nor the same name in another tenant or domain."""
    bench = Bench(release, store)
    bench.engine.record_event(HIGH, 10.0)
    others: tuple[dict[str, str], ...] = ({"subject": "kim"}, {"tenant": "t-2"}, {"domain": "workforce"})
    for other in others:
        line = assessed(bench, **other)
        assert said(line) is None
        assert Missing("outside", "not_sent") in line.facts.missing
    assert said(assessed(bench)) == Outside(risk_level="high")


def test_an_event_counts_for_thirty_days(release: Release, store: HistoryStore) -> None:
    """An event counts for thirty days after it happened, even for a subject who signs in daily."""
    bench = Bench(release, store)
    bench.engine.record_event(replace(HIGH, time=NOW - 86_400), 10.0)
    for day in range(29):
        bench.now = NOW + day * 86_400
        assert said(assessed(bench)) == Outside(risk_level="high")
    bench.now = NOW - 86_400 + USUAL.sequence
    assert said(assessed(bench)) is None


def test_a_changed_password_ends_a_breach(release: Release, store: HistoryStore) -> None:
    """Changing the password ends an earlier credential breach, and is itself a sensitive step."""
    bench = Bench(release, store)
    bench.engine.record_event(STOLEN, 10.0)
    assert "CREDENTIAL_BREACHED" in assessed(bench).reasons
    bench.now += 3600
    bench.engine.record_event(CHANGED, 10.0)
    line = assessed(bench)
    assert said(line) is None
    assert "CREDENTIAL_BREACHED" not in line.reasons


@pytest.mark.parametrize("consent", [(), ("device",)])
def test_an_event_is_ignored_without_consent(release: Release, consent: tuple[str, ...]) -> None:
    """Without consent to sharing, an event is stored but ignored, and the gap says so."""
    bench = Bench(release, MemoryStore())
    bench.engine.record_event(HIGH, 10.0)
    line = assessed(bench, consent=consent)

    assert said(line) is None
    assert Missing("outside", "not_consented") in line.facts.missing


def test_each_report_of_an_event_is_logged(release: Release, store: HistoryStore) -> None:
    """Each report is logged with its content, issuer and caller, and counted; the history keeps the event once."""
    bench = Bench(release, store)
    bench.engine.record_event(replace(HIGH, time=NOW - 60), 10.0)
    before = store.load([pseudonym(LOGIN.subject) + b"A"])
    bench.engine.record_event(replace(HIGH, time=NOW - 60), 10.0, "receiver")

    line = SecurityEventRecord(
        time=NOW - 60,
        written=NOW,
        tenant="",
        domain="customer",
        subject=pseudonym(LOGIN.subject).hex(),
        keyed=short(PSEUDONYMS.digest("", "customer", "domain", "")),
        kind="risk_level_change",
        level="high",
        issuer=IDP,
    )
    assert bench.log.records() == [line, replace(line, caller="receiver")]
    assert store.load([pseudonym(LOGIN.subject) + b"A"]) == before
    assert bench.meter.told == {("event", "customer", "risk_level_change"): 2}
    assert LOGIN.subject.encode() not in b"".join(bench.log.lines)


@pytest.mark.parametrize(
    ("changes", "where"),
    [({"kind": "session_revoked"}, ["event"]), ({"level": ""}, ["risk_level_change.level"]),
     ({"subject": "", "domain": "x"}, ["domain", "subject"]), ({"time": NOW + 301}, ["time"])],
)  # fmt: skip
def test_a_malformed_event_changes_nothing(
    release: Release, store: HistoryStore, changes: dict[str, Any], where: list[str]
) -> None:
    """All mistakes of an invalid event are reported at once, and nothing is stored or logged."""
    bench = Bench(release, store)
    with pytest.raises(InvalidEvent) as refused:
        bench.engine.record_event(replace(HIGH, **changes), 10.0)

    assert [problem.where for problem in refused.value.problems] == where
    assert (store.size()[0], bench.log.lines) == (0, [])


@pytest.mark.parametrize("broken", [FailingStore(), SlowStore(writes=1.0)], ids=["down", "slow"])
def test_an_event_that_cannot_be_kept_is_not_logged(release: Release, broken: HistoryStore) -> None:
    """An event that cannot be stored raises Unavailable and is not logged, so that the caller retries."""
    bench = Bench(release, broken)
    with pytest.raises(Unavailable):
        bench.engine.record_event(HIGH, 0.05)
    assert bench.log.lines == []


def test_an_event_that_cannot_be_logged_is_counted(release: Release) -> None:
    """If the log is full, the event still counts, and the failure is counted."""
    bench = Bench(release, MemoryStore(), ListLog(full=True))
    bench.engine.record_event(HIGH, 10.0)

    assert bench.meter.told["failed", "decision_log"] == 1
    assert "RISK_REPORTED" in {reason.code for reason in bench.assess(LOGIN).reasons}


def test_an_event_of_long_ago_is_logged_and_changes_nothing(release: Release, store: HistoryStore) -> None:
    """An event older than its retention is logged and otherwise ignored; it is no error."""
    bench = Bench(release, store)
    bench.engine.record_event(replace(HIGH, time=NOW - USUAL.sequence), 10.0)
    assert (store.size()[0], len(bench.log.lines)) == (0, 1)
    assert said(assessed(bench)) is None


def test_a_repeated_request_gets_its_first_answer(release: Release, store: HistoryStore) -> None:
    """A repeat gets the first answer, whatever events came since; a new request is judged by them."""
    bench = Bench(release, store)
    asked = replace(LOGIN, request_id="r-1")
    first = bench.assess(asked)
    bench.engine.record_event(HIGH, 10.0)

    assert bench.assess(asked) == first
    assert bench.assess(replace(asked, request_id="r-2")).score > first.score


def test_a_log_with_events_is_replayed_exactly(release: Release) -> None:
    """Replaying a log reproduces every line: outside signals are in the lines, sensitive steps come from the events."""
    bench = Bench(release, MemoryStore())
    bench.engine.record_event(STOLEN, 10.0)
    assessed(bench)
    bench.now += 7200
    bench.engine.record_event(replace(CHANGED, time=bench.now - 3600), 10.0)
    assessed(bench)
    fold, again = Fold(release, MemoryStore()), []
    for one in bench.log.records():
        if isinstance(one, SecurityEventRecord):
            assert fold.event(one)
        elif isinstance(one, AssessmentRecord):
            again.append(fold.assess(one))
    lines = [line for line in bench.log.lines if line.startswith(b'{"type":"assessment"')]
    assert [one and record.encode(one) for one in again] == lines
    assert fold.counts == {"assessed": 2, "events": 2, "twice": 0}


def test_an_erased_subject_s_events_go(tmp_path: Path) -> None:
    """Erasing a subject removes its events from store, log and export, and leaves those of others."""
    office = Office(tmp_path)
    for who in ("anne", "bert"):
        office.hear(who, "account_disabled")
    assert [each.kind for each in office.export("anne")] == ["activity", "decision_log"]
    assert json.loads(office.export("anne")[1].content)["issuer"] == IDP
    office.erase("anne")
    office.compact()

    assert (office.of("anne"), office.lines("anne"), office.export("anne")) == ({}, [], [])
    assert len(office.lines("bert")) == 1
