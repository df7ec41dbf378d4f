from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core.assessment import Hit, Reason
from riskd.core.attempt import BINDINGS, CREDENTIAL_RESULTS, JOURNEYS, Attempt, Federation, Network, Session
from riskd.core.context import AGEING, SOURCES, Missing
from riskd.core.decide import Ruling, decide, satisfied
from riskd.core.features import FEATURES
from riskd.core.lists import NamedList
from riskd.core.policy import Bands, Evidence, Issuer, Journey, Policy, evaluate, ladder, weigh
from riskd.core.requirement import Terms, Tier
from riskd.core.rules import VARIABLES, RuleFacts, RuleResults
from tests.core.rulings import NOW, context_of, scores

DAY: Final = 86_400
TABLE: Final = {
    Tier.BASELINE: Terms(1, (), 30 * DAY),
    Tier.STEP_UP: Terms(2, ("mfa",), DAY, (("pwd", "otp"), ("mfa",))),
    Tier.PHISHING_RESISTANT: Terms(2, ("phr",), DAY, (("hwk",), ("swk",))),
    Tier.HARDWARE_BOUND: Terms(3, ("phrh",), DAY // 2, (("hwk", "pin"),)),
    Tier.IDENTITY_PROOF: Terms(3, ("urn:example:proofed",), 900),
}
BANDS: Final = Bands((0.02, 0.15, 0.6), (Tier.BASELINE, Tier.STEP_UP, Tier.PHISHING_RESISTANT, Tier.DENY))

tiers = st.sampled_from(Tier)
hits = st.lists(st.builds(Hit, st.just("rule"), tiers, st.just("CODE"), st.booleans()), max_size=4)
whys = st.sampled_from(("not_sent", "not_consented", "not_found", "none_yet", "unavailable"))
gaps = st.dictionaries(st.sampled_from(sorted(SOURCES)), whys, max_size=6).map(
    lambda found: tuple(Missing(source, why) for source, why in found.items())
)
postures = st.dictionaries(st.sampled_from(sorted(SOURCES)), st.none() | tiers, max_size=6)


@st.composite
def journeys(draw: st.DrawFn) -> Journey:
    floor = draw(tiers)
    above = [tier for tier in Tier if tier > floor]
    chosen = tuple(sorted(draw(st.sets(st.sampled_from(above))) if above else ()))
    edges = tuple(sorted(draw(st.sets(scores, min_size=len(chosen), max_size=len(chosen)))))
    bands = Bands(edges, (floor, *chosen))
    return Journey(
        floor=floor, bands=bands, postures=draw(postures), cold_start=draw(tiers), valid_for_s=draw(st.integers(0, 9))
    )


amr = st.lists(st.sampled_from(("pwd", "otp", "hwk", "pin", "swk", "kba", "mfa")), max_size=3).map(tuple)
acr = st.sampled_from(("", "mfa", "phr", "phrh", "1"))
times = st.none() | st.floats(NOW - 40 * DAY, NOW)
sessions = st.none() | st.builds(
    Session, acr=acr, amr=amr, authentication_time=times, binding=st.sampled_from(BINDINGS)
)
federations = st.none() | st.builds(
    Federation, issuer=st.sampled_from(("", "trusted", "other")), acr=acr, amr=amr, authentication_time=times
)
attempts = st.builds(
    Attempt,
    domain=st.just("customer"),
    subject=st.just("s"),
    journey=st.just("login"),
    network=st.just(Network(client_ip="192.0.2.1")),
    credential_result=st.sampled_from(CREDENTIAL_RESULTS),
    session=sessions,
    federation=federations,
)


def policy_of(journey: Journey) -> Policy:
    return Policy(
        domain="customer",
        version="1",
        levels=(0.02, 0.15),
        ladder=ladder(TABLE),
        journeys=dict.fromkeys(JOURNEYS, journey),
        trusted_issuers={"trusted": Issuer()},
    )


def attempt_of(session: Session | None = None, federation: Federation | None = None, credential: str = "") -> Attempt:
    return Attempt(
        domain="customer",
        subject="s",
        journey="login",
        network=Network(client_ip="192.0.2.1"),
        credential_result=credential or "not_checked",
        session=session,
        federation=federation,
    )


def login(**changes: object) -> Journey:
    base = Journey(floor=Tier.BASELINE, bands=BANDS, postures={}, cold_start=Tier.BASELINE, valid_for_s=300)
    return replace(base, **changes)


def rule(
    journey: Journey,
    score: float,
    found: list[Hit] | None = None,
    missing: tuple[Missing, ...] = (),
    stale: tuple[str, ...] = (),
) -> Ruling:
    context = context_of(missing, stale)
    return decide(policy_of(journey), attempt_of(credential="succeeded"), context, score, found or [])


@given(journeys(), scores, hits, gaps)
def test_never_below_the_floor(journey: Journey, score: float, found: list[Hit], missing: tuple[Missing, ...]) -> None:
    """The tier is always at least the floor; `raised` says whether it is above."""
    ruling = rule(journey, score, found, missing)
    assert ruling.tier >= journey.floor
    assert ruling.raised == (ruling.tier > journey.floor)
    assert ruling.requirement.tier is ruling.tier


@given(journeys(), scores, hits, gaps, tiers)
def test_a_hit_never_lowers(
    journey: Journey, score: float, found: list[Hit], missing: tuple[Missing, ...], tier: Tier
) -> None:
    """One more hit gives the stricter of its tier and the previous tier."""
    before = rule(journey, score, found, missing).tier
    after = rule(journey, score, [*found, Hit("more", tier, "MORE")], missing).tier
    assert after == max(before, tier)


@given(journeys(), scores, hits, gaps)
def test_shadow_changes_nothing(journey: Journey, score: float, found: list[Hit], missing: tuple[Missing, ...]) -> None:
    """A ruling is the same with and without the hits of rules in shadow."""
    acting = [hit for hit in found if not hit.shadow]
    assert rule(journey, score, found, missing) == rule(journey, score, acting, missing)


@given(journeys(), scores, scores, hits, gaps)
def test_a_higher_score_never_lowers(
    journey: Journey, score: float, other: float, found: list[Hit], missing: tuple[Missing, ...]
) -> None:
    """A higher score requires at least as much."""
    low, high = sorted((score, other))
    assert rule(journey, low, found, missing).tier <= rule(journey, high, found, missing).tier


@given(journeys(), scores, gaps, st.sampled_from(sorted(SOURCES)), st.tuples(st.none() | tiers, st.none() | tiers))
def test_a_stricter_posture_never_lowers(
    journey: Journey,
    score: float,
    missing: tuple[Missing, ...],
    source: str,
    pair: tuple[Tier | None, Tier | None],
) -> None:
    """A stricter posture for a source requires at least as much."""
    lax, strict = sorted(pair, key=lambda posture: posture or 0)
    found = [
        rule(replace(journey, postures={**journey.postures, source: posture}), score, missing=missing).tier
        for posture in (lax, strict)
    ]
    assert found[0] <= found[1]


@given(journeys(), scores, gaps)
def test_gaps_are_what_is_expected_or_withheld(journey: Journey, score: float, missing: tuple[Missing, ...]) -> None:
    """Gaps are the missing sources that the policy names and those without consent; coverage counts only the sources
    that the policy names."""
    ruling = rule(journey, score, missing=missing)
    assert set(ruling.gaps) == {gap for gap in missing if gap.source in journey.postures or gap.why == "not_consented"}
    expected = len(journey.postures)
    lacked = len([gap for gap in ruling.gaps if gap.source in journey.postures])
    assert ruling.coverage == pytest.approx((expected - lacked) / expected if expected else 1.0)


@given(journeys(), attempts, gaps)
def test_rules_see_the_coverage_that_is_answered(
    journey: Journey, attempt: Attempt, missing: tuple[Missing, ...]
) -> None:
    """A condition on `coverage` sees exactly the number that the answer reports."""
    facts = RuleFacts(attempt, context_of(missing), (), 0.0, journey.postures)
    assert VARIABLES["coverage"].read(facts) == rule(journey, 0.0, missing=missing).coverage


stales = st.sets(st.sampled_from(AGEING)).map(lambda found: tuple(sorted(found)))


@given(journeys(), scores, hits, gaps, stales)
def test_stale_facts_change_the_gaps_and_nothing_else(
    journey: Journey, score: float, found: list[Hit], missing: tuple[Missing, ...], stale: tuple[str, ...]
) -> None:
    """Stale facts are listed as gaps but count as present: they change neither coverage nor tier."""
    missing = tuple(gap for gap in missing if gap.source not in stale)
    fresh, old = (rule(journey, score, found, missing, each) for each in ((), stale))
    told = tuple(Missing(source, "stale") for source in stale if source in journey.postures)
    assert old == replace(fresh, gaps=(*fresh.gaps, *told))


@given(journeys(), attempts, gaps, stales)
def test_rules_see_stale_and_missing_sources_separately(
    journey: Journey, attempt: Attempt, missing: tuple[Missing, ...], stale: tuple[str, ...]
) -> None:
    """In conditions, `stale` lists the stale expected sources; `gaps` and `coverage` treat them as present."""
    fresh, old = (RuleFacts(attempt, context_of(missing, each), (), 0.0, journey.postures) for each in ((), stale))
    told = [gap.source for gap in rule(journey, 0.0, missing=missing, stale=stale).gaps if gap.why == "stale"]
    assert VARIABLES["stale"].read(old) == told
    assert [VARIABLES[name].read(old) for name in ("gaps", "coverage")] == [
        VARIABLES[name].read(fresh) for name in ("gaps", "coverage")
    ]


def test_in_a_trusted_network_rules_see_nothing_stale() -> None:
    """In a trusted network, rules do not see that facts about the address are stale; the answer still reports it."""
    office = {"office": NamedList("countries")}
    policy = replace(policy_of(login(postures={"place": None})), lists=office, trusted_networks=frozenset(office))
    context = context_of(stale=("place",))
    evidence = weigh(policy, attempt_of(), context, [feature.missing for feature in FEATURES], {"office": True})
    assert evidence.context.stale == ()
    assert decide(policy, attempt_of(), context, 0.0, []).gaps == (Missing("place", "stale"),)


@pytest.mark.parametrize(
    ("score", "tier", "level"),
    [
        (0.0, Tier.BASELINE, "low"),
        (0.0199, Tier.BASELINE, "low"),
        (0.02, Tier.STEP_UP, "medium"),
        (0.15, Tier.PHISHING_RESISTANT, "high"),
        (1.0, Tier.DENY, "high"),
        (float("nan"), Tier.DENY, "high"),
    ],
)
def test_bands_include_their_lower_edge(score: float, tier: Tier, level: str) -> None:
    """A band begins at its threshold; a score of NaN gets the strictest band."""
    ruling = rule(login(), score)
    assert (ruling.tier, ruling.level) == (tier, level)


@pytest.mark.parametrize(
    ("source", "why", "tier", "codes"),
    [
        ("history", "none_yet", Tier.STEP_UP, ["NO_HISTORY"]),
        ("history", "unavailable", Tier.PHISHING_RESISTANT, ["MISSING_HISTORY"]),
        ("reputation", "none_yet", Tier.BASELINE, []),
        ("reputation", "unavailable", Tier.PHISHING_RESISTANT, ["MISSING_REPUTATION"]),
    ],
)
def test_no_history_is_not_a_failed_store(source: str, why: str, tier: Tier, codes: list[str]) -> None:
    """A subject without history gets the cold-start tier, an unknown address costs nothing, and a source that could not
    be read gets its posture. The reason contributes nothing to the score."""
    postures = dict.fromkeys(("history", "reputation"), Tier.PHISHING_RESISTANT)
    ruling = rule(login(postures=postures, cold_start=Tier.STEP_UP), 0.0, missing=(Missing(source, why),))
    assert ruling.tier is tier
    assert [(reason.code, reason.contribution) for reason in ruling.reasons] == [(code, 0.0) for code in codes]


def test_a_noted_gap_raises_nothing() -> None:
    """A missing source whose posture is empty is listed as a gap, but raises no tier and gives no reason."""
    ruling = rule(login(postures={"place": None, "agent": None}), 0.0, missing=(Missing("place", "not_found"),))
    assert (ruling.tier, ruling.reasons, ruling.coverage) == (Tier.BASELINE, (), 0.5)
    assert ruling.gaps == (Missing("place", "not_found"),)


def test_hits_give_their_reasons() -> None:
    """Each code of the acting hits appears once, in order, with the text of its first strictest hit, and contributes
    nothing to the score."""
    found = [
        Hit("a", Tier.STEP_UP, "A", False, "lax"),
        Hit("b", Tier.STEP_UP, "B", False, "other"),
        Hit("c", Tier.DENY, "A", False, "strict"),
        Hit("d", Tier.DENY, "D", True, "shadow"),
        Hit("e", Tier.DENY, "A", False, "as strict"),
    ]
    reasons = rule(login(), 0.0, found).reasons
    assert reasons == (Reason("A", 0.0, "strict"), Reason("B", 0.0, "other"))


def test_a_journey_that_learns_says_what_it_did_not_require() -> None:
    """Until its learning period ends, a journey requires its floor, and its first reason names the withheld tier."""
    found = [Hit("a", Tier.STEP_UP, "A", False, "rule")]
    learning, over = (rule(login(learning_until=until), 0.2, found) for until in (NOW + 1, NOW))

    assert (learning.tier, learning.withheld) == (Tier.BASELINE, Tier.PHISHING_RESISTANT)
    assert [(reason.code, reason.contribution) for reason in learning.reasons] == [("LEARNING_MODE", 0.0), ("A", 0.0)]
    assert Tier.PHISHING_RESISTANT.name in learning.reasons[0].text
    assert (over.tier, over.withheld) == (Tier.PHISHING_RESISTANT, None)
    assert [reason.code for reason in over.reasons] == ["A"]


def test_evaluate_hands_over_the_expected_sources() -> None:
    """Rules receive features, score and expected sources; a rule that fails is reported as a cause."""
    seen: list[RuleFacts] = []

    def record(facts: RuleFacts) -> RuleResults:
        seen.append(facts)
        return (), ("rule:broken",)

    policy = policy_of(login(postures={"place": None}, evaluate=record))
    assert evaluate(policy, attempt_of(), Evidence([1.0], context_of(), {}), 0.5) == ((), ("rule:broken",))
    assert (seen[0].features, seen[0].score, set(seen[0].expected)) == ([1.0], 0.5, {"place"})


RECENT: Final = NOW - 600


@given(attempts, st.sampled_from(sorted(TABLE)), st.sampled_from(sorted(TABLE)))
def test_meeting_a_tier_meets_the_laxer_ones(attempt: Attempt, one: Tier, two: Tier) -> None:
    """What satisfies a tier satisfies every less strict tier."""
    policy = policy_of(login())
    low, high = sorted((one, two))
    if satisfied(policy, attempt, NOW, policy.ladder[high]):
        assert satisfied(policy, attempt, NOW, policy.ladder[low])


@given(attempts, st.sampled_from(Tier), st.floats(0, 60 * DAY))
def test_time_never_satisfies(attempt: Attempt, tier: Tier, later: float) -> None:
    """An attempt that does not satisfy a tier now does not satisfy it later."""
    policy = policy_of(login())
    rung = policy.ladder[tier]
    if satisfied(policy, attempt, NOW + later, rung):
        assert satisfied(policy, attempt, NOW, rung)


@given(attempts, st.sampled_from(Tier))
def test_questions_are_no_factor(attempt: Attempt, tier: Tier) -> None:
    """Adding knowledge-based answers (`kba`) to a session's methods satisfies no further tier."""
    policy = policy_of(login())
    session = attempt.session or Session(authentication_time=NOW)
    plain = replace(attempt, session=replace(session, amr=("pwd",), acr=""))
    asked = replace(attempt, session=replace(session, amr=("pwd", "kba"), acr=""))
    rung = policy.ladder[tier]
    assert satisfied(policy, plain, NOW, rung) == satisfied(policy, asked, NOW, rung)


@pytest.mark.parametrize(
    ("journey", "score", "expected"), [("session", 0.03, False), ("session", 0.0, True), ("login", 0.03, True)]
)
@pytest.mark.parametrize("federated", [False, True])
def test_a_session_under_suspicion_does_not_vouch_for_itself(
    journey: str, score: float, expected: bool, federated: bool
) -> None:
    """If assessing a session raises its tier, neither the session nor its assertion satisfies it: a stolen cookie
    brings both."""
    session = Session(amr=("hwk", "pin"), acr="phrh", authentication_time=RECENT)
    assertion = Federation(issuer="trusted", amr=session.amr, acr=session.acr, authentication_time=RECENT)
    policy = policy_of(login())
    policy = replace(policy, journeys={**policy.journeys, "session": policy.journeys["login"]})
    attempt = attempt_of(None, assertion) if federated else attempt_of(session)

    ruling = decide(policy, replace(attempt, journey=journey), context_of(), score, [])
    assert ruling.requirement.satisfied is expected


@given(attempts, st.sampled_from(Tier))
def test_a_session_without_its_key_does_not_vouch_for_anybody(attempt: Attempt, tier: Tier) -> None:
    """If the attempt did not prove the session's key, neither the session nor the assertion behind it satisfies any
    tier; a credential that was checked now still does. A proven key satisfies nothing by itself."""
    policy, session = policy_of(login()), attempt.session or Session(amr=("hwk", "pin"), authentication_time=RECENT)

    def met(binding: str, **changes: object) -> bool:
        one = replace(attempt, session=replace(session, binding=binding), **changes)
        return satisfied(policy, one, NOW, policy.ladder[tier])

    nothing = replace(attempt, session=Session(amr=session.amr), federation=None)
    assert met("failed") == satisfied(policy, nothing, NOW, policy.ladder[tier])
    assert not met("failed", credential_result="not_checked")
    assert met("proven") == met("")
