"""Log records as OCSF events, checked against the published schema."""

from __future__ import annotations

import json
from typing import Final

import pytest
from hypothesis import given, settings
from msgspec import json as encoder
from msgspec.structs import replace

from benchmarks.workshop import lived
from riskd.core.attempt import DOMAINS, JOURNEYS, OUTCOMES
from riskd.core.context import Place
from riskd.core.features import FEATURES
from riskd.core.record import AssessmentRecord, OutcomeRecord, decode, encode
from riskd.core.requirement import METHODS, Tier
from riskd.offline.siem.events import event
from riskd.offline.siem.words import ATTACKS, FACTORS, FRAUD, LEVELS
from riskd.offline.siem.words import OUTCOMES as MAPPED
from tests.decision_log import decision, outcome
from tests.offline.siem.ocsf import Json, violations
from tests.offline.siem.records import ID, LEARNING, PASSED, SUBJECT, TIME, WHOLE, Record, assessments, outcomes, told
from tests.shipped import shipped_release


def written(record: Record) -> Json:
    """The event as a reader gets it."""
    return json.loads(encoder.encode(event(record)))


@settings(max_examples=300)
@given(assessments | outcomes)
def test_every_event_is_what_the_schema_says(record: Record) -> None:
    """Whatever a record contains, its event is valid by the schema."""
    assert violations(written(record)) == []


def test_every_line_of_a_real_log_gives_a_valid_event() -> None:
    """Every line of a real engine's log, with challenges and fraud, gives a valid event."""
    records = [decode(line) for line in lived(150)]
    said = [written(record) for record in records if isinstance(record, AssessmentRecord | OutcomeRecord)]
    assert len(said) == len(records) > 200
    assert {event["metadata"]["event_code"] for event in said} == {"assessment", "challenge_passed", FRAUD}
    assert [problem for event in said for problem in violations(event)] == []


@pytest.mark.parametrize("journey", JOURNEYS)
@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("tier", [tier.name for tier in Tier])
def test_every_value_of_an_assessment_gives_a_valid_event(tier: str, domain: str, journey: str) -> None:
    """Each journey, domain, tier and level gives a valid event."""
    for level in LEVELS:
        for satisfied in (True, False):
            one = replace(WHOLE, domain=domain, journey=journey, tier=tier, level=level, satisfied=satisfied)
            assert violations(written(one)) == []


@pytest.mark.parametrize("kind", OUTCOMES)
@pytest.mark.parametrize("journey", JOURNEYS)
def test_every_outcome_is_known_to_the_schema(journey: str, kind: str) -> None:
    """Each kind of outcome on each journey gives a valid event."""
    assert violations(written(told(kind, journey=journey, amr=tuple(METHODS), seconds=1.5))) == []


