"""Which tier a completed sign-in achieved, compared with the tier required."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core.assurance import COMPLETED, completed_tier
from riskd.core.attempt import OUTCOMES, Outcome
from riskd.core.learn import Receipt, new_receipt, settle
from riskd.core.policy import Policy
from riskd.core.requirement import UNMET, Tier
from riskd.metrics.labels import met
from tests.core.builders import NOW, World, keys_of, sign_in
from tests.shipped import shipped_release


@cache
def policy() -> Policy:
    return shipped_release().policies["customer"]


def asked(tier: Tier, *, satisfied: bool = False) -> Receipt:
    """The receipt of a login for which this tier was required."""
    attempt = sign_in()
    context = World().context(attempt)
    rung = policy().ladder[tier]
    requirement = rung.met if satisfied else rung.unmet
    return new_receipt(attempt, context, keys_of(attempt, context.values), requirement, rung.accepted)


def told(before: Receipt, *outcomes: Outcome) -> list[str]:
    """The tier that each outcome reports as achieved; empty if it completes nothing."""
    said = []
    for outcome in outcomes:
        kept, _ = settle(before, outcome, NOW)
        said.append(completed_tier(before, kept, outcome, policy().ladder))
        before = kept
    return said


def outcome(kind: str, *amr: str) -> Outcome:
    return Outcome(assessment_id="0" * 32, kind=kind, amr=amr)


@pytest.mark.parametrize(
    ("tier", "satisfied", "outcomes", "expected"),
    [
        (Tier.STEP_UP, False, [outcome("challenge_passed", "pwd", "otp")], ["STEP_UP"]),
        (Tier.STEP_UP, False, [outcome("challenge_passed", "hwk", "pin")], ["HARDWARE_BOUND"]),
        (Tier.STEP_UP, False, [outcome("challenge_passed")], ["STEP_UP"]),
        (Tier.STEP_UP, False, [outcome("challenge_passed", "pwd")], ["BASELINE"]),
        (Tier.STEP_UP, False, [outcome("challenge_passed", "kba")], [UNMET]),
        (Tier.STEP_UP, False, [outcome("session_established")], [UNMET]),
        (Tier.STEP_UP, True, [outcome("session_established")], ["STEP_UP"]),
        (Tier.DENY, False, [outcome("session_established")], [UNMET]),
        (Tier.DENY, False, [outcome("challenge_passed")], [UNMET]),
        (Tier.STEP_UP, False, [outcome("challenge_failed"), outcome("session_established")], ["", UNMET]),
        (Tier.STEP_UP, False, [outcome("challenge_abandoned"), outcome("sign_in_abandoned")], ["", ""]),
        (Tier.BASELINE, True, [outcome("recovery_completed"), outcome("session_established")], ["BASELINE", ""]),
    ],
)
def test_achieved_is_what_is_known_to_be_met(
    tier: Tier, satisfied: bool, outcomes: list[Outcome], expected: list[str]
) -> None:
    """The achieved tier is the required one if it is met, a stricter one if the methods show it, else UNMET."""
    assert told(asked(tier, satisfied=satisfied), *outcomes) == expected


@given(
    st.sampled_from([*Tier]),
    st.booleans(),
    st.lists(
        st.tuples(st.sampled_from(OUTCOMES), st.sets(st.sampled_from(["pwd", "otp", "hwk", "sms", "kba"]))), max_size=6
    ),
)
def test_a_sign_in_completes_once(tier: Tier, satisfied: bool, said: list[tuple[str, set[str]]]) -> None:
    """Of all outcomes of one sign-in, only the first that completes it is counted."""
    before = asked(tier, satisfied=satisfied and tier is not Tier.DENY)
    outcomes = [outcome(kind, *sorted(amr)) for kind, amr in said]
    counted = [bool(one) for one in told(before, *outcomes)]
    first = next((at for at, (kind, _) in enumerate(said) if kind in COMPLETED), None)
    assert [at for at, one in enumerate(counted) if one] == ([] if first is None else [first])


@given(st.sampled_from([*Tier]), st.sets(st.sampled_from(["pwd", "otp", "hwk", "sms", "kba", "pin"])))
def test_metrics_and_learning_agree_on_a_met_challenge(tier: Tier, amr: set[str]) -> None:
    """The metrics count a challenge as met exactly when learning accepts it as proof; nothing meets DENY."""
    before = asked(tier)
    passed = outcome("challenge_passed", *sorted(amr))
    kept, _ = settle(before, passed, NOW)
    (achieved,) = told(before, passed)
    reached = met(tier.name, achieved) == "true"
    assert reached == (kept.satisfied and tier is not Tier.DENY)
    assert not (tier is Tier.DENY and reached)


def test_a_completed_sign_in_is_not_counted_again() -> None:
    """If the sign-in was already reported as completed, further outcomes count nothing."""
    kept = replace(asked(Tier.BASELINE, satisfied=True), reported=("session_established",))
    assert told(kept, outcome("session_established"), outcome("challenge_passed", "hwk")) == ["", ""]
