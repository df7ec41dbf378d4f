"""Sets the bands of a journey from a friction budget: the share of good decisions that may be challenged.

The bands keep their distances in log-odds. Each begins at cost / (cost + loss) of its challenge, so the odds of two
bands differ by the ratio of their costs, which does not depend on the budget. The budget changes only the scale of the
scores. So there is one number to find, a threshold, and every good decision has one score to compare with it.

The threshold is an order statistic of those scores. So the true share beyond it is within the budget with the
confidence of the one-sided Clopper-Pearson bound (1934), whatever the distribution of scores: it is the tolerance limit
of Wilks (1941). Decisions resemble each other, so they count as fewer: divided by their design effect (`clusters`).
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from riskd.core.decide import decide, satisfied
from riskd.core.policy import Journey, Policy
from riskd.core.record import AssessmentRecord
from riskd.offline import clusters
from riskd.offline.clusters import KINDS, SIZE, GroupCounts
from riskd.offline.intervals import LEVEL, Share, enough, lower, most_hits, share
from riskd.offline.labels import FRAUD, GOOD, UNKNOWN
from riskd.offline.policies.backtest import Plan, decisions_of, ready
from riskd.offline.policies.redecide import Redecided, redecide
from riskd.offline.policies.tally import BELOW, WRONG_CREDENTIAL, Tally, counted_as
from riskd.wording import quantity

TAIL: Final = 1 - LEVEL
"""The probability that the true friction exceeds the budget."""
_DIGITS: Final = 3


class Sample:
    """The decisions of one label on one journey, reduced to what bands need.

    `unavoidable` decisions are challenged whatever the bands are: by rules, gaps or cold start. The score of every
    other decision is in the list of the laxest band whose tier it does not satisfy; decisions that satisfy every tier
    are in no list. All are counted by group (`clusters`); `groups` has the places of each score.
    """

    def __init__(self, bands: int) -> None:
        self.totals = np.zeros(SIZE, dtype=np.int64)
        self.unavoidable = np.zeros(SIZE, dtype=np.int64)
        self.scores = [array("d") for _ in range(bands)]
        self.groups = [array("B") for _ in range(bands)]

    def __iadd__(self, other: Sample) -> Sample:
        """Add another sample."""
        self.totals += other.totals
        self.unavoidable += other.unavoidable
        for scores, more in zip(self.scores, other.scores, strict=True):
            scores.extend(more)
        for groups, others in zip(self.groups, other.groups, strict=True):
            groups.extend(others)
        return self

    @property
    def total(self) -> int:
        """The number of decisions."""
        return clusters.total(self.totals)

    def challenged(self, edges: Sequence[float]) -> Share:
        """The share that is challenged if the bands begin at these scores. Each bound is one-sided at `TAIL`."""
        return clusters.share_of(self._hits(edges), self.totals, 1 - 2 * TAIL)

    def effect(self, edges: Sequence[float]) -> float:
        """The design effect of that share: how many decisions count as one, because some are alike."""
        return clusters.effect(self._hits(edges), self.totals)

    def _hits(self, edges: Sequence[float]) -> GroupCounts:
        hits = self.unavoidable.copy()
        for scores, groups, edge in zip(self.scores, self.groups, edges, strict=True):
            beyond = np.frombuffer(groups, np.uint8).reshape(-1, KINDS)[np.frombuffer(scores) >= edge]
            hits += np.bincount(beyond.ravel(), minlength=SIZE)
        return hits


class Samples:
    """Good and fraudulent decisions by identity domain and journey, and how many had a wrong credential."""

    def __init__(self) -> None:
        self.by_journey: dict[tuple[str, str, int], Sample] = {}
        self.wrong_credential: Counter[tuple[str, str]] = Counter()
        self.tally = Tally()

    def __iadd__(self, other: Samples) -> Samples:
        """Add other samples."""
        for key, sample in other.by_journey.items():
            mine = self.by_journey.setdefault(key, Sample(len(sample.scores)))
            mine += sample
        self.wrong_credential.update(other.wrong_credential)
        self.tally += other.tally
        return self

    def add(self, policy: Policy, record: AssessmentRecord, redecided: Redecided, label: int) -> None:
        """Add one decision of known outcome."""
        name, score = record.journey, record.score
        journey = policy.journeys[name]
        sample = self.by_journey.setdefault((policy.domain, name, label), Sample(len(journey.bands.edges)))
        attempt, context = redecided.attempt, redecided.context
        places = list(clusters.groups(record))
        sample.totals[places] += 1
        without = decide(policy, attempt, context, BELOW, redecided.hits)
        if without.raised and not without.requirement.satisfied:
            sample.unavoidable[places] += 1
            return
        for scores, groups, tier in zip(sample.scores, sample.groups, journey.bands.tiers[1:], strict=True):
            suspect = name == "session" and tier > journey.floor
            met = satisfied(policy, attempt, context.now, policy.ladder[tier], suspect=suspect)
            if tier > without.tier and not met:
                if score < 1.0:
                    scores.append(score)
                    groups.extend(places)
                else:
                    sample.unavoidable[places] += 1  # beyond every band
                return


class Calibration(Struct, frozen=True, kw_only=True):
    """The new bands of one journey, or why they could not be set. `needed`: how many more good decisions would suffice.

    `friction` and `recall` are the shares of good and fraudulent decisions that are challenged, by the old bands and by
    the new ones. Decisions with a wrong credential are in neither.
    """

    domain: str
    journey: str
    budget: float
    good: int
    fraud: int
    wrong_credential: int
    old: Mapping[str, float]
    new: Mapping[str, float] | None = None
    friction: tuple[Share, Share] | None = None
    recall: tuple[Share, Share] | None = None
    refused: str = ""
    needed: int = 0


def collect(plan: Plan, path: Path, *, presumed: bool = False) -> Samples:
    """The decisions of known outcome in a segment. `presumed`: decisions without any outcome count as good.

    Those whose credential was wrong are counted apart: no band challenges anybody there.

    A learning journey is judged by what it will require. Decisions of tenants with their own bands or floors do not
    depend on the bands in question; they are counted separately, unless the tenant is the one that was chosen.
    """
    policies, labels = ready(plan)
    policies = {domain: policy.of(plan.choice.tenant).requiring() for domain, policy in policies.items()}
    samples = Samples()
    for _, record in decisions_of(path, plan, samples.tally):
        policy, label = policies[record.domain], counted_as(record, labels.label(record.id))
        label = GOOD if presumed and label == UNKNOWN else label
        if not _by_its_bands(policy, record):
            samples.tally.counts["tenants_own_bands"] += 1
        elif label == WRONG_CREDENTIAL:
            samples.tally.counts["wrong_credential"] += 1
            samples.wrong_credential[record.domain, record.journey] += 1
        elif label in (GOOD, FRAUD):
            samples.add(policy.of(record.tenant), record, redecide(policy, record), label)
            samples.tally.replayed(record)
        else:
            samples.tally.counts["without_verdict"] += 1
    return samples


def _by_its_bands(policy: Policy, record: AssessmentRecord) -> bool:
    ours, theirs = policy.journeys[record.journey], policy.of(record.tenant).journeys[record.journey]
    return (ours.floor, ours.bands) == (theirs.floor, theirs.bands)


def calibrate(samples: Samples, policy: Policy, name: str, budget: float) -> Calibration:
    """The bands of one journey for a budget between 0 and 1."""
    journey = policy.journeys[name]
    good, fraud = (
        samples.by_journey.get((policy.domain, name, label)) or Sample(len(journey.bands.edges))
        for label in (GOOD, FRAUD)
    )
    calibration = Calibration(
        domain=policy.domain,
        journey=name,
        budget=budget,
        good=good.total,
        fraud=fraud.total,
        wrong_credential=samples.wrong_credential[policy.domain, name],
        old=_named(journey, journey.bands.edges),
    )
    old, effect, found = journey.bands.edges, 0.0, 1.0
    edges = old
    while found > effect:  # laxer bands challenge fewer, who may be more alike
        effect = found
        refused, needed = _refused(good, journey, budget, effect)
        if refused:
            return replace(calibration, refused=refused, needed=needed)
        allowed = most_hits(good.total, budget, TAIL, effect) - clusters.total(good.unavoidable)
        edges = _edges(good, journey, allowed)
        found = good.effect(edges)
    return replace(
        calibration,
        new=_named(journey, edges),
        friction=(good.challenged(old), good.challenged(edges)),
        recall=(fraud.challenged(old), fraud.challenged(edges)),
    )


def _refused(good: Sample, journey: Journey, budget: float, effect: float) -> tuple[str, int]:
    """Why no bands can be set, and how many more good decisions would change that; '' and 0 if they can be set."""
    if not journey.bands.edges:
        return "the journey has no bands", 0
    fewest = enough(0.0, budget, TAIL)
    assert fewest is not None, "no hit is within every budget above 0"
    fewest = math.ceil(fewest * effect)
    if good.total < fewest:
        alike = f", as much as {good.total / effect:,.0f} independent ones," if effect > 1 else ""
        known = f"{quantity(good.total, 'good decision')}{alike}"
        what = f"{known} cannot show that at most {budget * 100:.3g} % of them are challenged"
        return what, fewest - good.total
    unavoidable = clusters.total(good.unavoidable)
    if unavoidable <= most_hits(good.total, budget, TAIL, effect):
        return "", 0
    others = share(unavoidable, good.total, effect=effect)
    cause = f"rules, gaps and cold start by themselves challenge {others} of good decisions"
    total = enough(unavoidable / good.total, budget, TAIL)
    if total is None or lower(unavoidable / effect, good.total / effect, TAIL) > budget:
        return f"{cause}, and bands can only add to that: see `riskd policy rules`", 0
    return f"{cause}, which may be within the budget", math.ceil(total * effect) - good.total


def _edges(good: Sample, journey: Journey, allowed: int) -> tuple[float, ...]:
    """The laxest bands that challenge at most `allowed` decisions besides those that are challenged anyway."""
    old = [_log_odds(edge) for edge in journey.bands.edges]
    scales = [
        _log_odds(score) - (edge - old[0]) for scores, edge in zip(good.scores, old, strict=True) for score in scores
    ]
    scales.sort()
    if not scales:
        return _kept_apart(old, journey.bands.edges[0])
    if len(scales) <= allowed:
        above, most = 0.0, _probability(scales[0])
    else:
        excluded = scales[len(scales) - 1 - allowed]
        at = bisect_left(scales, math.nextafter(excluded, math.inf))
        above, most = _probability(excluded), _probability(scales[at] if at < len(scales) else excluded + 0.1)
    edges, unavoidable = _kept_apart(old, _least(above, most)), clusters.total(good.unavoidable)
    while good.challenged(edges).hits - unavoidable > allowed:  # an edge was rounded to a score that is to be below it
        edges = _kept_apart(old, _least(edges[0], max(most, math.nextafter(edges[0], 1.0))))
    return edges


def _kept_apart(old: Sequence[float], first: float) -> tuple[float, ...]:
    """Bands from `first` on, as far apart in log-odds as the `old` ones, which are in log-odds."""
    shift = _log_odds(first) - old[0]
    edges = [first]
    for edge in old[1:]:
        exact = _probability(edge + shift)
        edges.append(max(_up(exact), math.nextafter(edges[-1], 1.0)))
    return tuple(min(edge, 1.0) for edge in edges)


def _least(above: float, most: float) -> float:
    """The shortest decimal that is greater than `above` and at most `most`; of several, the smallest."""
    for digits in range(1, 18):
        step = 10.0**-digits
        decimal = round((math.floor(above / step) + 1) * step, digits)
        if above < decimal <= most:
            return decimal
    return most


def _up(value: float) -> float:
    """Rounded up to `_DIGITS` significant digits of the odds: a higher edge challenges nobody more."""
    digits = _DIGITS - 1 - math.floor(math.log10(min(value, 1 - value)))
    return round(math.ceil(value * 10.0**digits) / 10.0**digits, digits)


def _log_odds(probability: float) -> float:
    clipped = min(max(probability, 1e-12), 1 - 1e-12)
    return math.log(clipped) - math.log1p(-clipped)


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def _named(journey: Journey, edges: Sequence[float]) -> dict[str, float]:
    return {tier.name: edge for tier, edge in zip(journey.bands.tiers[1:], edges, strict=True)}
