"""The pipeline on one screen: facts in, values out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from riskd.core.assessment import Assessment, Hit, Reason
from riskd.core.attempt import Attempt
from riskd.core.context import Context
from riskd.core.decide import decide
from riskd.core.features import FEATURES, Feature, vector
from riskd.core.history import Delta
from riskd.core.learn import Receipt, attempted, receipt
from riskd.core.left_out import SPOKEN_FOR, taken
from riskd.core.next_signals import next_signals
from riskd.core.policy import Policy, evaluate, weigh
from riskd.core.pseudonym import Keys
from riskd.core.requirement import Tier
from riskd.core.score import Scorer

REASONS: Final = 8
"""Reasons in an answer, strongest first."""
NOTICEABLE: Final = 0.1
"""Log-odds below which a contribution is not worth a sentence."""


class Release(Struct, frozen=True):
    """What decides: a policy and a scorer for each identity domain. `id` is the hash of all of it."""

    id: str
    policies: Mapping[str, Policy]
    scorers: Mapping[str, Scorer]

    def policy(self, attempt: Attempt) -> Policy:
        """The policy of the attempt's identity domain and tenant."""
        return self.policies[attempt.domain].of(attempt.tenant)


class Decision(Struct, frozen=True, kw_only=True):
    """An assessment with everything that led to it and everything that follows from it."""

    assessment: Assessment
    vector: list[float]
    log_odds: float
    hits: tuple[Hit, ...]
    contributions: tuple[float, ...] | None
    deltas: tuple[Delta, ...]
    receipt: Receipt
    lists: tuple[str, ...] = ()
    """Lists that the attempt is on."""
    withheld: Tier | None = None
    """What would be required if the journey were not learning."""


def assess(
    attempt: Attempt,
    context: Context,
    keys: Keys,
    release: Release,
    assessment_id: str,
    *,
    explain: bool = False,
    suggest: bool = True,
    known: Mapping[str, bool] | None = None,
) -> Decision:
    """Decide one attempt. Pure: same arguments, same answer, bit for bit. `suggest`: whether
    somebody will read step 6. `known`: the lists that it is on, where the attempt itself can no longer tell.

    1. Compute every feature; a missing fact yields the feature's documented default. Look it up in the lists,
       disregard what an address in a trusted network says, and take what was left out for a stranger's.
    2. Score the vector.
    3. Evaluate every rule: hits are evidence, not control flow.
    4. Take the strictest of floor, band, hits, gap postures and cold start.
    5. Explain it, when the tier rose above the floor or somebody will read it.
    6. Say which missing signals are worth asking for, because they would probably change the tier.
    7. Say what it changes: velocity now, familiarity when it proves to have been the owner's.
    """
    policy, scorer = release.policy(attempt), release.scorers[attempt.domain]
    evidence = weigh(policy, attempt, context, vector(attempt, context), known)  # (1)
    features = evidence.features
    log_odds, probability = scorer.score(features)  # (2)
    hits, broken = evaluate(policy, attempt, evidence, probability)  # (3)
    ruling = decide(policy, attempt, context, probability, hits)  # (4)
    read = explain or ruling.raised or ruling.withheld is not None
    contributions = scorer.contributions(features) if read else None  # (5)
    given = ruling.reasons if contributions is None else reasons(ruling.reasons, features, contributions)
    suggested: tuple[str, ...] = ()
    if suggest:  # (6)
        suggested = next_signals(policy, scorer, attempt, context, evidence=evidence, score=probability, now=ruling)
    assessment = Assessment(
        id=assessment_id,
        score=probability,
        level=ruling.level,
        requirement=ruling.requirement,
        reasons=given,
        gaps=ruling.gaps,
        coverage=ruling.coverage,
        causes=(*broken, *_failed_parts(context)),
        next_signals=suggested,
        release=release.id,
        model=scorer.version,
        valid_until=context.now + ruling.valid_for_s,
    )
    return Decision(
        assessment=assessment,
        vector=features,
        log_odds=log_odds,
        hits=hits,
        contributions=contributions,
        deltas=attempted(attempt, keys, context.now, policy.retention),  # (7)
        receipt=receipt(attempt, context, keys, ruling.requirement, policy.ladder[ruling.tier].accepted),
        lists=tuple([name for name, on in evidence.listed.items() if on]),
        withheld=ruling.withheld,
    )


def reasons(given: tuple[Reason, ...], features: list[float], contributions: tuple[float, ...]) -> tuple[Reason, ...]:
    """The rules' and gaps' reasons, then the features', one for each code, the strongest first.

    A code's contribution is that of all its features together; its text is the strongest one's, unless a
    rule has given it another. Whatever it contributed, a feature whose sentence is not true gives no reason. For what
    was left out, that it was speaks.
    """
    totals: dict[str, float] = {}
    texts: dict[str, tuple[float, str]] = {}
    for column, moved in enumerate(contributions):
        if moved >= NOTICEABLE and _says(FEATURES[column], features[column]):
            feature = FEATURES[SPOKEN_FOR[column] if taken(features, column) else column]
            totals[feature.reason] = totals.get(feature.reason, 0.0) + moved
            texts[feature.reason] = max(texts.get(feature.reason, (0.0, "")), (moved, feature.text))
    ruled = tuple(Reason(reason.code, totals.pop(reason.code, 0.0), reason.text) for reason in given)
    ranked = sorted(totals, key=lambda code: (-totals[code], code))
    return (ruled + tuple(Reason(code, totals[code], texts[code][1]) for code in ranked))[:REASONS]


def _says(feature: Feature, value: float) -> bool:
    """Whether a feature's sentence is true of its value.

    Of a missing one nobody knows, and the gap is named already. A likelihood ratio that is less like the owner
    than usual can be like the owner still.
    """
    return value > feature.true_above if feature.direction > 0 else not math.isnan(value)


def _failed_parts(context: Context) -> tuple[str, ...]:
    """What riskd itself could not read. A user agent that says nothing is its sender's doing."""
    return tuple(
        f"{gap.source}:{gap.why}"
        for gap in context.missing
        if gap.why == "unavailable" or (gap.why == "unreadable" and gap.source != "agent")
    )
