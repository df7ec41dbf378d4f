"""What the shipped policies make of a session that is bound to a key: a copied one gets nowhere, and the owner's is
spared what only a copy deserves."""

from __future__ import annotations

from itertools import product
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.core.attempt import BINDINGS, DOMAINS, JOURNEYS, Attempt, Federation, Network, Session
from riskd.core.context import Context, Missing
from riskd.core.decide import Ruling, decide
from riskd.core.features import FEATURES
from riskd.core.policy import Evidence, evaluate
from riskd.core.requirement import Tier
from tests.shipped import shipped_release

NOW: Final = 1_800_000_000.0
POLICIES: Final = shipped_release().policies
SPARED: Final = {"session_elsewhere", "session_on_unknown_network"}
"""The rules on copied sessions, which a proven key contradicts."""
UNCONTESTED: Final = ("hwk", "pin", "pop")
"""Methods that meet every tier but DENY and IDENTITY_PROOF."""
SIGNS: Final = ("new_device", "new_country", "new_network", "new_asn", "hosting", "tor")


def ruled(
    domain: str, journey: str, binding: str, *, score: float = 0.0, signs: frozenset[str] = frozenset(), gap: str = ""
) -> tuple[Ruling, set[str]]:
    """The ruling, and the rules that hit, for a session whose authentication of a minute ago was the best there is."""
    policy = POLICIES[domain]
    best = Session(acr="phrh", amr=UNCONTESTED, authentication_time=NOW - 60, binding=binding)
    said = Federation(issuer="https://idp.example", amr=UNCONTESTED, authentication_time=NOW - 60)
    attempt = Attempt(
        domain=domain,
        subject="s",
        journey=journey,
        network=Network(client_ip="192.0.2.1"),
        session=best,
        federation=said,
    )
    context = Context(
        now=NOW,
        values={},
        place=Missing("place", "not_found"),
        route=Missing("route", "not_found"),
        agent=Missing("agent", "not_sent"),
        remembered=Missing("history", "unavailable"),
        missing=(Missing(gap, "not_found"),) if gap else (),
    )
    features = [float(each.name in signs) if each.name in SIGNS else each.missing for each in FEATURES]
    hits, _ = evaluate(policy, attempt, Evidence(features, context, {}), score)
    return decide(policy, attempt, context, score, hits), {hit.rule for hit in hits if not hit.shadow}


@given(
    st.sampled_from(DOMAINS),
    st.sampled_from(JOURNEYS),
    st.sampled_from([0.0, 0.03, 0.12, 0.3, 0.7]),
    st.sets(st.sampled_from(SIGNS)).map(frozenset),
    st.sampled_from(["", "place", "device_id"]),
)
def test_a_proof_lowers_no_floor_and_no_score(
    domain: str, journey: str, score: float, signs: frozenset[str], gap: str
) -> None:
    """A failed proof requires at least as much as none, and a proven key at least the floor and the score's band. A
    proven key spares the rules on copied sessions and no other."""
    (none, hits), (failed, more), (proven, less) = (
        ruled(domain, journey, binding, score=score, signs=signs, gap=gap) for binding in BINDINGS
    )
    policy = POLICIES[domain].journeys[journey]
    assert failed.tier >= none.tier >= proven.tier >= max(policy.floor, policy.bands.at(score))
    assert hits - less <= SPARED
    assert {each.removesuffix("_on_sensitive_step") for each in more - hits} <= {"binding_failed"}
    assert less <= hits <= more


@pytest.mark.parametrize(("domain", "journey"), [*product(DOMAINS, JOURNEYS)])
def test_a_copied_session_satisfies_nothing(domain: str, journey: str) -> None:
    """Whatever the owner proved a minute ago, a session without its key satisfies no requirement. Where people or
    machines act within a session, a rule says so."""
    ruling, hits = ruled(domain, journey, "failed")
    assert not ruling.requirement.satisfied
    within = {"session", "profile_update", "payment"} | ({"login"} if domain != "machine" else set())
    assert [reason.code for reason in ruling.reasons] == ["SESSION_BINDING_FAILED"] * (journey in within)
    assert len(hits) == (journey in within)


@pytest.mark.parametrize(
    ("domain", "sessions", "steps"),
    [
        ("customer", Tier.STEP_UP, Tier.PHISHING_RESISTANT),
        ("workforce", Tier.PHISHING_RESISTANT, Tier.HARDWARE_BOUND),
        ("machine", Tier.DENY, Tier.DENY),
    ],
)
def test_more_is_required_where_more_is_at_stake(domain: str, sessions: Tier, steps: Tier) -> None:
    """A copied session is asked to sign in again; a payment or a change of the account asks for more than that."""
    assert ruled(domain, "session", "failed")[0].tier is sessions
    assert {ruled(domain, journey, "failed")[0].tier for journey in ("profile_update", "payment")} == {steps}
