"""The whole assessment, with the shipped policies and models, over every combination of known and missing facts."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import Any, Final, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from riskd.core import signals
from riskd.core.assess import Decision, Release, assess
from riskd.core.assessment import Hit
from riskd.core.attempt import DOMAINS, JOURNEYS, PURPOSES, Attempt, Device, Outside, Session
from riskd.core.context import SOURCES, Agent, Context, Missing, Place, Route
from riskd.core.decide import decide
from riskd.core.features import FEATURES, vector
from riskd.core.history import DAY, HOUR
from riskd.core.lists import of_networks
from riskd.core.next_signals import SUGGESTIBLE, WORTH_ASKING, doubt, prospects
from riskd.core.policy import ladder, weigh
from riskd.core.requirement import HUMAN, Terms, Tier
from riskd.core.rules import RuleFacts, RuleResults, no_rules
from tests.bench import trusting
from tests.core.builders import (
    BERGEN,
    CHROME,
    ELSEWHERE,
    HOME,
    HOSTER,
    LAPTOP,
    NOW,
    OSLO,
    SYDNEY,
    World,
    crowd,
    keys_of,
    settled,
    sign_in,
)
from tests.shipped import shipped_release

Value = TypeVar("Value")
law = settings(max_examples=150)
NODE: Final = Device(user_agent="Go-http-client/2.0", device_id="node", attestation="failed")
STRANGER: Final = replace(LAPTOP, device_id="other", fingerprint="f-other", timezone="Asia/Tokyo", platform="Linux")
KEY: Final = Session(id="s", authentication_time=NOW - 60, acr="phrh", amr=("hwk", "pin"))
TOR: Final = Route(60729, "a foundation", anonymizer="tor")
SCRIPT: Final = Agent("Go-http-client", "2", automated=True)
OPTIONAL: Final = ("device", "place", "behaviour", "session", "federation", "outside")
EVERY_TIER: Final = ladder(dict.fromkeys(Tier, Terms(aal=0)))
BROUGHT: Final = {
    "device": ("device_id", "fingerprint", "languages", "timezone", "screen", "attestation"),
    "place": ("reported_place",),
}
"""The sources that a field of the attempt brings, where they are not named like the field."""


@cache
def shipped() -> Release:
    return shipped_release()


@cache
def worlds() -> tuple[World, ...]:
    """Four worlds: empty; alex is known; alex among many; and alex after a recovery, with an attack from his
    address."""
    attacked = settled()
    for number in range(60):
        attacked.try_(sign_in(subject=f"victim-{number}", credential_result="failed"), NOW - 600)
    for journey, hours in (("recovery", 3), ("profile_update", 2), ("payment", 1)):
        attacked.try_(sign_in(journey=journey), NOW - hours * HOUR)
    return World(), settled(), crowd(settled()), attacked


class Scene(Struct, frozen=True):
    """An attempt in a world, and the context that riskd gathered for it."""

    attempt: Attempt
    context: Context

    def decide(self, release: Release | None = None, *, explain: bool = False) -> Decision:
        keys = keys_of(self.attempt, self.context.values)
        return assess(self.attempt, self.context, keys, release or shipped(), "0" * 32, explain=explain)


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    """Attempts on alex's account in all journeys, some with signals left out, some not made by alex."""
    whole = sign_in(
        draw(st.sampled_from(("192.0.2.10", "192.0.2.99", "203.0.113.5"))),
        domain=draw(st.sampled_from(DOMAINS)),
        journey=draw(st.sampled_from(JOURNEYS)),
        credential_result=draw(st.sampled_from(("not_checked", "succeeded", "failed"))),
        device=draw(st.sampled_from((LAPTOP, STRANGER, NODE))),
    )
    if draw(st.booleans()):
        whole = replace(whole, session=KEY)
    if draw(st.booleans()):
        risk = draw(st.sampled_from(("", "low", "high")))
        whole = replace(whole, outside=Outside(credential_breached=draw(st.booleans()), risk_level=risk))
    left_out: dict[str, None] = dict.fromkeys(draw(st.sets(st.sampled_from(OPTIONAL), max_size=3)))
    return replace(whole, **left_out)


def known_or(values: tuple[Value, ...], source: str) -> st.SearchStrategy[Value | Missing]:
    return st.sampled_from((*values, Missing(source, "not_installed")))