NOTHING_SEEN: Final[dict[str, object]] = {"observables": []}
PLACED: Final = {"uid": "x", "location": {"country": "NO", "coordinates": [10.75, 59.91]}}
SPOILT: Final[dict[str, tuple[dict[str, object], str]]] = {
    "required": ({"user": {"domain": "shop"}} | NOTHING_SEEN, "is not valid under any of the given schemas"),
    "mistyped": ({"time": "now"}, "'now' is not of type 'integer'"),
    "no number of it": ({"status_id": 7, "status": "New"}, "7 is not one of"),
    "unknown": ({"address": "203.0.113.7"}, "'address' was unexpected"),
    "deprecated": ({"src_endpoint": PLACED} | NOTHING_SEEN, "location.coordinates is deprecated"),
    "no address": ({"src_endpoint": {"ip": "203.0.113.0/24"}} | NOTHING_SEEN, "does not match"),
    "another caption": ({"status": "Failure"}, "status is 'Failure' beside 1, Success"),
    "no text beside 99": ({"status_id": 99, "status": ""}, "status is '' beside 99, Other"),
    "another type": ({"type_uid": 300201}, "type_uid 300201"),
    "not in the event": ({"user": {"uid": "y"}}, "observable {'name': 'user.uid'"),
    "no profile": ({"metadata": {"version": "1.8.0", "product": {"name": "riskd"}}}, "'risk_score'"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_the_check_finds_violations(name: str) -> None:
    """The check finds the violation in a damaged event, and no other."""
    changes, why = SPOILT[name]
    assert violations(written(replace(WHOLE, satisfied=True))) == []
    objection, *more = violations(written(replace(WHOLE, satisfied=True)) | changes)
    assert why in objection
    assert more == []


def test_all_that_an_outcome_can_be_is_mapped() -> None:
    """Every kind of outcome and every authentication factor is mapped."""
    assert {*MAPPED, FRAUD} == {*OUTCOMES}
    assert {*FACTORS} == {*METHODS} - {"mfa", "mca", "geo", "rba", "user"}


ANSWERS: Final = {
    "allowed": (decision(1, TIME), (6, 1, 1, 1, False)),
    "challenged": (decision(1, TIME, tier="STEP_UP", satisfied=False), (6, 99, 99, 99, False)),
    "satisfied already": (decision(1, TIME, tier="STEP_UP", satisfied=True), (6, 1, 1, 1, False)),
    "asked what everybody is": (decision(1, TIME, tier="BASELINE", satisfied=False), (6, 1, 1, 1, False)),
    "denied": (decision(1, TIME, tier="DENY", satisfied=False, level="medium"), (6, 2, 2, 2, True)),
    "wrong password": (
        decision(1, TIME, tier="STEP_UP", satisfied=False, credential_result="failed"),
        (6, 2, 3, 16, False),
    ),
    "wrong password, denied": (
        decision(1, TIME, tier="DENY", satisfied=False, credential_result="failed"),
        (6, 2, 2, 2, True),
    ),
    "high": (decision(1, TIME, tier="STEP_UP", satisfied=False, level="high"), (6, 99, 99, 99, True)),
    "learning": (decision(1, TIME, withheld="DENY", level="high"), (6, 1, 3, 15, True)),
    "learning, above a floor": (
        decision(1, TIME, tier="STEP_UP", satisfied=False, withheld="DENY"),
        (6, 99, 99, 99, False),
    ),
    "another journey": (decision(1, TIME, journey="payment"), (99, 1, 1, 1, False)),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_each_answer_has_its_event(name: str) -> None:
    """Activity, status, action, disposition and alert of each kind of answer."""
    record, expected = ANSWERS[name]
    said = written(record)
    assert tuple(said[key] for key in ("activity_id", "status_id", "action_id", "disposition_id", "is_alert")) == (
        expected
    )


CAME: Final = {
    "challenge_passed": (3002, 6, 1),
    "challenge_failed": (3002, 6, 2),
    "challenge_abandoned": (3002, 6, 99),
    "session_established": (3002, 1, 1),
    "sign_in_abandoned": (3002, 1, 99),
    "confirmed_legitimate": (3002, 6, 99),
    "recovery_completed": (3002, 6, 1),
    "recovery_failed": (3002, 6, 2),
    "confirmed_fraud": (2004, 1, None),
}


@pytest.mark.parametrize("kind", OUTCOMES)
def test_each_outcome_of_a_login_has_its_event(kind: str) -> None:
    """Class, activity and status of each outcome; only an established session is a successful logon."""
    said = written(outcome(1, TIME, kind))
    assert (said["class_uid"], said["activity_id"], said.get("status_id")) == CAME[kind]


@pytest.mark.parametrize(
    ("amr", "several"),
    [
        ((), None),
        (("pwd",), None),
        (("pwd", "kba"), None),
        (("pwd", "otp"), True),
        (("hwk", "pin"), True),
        (("mfa",), True),
        (("pwd", "unheard"), None),
    ],
)
def test_several_factors_are_of_several_kinds(amr: tuple[str, ...], several: bool | None) -> None:
    """`is_mfa` is said of methods of different kinds, or of the claim itself; else nothing is said."""
    assert written(told("challenge_passed", amr=amr)).get("is_mfa") is several


def test_messages_say_what_happened() -> None:
    """The message of an outcome and the title of a finding say what happened, and to what kind of attempt."""
    passed, fraud = (written(told(kind, journey="profile_update")) for kind in ("challenge_passed", FRAUD))
    assert passed["message"] == "Challenge passed: profile update of customer"
    assert fraud["message"] == fraud["finding_info"]["title"] == "Confirmed fraud: profile update of customer"


def test_reasons_name_the_techniques_that_they_are_signs_of() -> None:
    """Each technique of an event is named once; a reason that is a sign of none adds nothing."""

    def named(*reasons: str) -> list[str]:
        attacks = written(replace(WHOLE, reasons=reasons)).get("attacks", [])
        return [one.get("sub_technique", one["technique"])["uid"] for one in attacks]

    assert named("PUSH_HARASSMENT", "NEW_DEVICE", "CHALLENGES_UNMET") == ["T1621"]
    assert named("PASSWORD_GUESSING", "CREDENTIAL_STUFFING") == ["T1110.001", "T1110.004", "T1110.003"]
    assert named("NEW_DEVICE", "A_CODE_OF_THEIR_OWN") == []


def test_techniques_are_of_reasons_that_riskd_gives() -> None:
    """Every reason with a technique is that of a feature or of a shipped rule, and a part belongs to its technique."""
    rules = {rule.reason for policy in shipped_release().policies.values() for rule in policy.rules().values()}
    assert {*ATTACKS} <= {feature.reason for feature in FEATURES} | rules
    for attack in (attack for attacks in ATTACKS.values() for attack in attacks):
        assert attack.sub_technique is None or attack.sub_technique.uid.startswith(f"{attack.technique.uid}.")


@pytest.mark.parametrize("journey", JOURNEYS)
def test_fraud_on_an_account_is_one_taken_over(journey: str) -> None:
    """Confirmed fraud is the use of somebody's account, except in a registration."""
    attacks = written(told(FRAUD, journey=journey))["finding_info"].get("attacks", [])
    assert [one["technique"]["uid"] for one in attacks] == ([] if journey == "registration" else ["T1078"])


def test_no_assessment_is_a_logon() -> None:
    """An assessment is never exported as a logon; only outcomes say whether somebody logged on."""
    assert {written(record)["activity_name"] for record, _ in ANSWERS.values()} == {"Preauth", "Payment"}


def test_an_attempt_and_what_became_of_it_are_found_together() -> None:
    """An attempt and its outcomes share a correlation id and a user; a finding refers to the attempt's event."""
    attempt, passed, fraud = written(WHOLE), written(PASSED), written(told(FRAUD))
    assert {one["metadata"]["correlation_uid"] for one in (attempt, passed, fraud)} == {ID}
    assert attempt["user"]["uid"] == passed["user"]["uid"] == fraud["evidences"][0]["user"]["uid"] == SUBJECT[:16]
    assert fraud["finding_info"]["related_events"] == [{"uid": attempt["metadata"]["uid"], "type_uid": 300206}]
    assert attempt["type_uid"] == 300206


def test_a_line_is_one_event_for_ever() -> None:
    """A line's event id is the same in every export, and unique."""
    lines: list[Record] = [WHOLE, *(told(kind) for kind in OUTCOMES), told("challenge_failed", time=TIME + 91)]
    ids = [written(line)["metadata"]["uid"] for line in lines]
    assert len({*ids}) == len(lines)
    assert ids == [written(line)["metadata"]["uid"] for line in lines]


@settings(max_examples=100)
@given(assessments | outcomes)
def test_a_record_read_from_the_log_gives_the_same_event(record: Record) -> None:
    """A record gives the same event after it was written and read."""
    again = decode(encode(record))
    assert isinstance(again, AssessmentRecord | OutcomeRecord)
    assert written(again) == written(record)


def test_behaviour_and_vector_are_not_exported() -> None:
    """Behaviour and the feature vector are not exported."""
    said = encoder.encode(event(replace(WHOLE, vector=(0.123456789,)))).decode()
    assert "0.123456789" not in said
    assert "vector" not in json.loads(said)["unmapped"]
    assert "signals" not in json.loads(said)["unmapped"]


def test_a_place_without_coordinates_is_on_no_map() -> None:
    """A place without coordinates has none in the event."""
    facts = replace(WHOLE.facts, place=Place("NO", 0.0, 0.0, 20_038.0, "Oslo County", "Oslo"))
    assert written(replace(WHOLE, facts=facts))["src_endpoint"]["location"] == {
        "country": "NO",
        "city": "Oslo",
        "desc": "Oslo County",
    }


def test_learning_is_exported_as_observed() -> None:
    """A decision in learning mode is exported as observed, with its withheld tier."""
    said = written(LEARNING)
    assert (said["action"], said["disposition"], said["policy"]["is_applied"]) == ("Observed", "Detected", False)
    assert said["unmapped"]["withheld"] == "PHISHING_RESISTANT"
