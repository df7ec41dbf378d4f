"""Next signals: which missing facts are worth asking for, because they would probably change what is required.

Asking for a signal buys information, and information is worth something only if it can change a decision (Howard,
Information Value Theory, 1966). Each missing signal could turn out to be as usual or as a stranger's. The model says
what either would make of the score; and because the score now is its expectation over both, it also says how likely
they are: p = w p_usual + (1 - w) p_unusual. So nothing has to be assumed, and a signal that the model and the rules
do not care about is never asked for.
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
from riskd.core.left_out import SPOKEN_FOR, taken
from riskd.core.policy import Evidence, Policy, evaluate
from riskd.core.requirement import Tier
from riskd.core.score import Scorer

SUGGESTIBLE: Final = ("device_id", "fingerprint", "languages", "timezone", "screen", "attestation",
                      "reported_place", "rtt", "behaviour", "credential")  # fmt: skip
"""Signals that a caller could still send."""
WORTH_ASKING: Final = 0.1
"""Probability of another tier from which a signal is asked for: data that seldom matters is not collected."""
_COLUMNS: Final = {
    source: tuple(column for column, feature in enumerate(FEATURES) if source in feature.sources)
    for source in SUGGESTIBLE
}
"""The features that a signal makes."""


class Prospect(Struct, frozen=True):
    """What a missing signal may bring: the tiers if it is as usual and if it is not, and how likely the latter is."""

    source: str
    usual: Tier
    unusual: Tier
    doubt: float

    def change(self, tier: Tier) -> float:
        """Probability of another tier than this one."""
        return (1.0 - self.doubt) * (self.usual is not tier) + self.doubt * (self.unusual is not tier)


def next_signals(
    policy: Policy, scorer: Scorer, attempt: Attempt, context: Context, *, evidence: Evidence, score: float, now: Ruling
) -> tuple[str, ...]:
    """The signals worth asking for, the likeliest to change the tier first."""
    if not _matters(policy, attempt, score, now):
        return ()
    found = [
        (prospect.change(now.tier), prospect.source)
        for prospect in prospects(policy, scorer, attempt, context, evidence=evidence, score=score)
    ]
    return tuple([source for change, source in sorted(found, key=_most) if change >= WORTH_ASKING])


def _most(found: tuple[float, str]) -> tuple[float, int]:
    return -found[0], SUGGESTIBLE.index(found[1])


def _matters(policy: Policy, attempt: Attempt, score: float, now: Ruling) -> bool:
    """Whether any signal can be worth asking for.

    At the floor only a raise is left. A signal that takes the score from p to a band at e is at most p / e likely
    (Markov's inequality), so a score far below the first band needs no look at any signal.
    """
    if now.raised:
        return True
    edges = policy.journeys[attempt.journey].bands.edges
    return bool(edges) and now.withheld is None and score >= WORTH_ASKING * edges[0]


def prospects(
    policy: Policy, scorer: Scorer, attempt: Attempt, context: Context, *, evidence: Evidence, score: float
) -> Iterator[Prospect]:
    """Each missing signal that could move the score, a rule or a gap."""
    expected = policy.journeys[attempt.journey].postures
    absent = {gap.source for gap in context.missing}
    said = evidence.context
    disregarded = {fact.source for fact in (said.place, said.route) if isinstance(fact, Missing)}
    for gap in context.missing:
        source = gap.source
        if source not in SUGGESTIBLE:
            continue
        others = (absent | disregarded) - {source}
        moved = [
            at
            for at in _COLUMNS[source]
            if (math.isnan(evidence.features[at]) or taken(evidence.features, at))
            and others.isdisjoint(FEATURES[at].sources)
        ]
        left_out = [SPOKEN_FOR[at] for at in moved if taken(evidence.features, at)]
        if not moved and source not in expected:  # then neither score, rules nor gaps change
            continue
        there = replace(context, missing=tuple([other for other in context.missing if other.source != source]))
        usual, unusual = evidence.features.copy(), evidence.features.copy()
        for at in moved:
            usual[at] = scorer.references[at]
            if math.isnan(unusual[at]):
                unusual[at] = FEATURES[at].unusual if FEATURES[at].direction else usual[at]
        for flag in left_out:
            usual[flag] = unusual[flag] = 0.0
        scores, tiers = [], []
        for features in (usual, unusual):
            scores.append(scorer.score(features)[1])
            seen = Evidence(features, replace(evidence.context, missing=there.missing), evidence.listed)
            hits, _ = evaluate(policy, attempt, seen, scores[-1])
            tiers.append(decide(policy, attempt, there, scores[-1], hits).tier)
        # What was left out is judged as a stranger's: then the score expects nothing of it.
        doubted = score if left_out else doubt(score, scores[0], scores[1])
        yield Prospect(source, tiers[0], tiers[1], doubted)


def doubt(score: float, usual: float, unusual: float) -> float:
    """The probability that a signal is not as usual, by the scores now, if it is, and if it is not.

    The share at which the score now is the mean of both; the score itself where they do not lie round it: then the
    model has nothing to say, and a signal is as usual when the attempt is its owner's.
    """
    return (score - usual) / (unusual - usual) if usual < unusual and usual <= score <= unusual else score
