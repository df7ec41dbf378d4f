"""The whole assessment as one pure function: from an attempt and its facts to an answer and its effects."""

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
from riskd.core.learn import Receipt, attempt_deltas, new_receipt, on_probation
from riskd.core.left_out import FLAG_OF, is_imputed
from riskd.core.next_signals import next_signals
from riskd.core.policy import Policy, evaluate, weigh
from riskd.core.pseudonym import Keys
from riskd.core.requirement import Tier
from riskd.core.score import Scorer

REASONS: Final = 8
"""Most reasons in an answer."""
NOTICEABLE: Final = 0.1
"""Smallest contribution, in log-odds, that is given as a reason."""


class Release(Struct, frozen=True):
    """A policy and a scorer for each identity domain. `id` is a hash over all of them and the feature schema."""

    id: str
    policies: Mapping[str, Policy]
    scorers: Mapping[str, Scorer]

    def policy(self, attempt: Attempt) -> Policy:
        """The policy of the attempt's identity domain and tenant."""
        return self.policies[attempt.domain].of(attempt.tenant)


class Decision(Struct, frozen=True, kw_only=True):
    """An assessment with what led to it, for the log, and its effects: `deltas` to the histories and a `receipt`.

    `vector` holds the features as scored and `log_odds` the raw score; `hits` include those of shadow rules.
    `contributions` runs parallel to `vector`, in log-odds; None if they were not computed.
    """

    assessment: Assessment
    vector: list[float]
    log_odds: float
    hits: tuple[Hit, ...]
    contributions: tuple[float, ...] | None
    deltas: tuple[Delta, ...]
    receipt: Receipt
    lists: tuple[str, ...] = ()
    """Names of the policy's lists that the attempt is on."""
    withheld: Tier | None = None
    """The tier that would be required if the journey were not learning; None if it makes no difference."""


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
    """Decide one attempt. Pure: the same arguments give the same answer, bit for bit.

    1. Compute every feature; if a fact is missing, the feature has its documented default. Look the attempt up in the
       policy's lists. Discard what an address in a trusted network says. Impute the values that were left out.
    2. Score the vector.
    3. Evaluate every rule; a hit is evidence and ends nothing.
    4. Require the strictest of floor, score band, rule hits, gap postures and cold start.
    5. Compute the features' contributions, if the tier is above the floor, or would be, or with `explain`.
    6. With `suggest`, name the missing signals that would probably change the tier.
    7. Return the effects: activity deltas to apply now, and a receipt of what a proven attempt will teach.

    `known` has, by list name, whether the attempt is on it; it replaces the look-up when a logged attempt, which has
    no raw address any more, is assessed again.
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
        deltas=attempt_deltas(attempt, keys, context.now, policy.retention),  # (7)
        receipt=new_receipt(
            attempt,
            context,
            keys,
            ruling.requirement,
            policy.ladder[ruling.tier].accepted,
            probation=on_probation(features),
            trusted_network=evidence.trusted_network,
        ),
        lists=tuple([name for name, on in evidence.listed.items() if on]),
        withheld=ruling.withheld,
    )


def reasons(given: tuple[Reason, ...], features: list[float], contributions: tuple[float, ...]) -> tuple[Reason, ...]:
    """The reasons of an answer: those `given` by rules and gaps, then those of features, the strongest first.

    Each code occurs once. Its contribution is the sum over all features with this code; its text is that of the
    strongest of them, unless a rule gave one. A feature whose sentence is not true of its value gives no reason. If a
    value was left out, the reason is that of the left-out flag, not of the features imputed for it.
    """
    totals: dict[str, float] = {}
    texts: dict[str, tuple[float, str]] = {}
    for column, moved in enumerate(contributions):
        if moved >= NOTICEABLE and _is_true(FEATURES[column], features[column]):
            feature = FEATURES[FLAG_OF[column] if is_imputed(features, column) else column]
            totals[feature.reason] = totals.get(feature.reason, 0.0) + moved
            texts[feature.reason] = max(texts.get(feature.reason, (0.0, "")), (moved, feature.text))
    ruled = tuple(Reason(reason.code, totals.pop(reason.code, 0.0), reason.text) for reason in given)
    ranked = sorted(totals, key=lambda code: (-totals[code], code))
    return (ruled + tuple(Reason(code, totals[code], texts[code][1]) for code in ranked))[:REASONS]


def _is_true(feature: Feature, value: float) -> bool:
    """Whether a feature's sentence is true of its value.

    A missing value has none; its gap is listed elsewhere. A feature with direction +1 must exceed `true_above`: a
    likelihood ratio above its reference raises the score, but can still speak for the owner.
    """
    return value > feature.true_above if feature.direction > 0 else not math.isnan(value)


def _failed_parts(context: Context) -> tuple[str, ...]:
    """Causes of degradation: facts that riskd failed to obtain. An unreadable user agent is the client's failure."""
    return tuple(
        [
            f"{gap.source}:{gap.why}"
            for gap in context.missing
            if gap.why == "unavailable" or (gap.why == "unreadable" and gap.source != "agent")
        ]
    )
