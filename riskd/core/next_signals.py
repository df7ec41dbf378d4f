"""Next signals: the missing facts that are worth asking for, because they would probably change the tier.

Information has value only if it can change a decision (Howard, Information Value Theory, 1966). Each missing signal
may turn out as usual for the account, or as a stranger's would be. The model gives the score in either case. As the
present score is the expectation over both, p = w p_usual + (1 - w) p_unusual, it also gives their probabilities, so no
assumption about them is needed. A signal that neither the model nor a rule uses is never asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from riskd.core.attempt import Attempt
from riskd.core.context import Context, Missing
from riskd.core.decide import Ruling, decide
from riskd.core.features import FEATURES
from riskd.core.left_out import COPIED, FLAG_OF, counts_as_copied, is_imputed
from riskd.core.policy import Evidence, Policy, evaluate
from riskd.core.requirement import Tier
from riskd.core.score import Scorer

SUGGESTIBLE: Final = ("device_id", "fingerprint", "languages", "timezone", "screen", "attestation",
                      "reported_place", "rtt", "behaviour", "credential")  # fmt: skip
"""Signals that a caller can obtain and send after the first answer."""
WORTH_ASKING: Final = 0.1
"""Smallest probability of another tier for which a signal is suggested, so that no data is collected in vain."""
_COLUMNS: Final = {
    source: tuple(column for column, feature in enumerate(FEATURES) if source in feature.sources)
    for source in SUGGESTIBLE
}
"""The columns of the features that depend on a signal."""


class Prospect(Struct, frozen=True):
    """What a missing signal may lead to: the tier if it is as usual, the tier if not, and the probability `doubt` of
    the latter."""

    source: str
    usual: Tier
    unusual: Tier
    doubt: float

    def change(self, tier: Tier) -> float:
        """The probability that the signal leads to another tier than this one."""
        return (1.0 - self.doubt) * (self.usual is not tier) + self.doubt * (self.unusual is not tier)


def next_signals(
    policy: Policy, scorer: Scorer, attempt: Attempt, context: Context, *, evidence: Evidence, score: float, now: Ruling
) -> tuple[str, ...]:
    """The signals worth asking for, those most likely to change the tier first. `now` is the present ruling."""
    if not _matters(policy, attempt, score, now):
        return ()
    found = [
        (prospect.change(now.tier), prospect.source)
        for prospect in prospects(policy, scorer, attempt, context, evidence=evidence, score=score)
    ]
    return tuple([source for change, source in sorted(found, key=_rank) if change >= WORTH_ASKING])


def _rank(found: tuple[float, str]) -> tuple[float, int]:
    return -found[0], SUGGESTIBLE.index(found[1])


def _matters(policy: Policy, attempt: Attempt, score: float, now: Ruling) -> bool:
    """Whether any signal can be worth asking for, a cheap test that avoids `prospects` for most attempts.

    If the tier is the floor, a signal can only raise it. The probability that a signal takes the score from p up to a
    band at e is at most p / e (Markov's inequality), which is too small if the score is far below the first band.
    """
    if now.raised:
        return True
    edges = policy.journeys[attempt.journey].bands.edges
    return bool(edges) and now.withheld is None and score >= WORTH_ASKING * edges[0]


def prospects(
    policy: Policy, scorer: Scorer, attempt: Attempt, context: Context, *, evidence: Evidence, score: float
) -> Iterator[Prospect]:
    """The prospects of each missing signal that could change the score, a rule or a gap."""
    expected = policy.journeys[attempt.journey].postures
    judged = evidence.context
    unknown = {gap.source for gap in context.missing}
    unknown |= {fact.source for fact in (judged.place, judged.route) if isinstance(fact, Missing)}
    for gap in context.missing:
        source = gap.source
        if source not in SUGGESTIBLE:
            continue
        columns = _determined(source, unknown, evidence.features)
        if not columns and source not in expected:  # then neither the score nor a rule or gap would change
            continue
        sent = replace(context, missing=tuple([other for other in context.missing if other.source != source]))
        scores, tiers = [], []
        for features in _as_sent(columns, evidence.features, scorer.references):
            scores.append(scorer.score(features)[1])
            weighed = Evidence(features, replace(judged, missing=sent.missing), evidence.listed)
            hits, _ = evaluate(policy, attempt, weighed, scores[-1])
            tiers.append(decide(policy, attempt, sent, scores[-1], hits).tier)
        # The score already assumes a stranger's value for what was left out, so it is no expectation over both cases.
        left_out = any(is_imputed(evidence.features, column) for column in columns)
        yield Prospect(source, tiers[0], tiers[1], score if left_out else doubt(score, scores[0], scores[1]))


def _determined(source: str, unknown: set[str], features: list[float]) -> list[int]:
    """The columns of the features that a signal would determine: of the `unknown` sources, they lack only this one."""
    others = unknown - {source}
    return [
        column
        for column in _COLUMNS[source]
        if (math.isnan(features[column]) or is_imputed(features, column))
        and others.isdisjoint(FEATURES[column].sources)
    ]


def _as_sent(
    columns: list[int], features: list[float], references: tuple[float, ...]
) -> tuple[list[float], list[float]]:
    """The features if a signal that determines these columns is as usual for the account, and if it is a stranger's."""
    usual, unusual = features.copy(), features.copy()
    for column in columns:
        usual[column] = references[column]
        if is_imputed(features, column):
            flag = FLAG_OF[column]
            if usual[flag] and counts_as_copied(features, flag):
                usual[COPIED] -= 1.0
            usual[flag] = unusual[flag] = 0.0
        elif math.isnan(features[column]):
            unusual[column] = FEATURES[column].unusual if FEATURES[column].direction else usual[column]
    return usual, unusual


def doubt(score: float, usual: float, unusual: float) -> float:
    """The probability that a signal is not as usual, from the present score and the scores if it is and if it is not.

    It is the weight at which the present score is the mean of the other two. If the score does not lie between them,
    the model gives no probability; then it is the score itself, as if only an owner's signal were as usual.
    """
    return (score - usual) / (unusual - usual) if usual < unusual and usual <= score <= unusual else score
