"""Prospects: the tiers that a missing signal could lead to, worked out by hand for a model of one feature."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import pytest
from msgspec.structs import replace

from riskd.core.assessment import Hit
from riskd.core.attempt import JOURNEYS, Attempt, Network
from riskd.core.context import Missing
from riskd.core.decide import decide
from riskd.core.features import NAMES
from riskd.core.forest import Forest
from riskd.core.left_out import impute_left_out
from riskd.core.model import ForestDocument, Steps
from riskd.core.next_signals import Prospect, next_signals, prospects
from riskd.core.policy import Bands, Evidence, Journey, Policy, evaluate, ladder
from riskd.core.requirement import Terms, Tier
from riskd.core.rules import RuleFacts, RuleResults, no_rules
from tests.core.rulings import NOW, context_of

EDGES: Final = (0.3, 0.7)
TIERS: Final = (Tier.BASELINE, Tier.STEP_UP, Tier.DENY)
NAMELESS: Final = Attempt(domain="customer", subject="s", journey="login", network=Network(client_ip="192.0.2.1"))
CONTEXT: Final = context_of((Missing("device_id", "not_sent"),))


def model(usual: float, unusual: float, missing: float, left_out: float = 0.0) -> Forest:
    """A model of two features: a new device, and a device id that was left out. The probability is a tenth of its
    log-odds."""
    known = Steps(feature="new_device", cuts=(0.5,), values=(10 * usual, 10 * unusual), missing=10 * missing)
    said = Steps(feature="device_left_out", cuts=(0.5,), values=(0.0, 10 * left_out), missing=0.0)
    references: dict[str, float | None] = {"new_device": 0.0, "device_left_out": 0.0}
    return Forest(
        ForestDocument(baseline=0.0, references=references, calibration=((0.0, 0.0), (10.0, 1.0)), steps=(known, said)),
        NAMES,
    )


def banded(**changes: object) -> Policy:
    """A policy that has only bands, unless changed."""
    bands = Bands(EDGES, TIERS)
    login = Journey(floor=Tier.BASELINE, bands=bands, postures={}, cold_start=Tier.BASELINE, valid_for_s=9)
    journey = replace(login, **changes)
    return Policy(
        domain="customer",
        version="1",
        levels=(0.3, 0.7),
        ladder=ladder(dict.fromkeys(TIERS, Terms(aal=1))),
        journeys=dict.fromkeys(JOURNEYS, journey),
    )


def ruled(facts: RuleFacts) -> RuleResults:
    """A rule that gives the same tier as the bands would."""
    tier = Bands(EDGES, TIERS).at(facts.score)
    return ((Hit("rule", tier, "CODE"),), ()) if tier > Tier.BASELINE else ((), ())


def evidence(*, left_out: bool = False) -> Evidence:
    """An attempt without a device id; `left_out` if the account always sends one."""
    features = [math.nan] * len(NAMES)
    if left_out:
        features[NAMES.index("new_device")] = features[NAMES.index("device_left_out")] = 1.0
    return Evidence(features, CONTEXT, {})


def found(policy: Policy, scorer: Forest, score: float, seen: Evidence) -> list[Prospect]:
    return list(prospects(policy, scorer, NAMELESS, CONTEXT, evidence=seen, score=score))


@pytest.mark.parametrize("evaluate", [no_rules, ruled], ids=["bands", "rules"])
@pytest.mark.parametrize(
    ("usual", "unusual", "now", "expected"),
    [
        (0.1, 0.9, 0.5, Prospect("device_id", Tier.BASELINE, Tier.DENY, 0.5)),
        (0.1, 0.9, 0.3, Prospect("device_id", Tier.BASELINE, Tier.DENY, 0.25)),
        (0.1, 0.5, 0.4, Prospect("device_id", Tier.BASELINE, Tier.STEP_UP, 0.75)),
        (0.4, 0.9, 0.2, Prospect("device_id", Tier.STEP_UP, Tier.DENY, 0.2)),
    ],
    ids=["half way", "probably usual", "probably unusual", "a missing signal scores below both"],
)
def test_a_prospect_is_what_the_signal_would_bring(
    usual: float, unusual: float, now: float, expected: Prospect, evaluate: Callable[[RuleFacts], RuleResults]
) -> None:
    """A prospect holds the tiers for the usual and an unusual value, and the doubt that makes the present score their
    weighted mean."""
    bands = Bands(EDGES, TIERS) if evaluate is no_rules else Bands((), (Tier.BASELINE,))
    (prospect,) = found(banded(evaluate=evaluate, bands=bands), model(usual, unusual, now), now, evidence())

    assert replace(prospect, doubt=pytest.approx(prospect.doubt)) == expected


def test_a_signal_that_was_left_out_may_turn_out_either_way_once_it_is_sent() -> None:
    """Once a left-out signal is sent it may be usual or unusual, and only the present score says how likely each is."""
    (prospect,) = found(banded(), model(0.1, 0.5, 0.2, left_out=0.4), 0.9, evidence(left_out=True))

    assert prospect == Prospect("device_id", Tier.BASELINE, Tier.STEP_UP, 0.9)


def test_a_look_that_was_left_out_and_is_as_usual_no_longer_counts_as_copied() -> None:
    """Once the fingerprint of a known device is sent and is as usual, `copied_device` is one less."""
    copied = Steps(feature="copied_device", cuts=(1.5,), values=(0.0, 8.0), missing=0.0)
    references: dict[str, float | None] = {"copied_device": 0.0}
    document = ForestDocument(
        baseline=0.0, references=references, calibration=((0.0, 0.0), (10.0, 1.0)), steps=(copied,)
    )
    features, context = [math.nan] * len(NAMES), context_of((Missing("fingerprint", "not_sent"),))
    for name, value in {"new_device": 0.0, "copied_device": 1.0, "fingerprint_left_out": 1.0}.items():
        features[NAMES.index(name)] = value
    seen = Evidence(impute_left_out(features), context, {})
    (prospect,) = prospects(banded(), Forest(document, NAMES), NAMELESS, context, evidence=seen, score=0.8)

    assert (prospect.source, prospect.usual, prospect.unusual) == ("fingerprint", Tier.BASELINE, Tier.DENY)


def test_a_gap_that_would_be_filled_is_a_prospect() -> None:
    """For a signal that the model does not use, sending it only removes the gap's posture."""
    policy = banded(postures={"device_id": Tier.DENY})
    (prospect,) = found(policy, model(0.1, 0.1, 0.1), 0.1, evidence())

    assert (prospect.source, prospect.usual, prospect.unusual) == ("device_id", Tier.BASELINE, Tier.BASELINE)
    assert prospect.change(Tier.DENY) == 1.0
    assert prospect.change(Tier.BASELINE) == 0.0


