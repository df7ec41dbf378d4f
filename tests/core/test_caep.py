"""What an answer and its outcome changed, as events of CAEP 1.0."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import riskd
from riskd.core.attempt import OUTCOMES
from riskd.core.caep import CAEP, LEVELS
from riskd.core.requirement import Terms
from tests.core.answers import REASON, WHEN, answers, requirements

SETTLED: Final = ("challenge_passed", "recovery_completed", "confirmed_legitimate")
previous: Final = st.sampled_from(["", *LEVELS])
outcomes: Final = st.sampled_from(["", *OUTCOMES])


def unmet(level: str, tier: riskd.Tier = riskd.Tier.STEP_UP) -> riskd.Assessment:
    """An answer that requires more than was there."""
    return riskd.Assessment(
        id="0f" * 16,
        score=0.5,
        level=level,
        requirement=riskd.Requirement(tier, Terms(2), False),
        reasons=(REASON,),
        gaps=(),
        coverage=1.0,
        causes=(),
        next_signals=(),
        release="4f0c",
        model="m",
        valid_until=WHEN + 60,
    )


def level(told: dict[str, dict[str, object]] | None) -> object:
    """The level that an event tells."""
    return told and told[CAEP + "risk-level-change"]["current_level"]


def test_a_changed_risk_reads_as_in_the_specification() -> None:
    """The event has the fields of the example in CAEP 1.0, section 3.8."""
    assert riskd.risk_level_change(unmet("high"), "LOW", "challenge_failed", time=WHEN) == {
        "https://schemas.openid.net/secevent/caep/event-type/risk-level-change": {
            "principal": "USER",
            "current_level": "HIGH",
            "previous_level": "LOW",
            "risk_reason": "NEW_DEVICE",
            "event_timestamp": 1_795_608_000,
        }
    }


def test_a_raised_assurance_reads_as_in_the_specification() -> None:
    """The event has the fields of the example in CAEP 1.0, section 3.4."""
    requirement = unmet("high").requirement
    assert riskd.assurance_level_change(requirement, 1, "challenge_passed", time=WHEN) == {
        "https://schemas.openid.net/secevent/caep/event-type/assurance-level-change": {
            "namespace": "NIST-AAL",
            "current_level": "nist-aal2",
            "previous_level": "nist-aal1",
            "change_direction": "increase",
            "event_timestamp": 1_795_608_000,
        }
    }


@given(answers, previous, outcomes)
def test_an_event_tells_a_change_and_what_was_before(answer: riskd.Assessment, before: str, outcome: str) -> None:
    """An event's levels differ, the earlier one is what was told last, and it is left out if nothing was told."""
    told = riskd.risk_level_change(answer, before, outcome, time=WHEN)
    if told is not None:
        (event,) = told.values()
        assert event["current_level"] in LEVELS
        assert event["current_level"] != (before or "LOW")
        assert event.get("previous_level", "") == before
    again = riskd.risk_level_change(answer, str(level(told) or before), outcome, time=WHEN)
    assert again is None


@given(answers, previous, outcomes)
def test_only_a_proof_of_the_owner_lowers_a_risk(answer: riskd.Assessment, before: str, outcome: str) -> None:
    """A quiet answer lowers no risk that was told: the thief may still have the password."""
    told = level(riskd.risk_level_change(answer, before, outcome, time=WHEN))
    if told is not None and LEVELS.index(str(told)) < LEVELS.index(before or "LOW"):
        assert outcome in SETTLED
        assert told == "LOW"


@pytest.mark.parametrize("outcome", ["", "challenge_failed", "challenge_abandoned", "sign_in_abandoned"])
def test_what_was_not_met_raises_the_risk(outcome: str) -> None:
    """An attempt that did not meet its requirement tells its level."""
    assert level(riskd.risk_level_change(unmet("medium"), "", outcome, time=WHEN)) == "MEDIUM"
    assert riskd.risk_level_change(unmet("medium"), "HIGH", outcome, time=WHEN) is None


@pytest.mark.parametrize("outcome", SETTLED)
def test_an_owner_who_proves_it_is_in_no_event(outcome: str) -> None:
    """An owner on a journey who passes the challenge raises nothing, and takes back what was told before."""
    assert riskd.risk_level_change(unmet("high"), "", outcome, time=WHEN) is None
    assert level(riskd.risk_level_change(unmet("high"), "HIGH", outcome, time=WHEN)) == "LOW"


def test_a_failure_of_riskd_is_no_risk_of_an_account() -> None:
    """While the store is away, levels rise for everybody; none of that is told to anybody."""
    degraded = replace(unmet("high"), causes=("store:not_read",))
    assert riskd.risk_level_change(degraded, "", "challenge_failed", time=WHEN) is None
    assert level(riskd.risk_level_change(degraded, "", "confirmed_fraud", time=WHEN)) == "HIGH"


def test_nobody_passes_a_denial() -> None:
    """A challenge that a flow made of a denial proves nothing, as when riskd learns from outcomes."""
    denied = unmet("high", riskd.Tier.DENY)
    assert level(riskd.risk_level_change(denied, "", "challenge_passed", time=WHEN)) == "HIGH"
    assert riskd.assurance_level_change(denied.requirement, 0, "challenge_passed", time=WHEN) is None


@given(requirements, st.integers(0, 3), outcomes)
def test_an_assurance_level_only_rises(requirement: riskd.Requirement, before: int, outcome: str) -> None:
    """A risk lowers no assurance level, and a requirement that was not met raises none."""
    told = riskd.assurance_level_change(requirement, before, outcome, time=WHEN)
    if told is not None:
        (event,) = told.values()
        assert before < requirement.terms.aal
        assert requirement.satisfied or outcome == "challenge_passed"
        assert ("change_direction" in event) == ("previous_level" in event) == (before > 0)


def test_a_level_in_other_words_is_refused() -> None:
    """riskd's own word for a level is not CAEP's, and the error says which are."""
    with pytest.raises(ValueError, match="'' or one of LOW, MEDIUM, HIGH, as in the last event"):
        riskd.risk_level_change(unmet("high"), "low", time=WHEN)