def offset(attempt: Attempt) -> int | None:
    """Minutes east of UTC of the device's clock, if the attempt sent a timezone."""
    return 120 if attempt.device is not None and attempt.device.timezone else None


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """An attempt in one of the worlds, with some facts missing."""
    attempt = draw(attempts())
    context = draw(st.sampled_from(worlds())).context(
        attempt,
        device_offset_min=offset(attempt),
        place=draw(known_or((OSLO, BERGEN, SYDNEY), "place")),
        route=draw(known_or((HOME, ELSEWHERE, HOSTER, TOR), "route")),
        agent=draw(known_or((CHROME, SCRIPT), "agent")),
        remembered=draw(st.sampled_from((None, None, None, Missing("history", "unavailable")))),
    )
    return Scene(attempt, context)


hits = st.builds(
    Hit, st.just("another"), st.sampled_from(Tier), st.sampled_from(("NEW_DEVICE", "ANOTHER")), st.just(False)
)


def with_hit(attempt: Attempt, hit: Hit) -> Release:
    """The shipped release with one more rule that hits; every tier has terms in its policy."""
    release = shipped()
    policy = release.policies[attempt.domain]
    journey = policy.journeys[attempt.journey]

    def evaluate(facts: RuleFacts) -> RuleResults:
        found, broken = journey.evaluate(facts)
        return (*found, hit), broken

    richer = replace(journey, evaluate=evaluate)
    policy = replace(
        policy, journeys={**policy.journeys, attempt.journey: richer}, ladder=EVERY_TIER | dict(policy.ladder)
    )
    return replace(release, policies={**release.policies, attempt.domain: policy})


def as_bytes(decision: Decision) -> bytes:
    """All of a decision as bytes, so that NaN equals NaN."""
    return msgspec.msgpack.encode(
        (decision.assessment, decision.vector, decision.hits, decision.contributions, decision.receipt)
    )


@law
@given(scenes(), hits)
def test_another_hit_never_lowers_the_tier(scene: Scene, hit: Hit) -> None:
    """One more rule hit gives the stricter of the hit's tier and the previous one."""
    without, with_it = scene.decide(), scene.decide(with_hit(scene.attempt, hit))

    assert with_it.assessment.requirement.tier == max(without.assessment.requirement.tier, hit.tier)
    assert hit.reason in {reason.code for reason in with_it.assessment.reasons}


@law
@given(scenes(), hits)
def test_a_shadow_hit_changes_nothing(scene: Scene, hit: Hit) -> None:
    """A hit of a rule in shadow is recorded with the decision; the answer is bit for bit the same."""
    without, with_it = scene.decide(), scene.decide(with_hit(scene.attempt, replace(hit, shadow=True)))

    assert with_it.assessment == without.assessment
    assert with_it.hits[-1].rule == "another"


@law
@given(scenes())
def test_the_tier_never_lies_below_the_floor(scene: Scene) -> None:
    """Neither a low score nor a missing signal lowers the tier below the floor."""
    floor = shipped().policies[scene.attempt.domain].journeys[scene.attempt.journey].floor

    assert scene.decide().assessment.requirement.tier >= floor


@law
@given(scenes())
def test_every_missing_fact_that_is_expected_is_named(scene: Scene) -> None:
    """A missing fact never raises an exception, and the answer lists it as a gap if the policy expects it."""
    answer = scene.decide(explain=True).assessment
    absent = {missing.source for missing in scene.context.missing}
    for field in OPTIONAL:
        if getattr(scene.attempt, field) is None:
            absent |= set(BROUGHT.get(field, (field,)))
    expected = set(shipped().policies[scene.attempt.domain].journeys[scene.attempt.journey].postures)

    assert {gap.source for gap in answer.gaps} == absent & expected
    assert absent <= set(SOURCES)
    assert 0.0 <= answer.score <= 1.0
    assert answer.coverage == (pytest.approx(1 - len(absent & expected) / len(expected)) if expected else 1.0)


@law
@given(scenes(), st.booleans())
def test_a_decision_repeats_bit_for_bit(scene: Scene, explain: bool) -> None:
    """The same attempt, context and release give the same answer, also after a round trip through serialisation."""
    attempt = msgspec.msgpack.decode(msgspec.msgpack.encode(scene.attempt), type=Attempt)
    context = replace(scene.context, values=dict(reversed(scene.context.values.items())))

    assert as_bytes(Scene(attempt, scene.context).decide(explain=explain)) == as_bytes(scene.decide(explain=explain))
    assert Scene(attempt, context).decide().assessment == scene.decide().assessment


@law
@given(scenes())
def test_the_vector_reproduces_the_score(scene: Scene) -> None:
    """The logged feature vector alone reproduces the score."""
    decision = scene.decide()
    scorer = shipped().scorers[scene.attempt.domain]

    assert scorer.score(list(decision.vector)) == (decision.log_odds, decision.assessment.score)