@pytest.mark.parametrize(
    ("usual", "unusual", "now", "learning_until", "asked"),
    [
        (0.1, 0.9, 0.5, 0.0, True),
        (0.1, 0.9, 0.25, 0.0, True),
        (0.1, 0.9, 0.15, 0.0, False),
        (0.1, 0.25, 0.2, 0.0, False),
        (0.1, 0.9, 0.5, NOW + 1, False),
    ],
    ids=[
        "it may lower the tier or raise it",
        "it may raise the tier",
        "it rarely changes the tier",
        "it never changes the tier",
        "the journey learns, so only the floor is required",
    ],
)
def test_a_signal_is_asked_for_where_it_would_change_the_tier(
    usual: float, unusual: float, now: float, learning_until: float, *, asked: bool
) -> None:
    """A signal is asked for if it would change the tier in at least one of ten attempts, and never while the journey
    learns."""
    policy, scorer, seen = banded(learning_until=learning_until), model(usual, unusual, now), evidence()
    hits, _ = evaluate(policy, NAMELESS, seen, now)
    ruling = decide(policy, NAMELESS, CONTEXT, now, hits)

    signals = next_signals(policy, scorer, NAMELESS, CONTEXT, evidence=seen, score=now, now=ruling)
    assert signals == (("device_id",) if asked else ())
