"""Turns a tally into figures: who would have been challenged, how much fraud was caught, what each rule contributes."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from riskd.core.errors import Problem
from riskd.core.policy import Policy
from riskd.core.requirement import Tier
from riskd.offline.clusters import Cells, GroupCounts, added, share_of, total
from riskd.offline.intervals import Share
from riskd.offline.labels import FRAUD, GOOD, UNPROVEN, LabelSource
from riskd.offline.policies.tally import (
    BIN,
    BINS,
    LOW,
    OTHER,
    SEGMENTS,
    WRONG_CREDENTIAL,
    Example,
    Tally,
    after_of,
    before_of,
    label_of,
    state,
)

VALUES: Final = 20
"""How many values of a segment a report lists, the most frequent first; the rest are summed up."""
_BASELINE: Final = state(Tier.BASELINE, satisfied=True)
_DENY: Final = state(Tier.DENY, satisfied=False)
Codes = Cells[int]


class Side(Struct, frozen=True, kw_only=True):
    """The effects of one policy on a group of decisions, without those whose credential was wrong.

    `challenged` decisions required more than BASELINE and were not satisfied; `denied` are the DENYs among them.
    `friction` is the share of good sign-ins that were challenged, `recall` the share of fraud that was, `precision` the
    share of fraud among the challenged ones of known outcome. `unproven` were challenged and did not pass.
    """

    challenged: int
    denied: int
    unproven: int
    friction: Share
    recall: Share
    precision: Share


class Group(Struct, frozen=True, kw_only=True):
    """Decisions that have something in common: how many, how many of known outcome, and the effects of both policies.

    Those whose credential was wrong are neither `good` nor `fraud`.
    """

    value: str
    decisions: int
    good: int
    fraud: int
    wrong_credential: int
    stricter: int
    laxer: int
    recorded: Side
    candidate: Side


class RuleUse(Struct, frozen=True, kw_only=True):
    """What a rule did. `alone`: hits that were the only reason for the tier (for a shadow rule: would have been).

    `precision` is the share of fraud among its hits of known outcome; `recall` the share of all known fraud on the
    rule's journeys that it hit.
    """

    name: str
    tier: str
    shadow: bool
    journeys: tuple[str, ...]
    hits: int
    alone: int
    good: int
    fraud: int
    wrong_credential: int
    unproven: int
    precision: Share
    recall: Share


class Overlap(Struct, frozen=True):
    """Two rules that hit together. `share`: of the hits of the rarer one."""

    rule: str
    other: str
    together: int
    share: float


class Scores(Struct, frozen=True):
    """Good and fraudulent decisions of a journey by score: counts for each bin of log-odds from `low` on."""

    journey: str
    low: float
    width: float
    good: tuple[int, ...]
    fraud: tuple[int, ...]
    other: tuple[int, ...]
    edges: Mapping[str, float]


class DomainReport(Struct, frozen=True, kw_only=True):
    """The report on one identity domain. `moves`: recorded tier to candidate tier to count. `model`: the version that
    scored the decisions again, '' for recorded scores."""

    domain: str
    version: str
    model: str
    total: Group
    journeys: tuple[Group, ...]
    moves: Mapping[str, Mapping[str, int]]
    segments: Mapping[str, tuple[Group, ...]]
    causes: tuple[Group, ...]
    rules: tuple[RuleUse, ...]
    overlaps: tuple[Overlap, ...]
    days: tuple[Group, ...]
    scores: tuple[Scores, ...]
    examples: tuple[Example, ...]
    releases: Mapping[str, int]

    @property
    def tiers(self) -> list[str]:
        """The tiers in `moves`, the laxest first."""
        used = {tier for row in self.moves.values() for tier in row} | self.moves.keys()
        return [tier.name for tier in Tier if tier.name in used]


class Report(Struct, frozen=True, kw_only=True):
    """A backtest. `differences`: how many decisions have another tier or satisfaction than recorded."""

    log: str
    labels: LabelSource
    first: float
    last: float
    counts: Mapping[str, int]
    first_unreadable: tuple[Problem, ...]
    differences: int
    domains: tuple[DomainReport, ...]


def report(
    log: str,
    tally: Tally,
    policies: Sequence[Policy],
    labels: LabelSource = "outcomes",
    models: Mapping[str, str] = MappingProxyType({}),
) -> Report:
    """All figures of a tally. `labels`: where those of its decisions came from. `models`: the versions that scored them
    again, by domain."""
    domains = tuple(_domain(tally, policy, models.get(policy.domain, "")) for policy in policies)
    return Report(
        log=log,
        labels=labels,
        first=tally.first if math.isfinite(tally.first) else 0.0,
        last=tally.last if math.isfinite(tally.last) else 0.0,
        counts={name: count for name, count in sorted(tally.counts.items()) if count},
        first_unreadable=tally.counts.first,
        differences=sum(
            total(cell)
            for (_, dimension, _, code), cell in tally.cells.items()
            if dimension == "all" and before_of(code) != after_of(code)
        ),
        domains=domains,
    )


def challenged(state: int) -> bool:
    """Whether a state requires more than BASELINE and is not satisfied."""
    return state > _BASELINE and not state % 2


def _side(codes: Codes, state_of: Callable[[int], int]) -> Side:
    challenges = Cells({code: cell for code, cell in codes.items() if challenged(state_of(code))})
    good, fraud = _labelled(challenges, GOOD), _labelled(challenges, FRAUD)
    return Side(
        challenged=_number(challenges),
        denied=sum(total(cell) for code, cell in challenges.items() if state_of(code) == _DENY),
        unproven=total(_labelled(challenges, UNPROVEN)),
        friction=share_of(good, _labelled(codes, GOOD)),
        recall=share_of(fraud, _labelled(codes, FRAUD)),
        precision=share_of(fraud, fraud + good),
    )


def _labelled(codes: Codes, wanted: int) -> GroupCounts:
    return added(cell for code, cell in codes.items() if label_of(code) == wanted)


def _number(codes: Codes) -> int:
    return sum(map(total, codes.values()))


def group(value: str, codes: Codes) -> Group:
    """The figures of the cells of one value."""
    could_enter = Cells({code: cell for code, cell in codes.items() if label_of(code) != WRONG_CREDENTIAL})
    return Group(
        value=value,
        decisions=_number(codes),
        good=total(_labelled(codes, GOOD)),
        fraud=total(_labelled(codes, FRAUD)),
        wrong_credential=total(_labelled(codes, WRONG_CREDENTIAL)),
        stricter=sum(total(cell) for code, cell in codes.items() if after_of(code) // 2 > before_of(code) // 2),
        laxer=sum(total(cell) for code, cell in codes.items() if after_of(code) // 2 < before_of(code) // 2),
        recorded=_side(could_enter, before_of),
        candidate=_side(could_enter, after_of),
    )


def _domain(tally: Tally, policy: Policy, model: str) -> DomainReport:
    domain = policy.domain
    cells: dict[str, dict[str, Codes]] = defaultdict(lambda: defaultdict(Cells))
    for (owner, dimension, value, code), cell in tally.cells.items():
        if owner == domain:
            whole = OTHER if dimension == "tenant" and value in tally.others else value
            cells[dimension][whole] += {code: cell}
    rules = _rules(policy, cells)
    return DomainReport(
        domain=domain,
        version=policy.version,
        model=model,
        total=group("all", cells["all"][""]),
        journeys=tuple(group(name, cells["journey"][name]) for name in policy.journeys if name in cells["journey"]),
        moves=_moves(cells["all"][""]),
        segments={dimension: _values(cells[dimension]) for dimension in SEGMENTS if cells[dimension]},
        causes=_values(cells["cause"]),
        rules=rules,
        overlaps=_overlaps(tally, domain, {rule.name: rule.hits for rule in rules}),
        days=tuple(group(day, cells["day"][day]) for day in sorted(cells["day"], key=int)),
        scores=tuple(_scores(policy, name, cells["score"]) for name in policy.journeys if name in cells["journey"]),
        examples=tuple(
            example for move, examples in sorted(tally.examples.items()) if move[0] == domain for example in examples
        ),
        releases={release: count for (owner, release), count in tally.releases.most_common() if owner == domain},
    )


def _moves(codes: Codes) -> dict[str, dict[str, int]]:
    moves: dict[str, Counter[str]] = defaultdict(Counter)
    for code, cell in codes.items():
        moves[_tier(before_of(code))][_tier(after_of(code))] += total(cell)
    return {tier.name: dict(moves[tier.name]) for tier in Tier if tier.name in moves}


def _tier(of: int) -> str:
    return Tier(of // 2 + 1).name


def _values(values: Mapping[str, Codes]) -> tuple[Group, ...]:
    ranked = sorted(values, key=lambda value: (-_number(values[value]), value))
    rest: Codes = Cells()
    for value in ranked[VALUES:]:
        rest += values[value]
    largest = [group(value, values[value]) for value in ranked[:VALUES]]
    return tuple([*largest, group(f"{len(ranked) - VALUES} others", rest)] if rest else largest)


def _rules(policy: Policy, cells: Mapping[str, Mapping[str, Codes]]) -> tuple[RuleUse, ...]:
    """Every rule of the policy, including those that never hit."""
    uses = []
    for name, rule in policy.rules().items():
        hits = cells["rule"].get(name, Cells())
        fraud, good = _labelled(hits, FRAUD), _labelled(hits, GOOD)
        judged = sum((_labelled(cells["journey"].get(journey, Cells()), FRAUD) for journey in rule.journeys), added(()))
        uses.append(
            RuleUse(
                name=name,
                tier=rule.tier.name,
                shadow=rule.shadow,
                journeys=rule.journeys,
                hits=_number(hits),
                alone=_number(cells["alone"].get(name, Cells())),
                good=total(good),
                fraud=total(fraud),
                wrong_credential=total(_labelled(hits, WRONG_CREDENTIAL)),
                unproven=total(_labelled(hits, UNPROVEN)),
                precision=share_of(fraud, fraud + good),
                recall=share_of(fraud, judged),
            )
        )
    return tuple(sorted(uses, key=lambda use: -use.hits))


def _overlaps(tally: Tally, domain: str, hits: Mapping[str, int]) -> tuple[Overlap, ...]:
    """Pairs of rules that hit together, the largest overlap first."""
    overlaps = [
        Overlap(one, other, together, together / min(hits[one], hits[other]))
        for (owner, one, other), together in tally.pairs.items()
        if owner == domain
    ]
    return tuple(sorted(overlaps, key=lambda overlap: (-overlap.share, -overlap.together))[:VALUES])


def _scores(policy: Policy, journey: str, values: Mapping[str, Codes]) -> Scores:
    bins = [values.get(f"{journey} {number}", Cells()) for number in range(BINS)]
    known = [(total(_labelled(codes, GOOD)), total(_labelled(codes, FRAUD)), _number(codes)) for codes in bins]
    bands = policy.journeys[journey].bands
    return Scores(
        journey,
        LOW,
        BIN,
        tuple(good for good, _, _ in known),
        tuple(fraud for _, fraud, _ in known),
        tuple(every - good - fraud for good, fraud, every in known),
        {tier.name: edge for tier, edge in zip(bands.tiers[1:], bands.edges, strict=True)},
    )