@law
@given(scenes())
def test_every_feature_keeps_to_its_span(scene: Scene) -> None:
    """A known feature value lies within the span that the policy's conditions are checked against."""
    for feature, value in zip(FEATURES, scene.decide().vector, strict=True):
        span = feature.span
        assert math.isnan(value) or (value in span.values if span.values else span.low <= value <= span.high), feature


@law
@given(scenes(), st.floats(0, 1))
def test_a_machine_is_never_asked_for_what_a_person_does(scene: Scene, score: float) -> None:
    """A machine is let through, asked for a key or denied; it is never asked for anything that a person must do."""
    attempt = replace(scene.attempt, domain="machine")
    policy = shipped().policies["machine"]
    hits = [Hit(rule.name, rule.tier, rule.reason) for rule in policy.journeys[attempt.journey].rules]
    for found in ([], hits):
        terms = decide(policy, attempt, scene.context, score, found).requirement.terms
        assert HUMAN.isdisjoint([*terms.acr_values, *(method for methods in terms.amr for method in methods)])
    tier = Scene(attempt, scene.context).decide().assessment.requirement.tier
    assert tier in (Tier.BASELINE, Tier.HARDWARE_BOUND, Tier.DENY)


def unsent(attempt: Attempt, purpose: str) -> Attempt:
    """The attempt of a client that does not collect the signals of a purpose."""
    device = attempt.device
    if purpose == "device" and device is not None:
        device = Device(user_agent=device.user_agent, platform=device.platform, mobile=device.mobile)
        return replace(attempt, device=device)
    fields = {"location": ("place",), "behaviour": ("behaviour",), "sharing": ("outside",)}
    nothing: dict[str, None] = dict.fromkeys(fields.get(purpose, ()))
    return replace(attempt, **nothing)


@law
@given(st.data(), attempts(), st.sampled_from(PURPOSES[1:]), st.sampled_from(range(4)))
def test_consent_withheld_is_a_signal_not_sent(data: st.DataObject, attempt: Attempt, purpose: str, where: int) -> None:
    """A signal without consent is treated like one that was never sent; only the gap's reason differs."""
    place: Place | Missing = data.draw(known_or((OSLO, SYDNEY), "place"))
    refused = signals.consented(replace(attempt, consent=tuple(set(PURPOSES) - {purpose})))
    silent = unsent(attempt, purpose)
    one, other = (
        Scene(each, worlds()[where].context(each, place=place, device_offset_min=offset(each))).decide()
        for each in (refused, silent)
    )
    ours, theirs = one.assessment, other.assessment

    expected = shipped().policies[refused.domain].journeys[refused.journey].postures
    ours_expected, theirs_expected = (
        [gap.source for gap in each.gaps if gap.source in expected] for each in (ours, theirs)
    )
    assert ours_expected == theirs_expected
    withheld = {gap.source for gap in ours.gaps if gap.why == "not_consented"}
    assert all(signals.PURPOSE[source] == purpose for source in withheld)
    assert msgspec.msgpack.encode(one.vector) == msgspec.msgpack.encode(other.vector)
    assert replace(ours, gaps=()) == replace(theirs, gaps=())
    assert (one.deltas, one.receipt) == (other.deltas, other.receipt)


@law
@given(scenes())
def test_next_signals_would_probably_change_the_tier(scene: Scene) -> None:
    """The answer asks for exactly those missing signals that could be sent and are likely enough to change the tier,
    the likeliest first."""
    attempt, context, answer = scene.attempt, scene.context, scene.decide().assessment
    policy, scorer = shipped().policies[attempt.domain], shipped().scorers[attempt.domain]
    evidence = weigh(policy, attempt, context, scene.decide().vector)
    tier = answer.requirement.tier
    chances = {
        prospect.source: prospect.change(tier)
        for prospect in prospects(policy, scorer, attempt, context, evidence=evidence, score=answer.score)
    }

    assert set(answer.next_signals) <= {missing.source for missing in context.missing} & set(SUGGESTIBLE)
    assert [chances[source] for source in answer.next_signals] == sorted(
        [chance for chance in chances.values() if chance >= WORTH_ASKING], reverse=True
    ) or (tier == policy.journeys[attempt.journey].floor and not answer.next_signals)


@law
@given(scenes())
def test_far_below_the_first_band_no_signal_is_worth_asking(scene: Scene) -> None:
    """If the score is far below the first band, no signal is worth asking for, so skipping the computation is safe."""
    attempt, context = scene.attempt, scene.context
    policy, scorer = shipped().policies[attempt.domain], shipped().scorers[attempt.domain]
    decision, edges = scene.decide(), policy.journeys[attempt.journey].bands.edges
    score, evidence = decision.assessment.score, weigh(policy, attempt, context, decision.vector)
    if edges and score < WORTH_ASKING * edges[0]:
        silent = replace(policy.journeys[attempt.journey], rules=(), evaluate=no_rules, postures={})
        alone = replace(policy, journeys={attempt.journey: silent})
        for prospect in prospects(alone, scorer, attempt, context, evidence=evidence, score=score):
            assert prospect.doubt * (prospect.unusual > silent.floor) < WORTH_ASKING


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_score_is_its_own_expectation(now: float, usual: float, unusual: float) -> None:
    """`doubt` is a probability; if the score lies between the two outcomes, weighting them by it gives the score."""
    share = doubt(now, usual, unusual)
    assert 0.0 <= share <= 1.0
    if usual < unusual and usual <= now <= unusual:
        assert (1 - share) * usual + share * unusual == pytest.approx(now, abs=1e-9)


def nameless(**changes: Any) -> Attempt:  # noqa: ANN401
    """A workforce attempt from a laptop that sends no device id."""
    return sign_in(domain="workforce", federation=None, device=replace(LAPTOP, device_id=""), **changes)


def test_a_next_signal_helps_when_it_is_as_usual() -> None:
    """If the owner sends the first signal that the answer asked for, the tier falls."""
    world, asked, told = settled(), nameless(), sign_in(domain="workforce", federation=None)
    before, after = (Scene(each, world.context(each)).decide().assessment for each in (asked, told))

    assert before.next_signals[:1] == ("device_id",)
    assert after.requirement.tier < before.requirement.tier


@pytest.mark.parametrize(
    "attempt",
    [
        nameless(outside=Outside(risk_level="high")),
        sign_in(domain="machine", journey="recovery", device=None),
        sign_in(journey="payment", device=None, outside=Outside(risk_level="high")),
    ],
    ids=["a partner's word", "a floor of DENY", "a partner's word on a payment"],
)
def test_no_signal_is_asked_for_when_none_would_help(attempt: Attempt) -> None:
    """No signal is asked for if the tier rests on something that a client's signal cannot change."""
    assert Scene(attempt, settled().context(attempt)).decide().assessment.next_signals == ()


def test_no_signal_is_asked_for_that_would_speak_of_a_trusted_network() -> None:
    """In a trusted network, no signal about the address is asked for, because it would be disregarded."""
    attempt = sign_in(place=None)
    context, policy = settled().context(attempt), shipped().policies["customer"]
    office = {"office": of_networks([(4, 0xC0000200, 0xC00002FF)])}
    asked = {}
    for trusted in (frozenset[str](), frozenset(office)):
        here = replace(policy, lists=office, trusted_networks=trusted)
        evidence = weigh(here, attempt, context, vector(attempt, context))
        scorer = shipped().scorers["customer"]
        found = prospects(here, scorer, attempt, context, evidence=evidence, score=0.5)
        asked[trusted] = [prospect.source for prospect in found]

    assert list(asked.values()) == [["reported_place"], []]


@pytest.mark.parametrize(("address", "trusted"), [("192.0.2.10", True), ("192.0.2.11", False)])
def test_a_trusted_network_teaches_no_place(address: str, *, trusted: bool) -> None:
    """An attempt from a trusted network does not teach that the person was there: travel is not measured from the
    place of an address that says nothing about the person. Everything else is taught as from any address."""
    attempt = sign_in()
    scene = Scene(attempt, settled().context(attempt, place=OSLO, route=HOME))
    usual = scene.decide().receipt.lesson
    lesson = scene.decide(trusting(shipped(), address)).receipt.lesson

    assert usual.place
    assert lesson == (replace(usual, place=()) if trusted else usual)


@law
@given(scenes())
def test_reasons_are_few_and_ordered(scene: Scene) -> None:
    """There are at most eight reasons with distinct codes; those of features come last, the strongest first."""
    decision = scene.decide(explain=True)
    reasons = decision.assessment.reasons
    codes = [reason.code for reason in reasons]
    given_ = {hit.reason for hit in decision.hits if not hit.shadow}
    learned = [
        reason.contribution
        for reason in reasons
        if reason.code not in given_ and reason.code != "NO_HISTORY" and not reason.code.startswith("MISSING_")
    ]

    assert len(codes) == len(set(codes)) <= 8
    assert all(first >= second > 0 for first, second in pairwise(learned))


def test_nothing_is_learned_from_a_decision_alone() -> None:
    """An assessment writes only velocity; what it would teach waits in the receipt until the attempt is proven."""
    attempt = sign_in()
    decision = Scene(attempt, settled().context(attempt)).decide()

    assert decision.receipt.taught == 0
    assert {delta.key[-1:] for delta in decision.deltas} == {b"A"}
    assert all(math.isfinite(delta.time) and delta.expires <= NOW + 30 * DAY for delta in decision.deltas)
