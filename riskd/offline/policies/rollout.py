"""Compares the two releases of a rollout on a decision log: what each required, and what came of it.

The subjects of the candidate are drawn at random, so a difference between the shares is the release's or chance. All
shares are of all decisions of a release: of the challenged ones only, they would be of different attempts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from riskd.adapters.decision_log import read_segment, record_of
from riskd.core.activation import Activation
from riskd.core.lineup import ACTIVE, CANDIDATE
from riskd.core.record import AssessmentRecord, decode
from riskd.core.requirement import Tier
from riskd.counts import Counts
from riskd.offline.clusters import GROUPS, Cells, GroupCounts, added, design_effects, group, total
from riskd.offline.intervals import Share, share
from riskd.offline.labels import BIT
from riskd.offline.outcomes import Outcomes
from riskd.offline.policies.backtest import Backtest, Plan, passes
from riskd.progress import Begin

SIDES: Final = (ACTIVE, CANDIDATE)
TWICE: Final = 2
"""How many times as many attempts a candidate may challenge: as in the alert `RiskdRolloutStricter`."""
_OUTCOMES: Final = {
    "challenge passed": ("challenge_passed",),
    "challenge failed or abandoned": ("challenge_failed", "challenge_abandoned"),
    "sign-in abandoned": ("sign_in_abandoned",),
    "fraud confirmed": ("confirmed_fraud",),
}
CHALLENGED: Final = "challenged"
DEGRADED: Final = "degraded"
FEW: Final = {CHALLENGED: 30, DEGRADED: 10}
"""How many of them tell nothing yet: as in the alerts on rollouts."""
FIGURES: Final = (CHALLENGED, "denied", *_OUTCOMES, DEGRADED)
"""What is compared, as shares of the decisions whose credential was not wrong."""
_ALL: Final = "all"
_WRONG: Final = "wrong credential"
Key = tuple[str, str, str, str]
"""Identity domain, journey ('' for all), role and figure."""


class Rollout(Struct, frozen=True, kw_only=True):
    """Two releases that decided at the same time, and when: from `begin` on and before `end`, in epoch seconds."""

    active: str
    candidate: str
    percent: float
    begin: float
    end: float = math.inf

    def role(self, record: AssessmentRecord) -> str:
        """The role of the release that decided; '' if it is neither, or decided at another time."""
        if not self.begin <= record.time < self.end:
            return ""
        return {self.active: ACTIVE, self.candidate: CANDIDATE}.get(record.release, "")


class Pair(Struct, frozen=True, kw_only=True):
    """One figure of both releases, and the candidate's share less the active one's, with the interval of that."""

    name: str
    active: Share
    candidate: Share
    difference: float | None
    low: float
    high: float

    @property
    def surely(self) -> str:
        """`more` or `fewer`, if the interval of the difference excludes 0; else ''."""
        return "more" if self.low > 0 else "fewer" if self.high < 0 else ""


class DomainComparison(Struct, frozen=True, kw_only=True):
    """The figures of an identity domain, and the first of them by journey. `worse`: why the rollout should end."""

    domain: str
    figures: tuple[Pair, ...]
    journeys: tuple[Pair, ...]
    wrong_credential: Mapping[str, int]
    worse: tuple[str, ...]


class Comparison(Struct, frozen=True, kw_only=True):
    """A rollout as the log shows it. `counts`: lines of the log by what was done with them."""

    log: str
    rollout: Rollout
    counts: Mapping[str, int]
    domains: tuple[DomainComparison, ...]

    @property
    def should_end(self) -> bool:
        """Whether the rollout is still going on and is worse in some domain. One that has ended needs no end: a second
        rollback would restore what decided before."""
        return self.rollout.end == math.inf and any(domain.worse for domain in self.domains)


class Tally:
    """Counts of one part of a log, by account."""

    def __init__(self) -> None:
        self.cells: Cells[Key] = Cells()
        self.counts = Counts()

    def add(self, record: AssessmentRecord, role: str, kinds: int) -> None:
        """Count one decision. `kinds`: the bit set of its outcomes."""
        self.counts["decisions"] += 1
        places = (group(record.subject),)
        for journey in ("", record.journey):
            for name in _figures(record, kinds):
                self.cells.count((record.domain, journey, role, name), places)


def _figures(record: AssessmentRecord, kinds: int) -> Iterator[str]:
    """The figures that a decision counts in."""
    if record.wrong_credential:
        yield _WRONG
        return
    yield _ALL
    if record.challenged:
        yield CHALLENGED
        if record.tier == Tier.DENY.name:
            yield "denied"
    for name, outcomes in _OUTCOMES.items():
        if any(kinds & BIT[kind] for kind in outcomes):
            yield name
    if record.causes:
        yield DEGRADED


def latest(activations: Sequence[Activation]) -> Rollout | None:
    """The rollout of the present, else the last one; None if there was none.

    It begins with the share that it has: before, the draw was another. An activation in shadow changes nothing.
    """
    end = math.inf
    found: Rollout | None = None
    for each in reversed(activations):
        same = (each.release, each.candidate, each.percent)
        if found is not None:
            if same != (found.active, found.candidate, found.percent):
                break
            found = msgspec.structs.replace(found, begin=each.time)
        elif each.candidate:
            found = Rollout(
                active=each.release, candidate=each.candidate, percent=each.percent, begin=each.time, end=end
            )
        else:
            end = each.time
    return found


def compare(log: Path, rollout: Rollout, workers: int | None, begin: Begin) -> tuple[Comparison, Counts]:
    """Compare the releases of a rollout. Raises InvalidFile if there is no log, or a segment cannot be read."""
    whole = Tally()
    for part in passes(Backtest(log=log, policies=(), workers=workers, begin=begin), partial(_count, rollout)):
        whole.cells += part.cells
        whole.counts.add(part.counts)
    domains = dict.fromkeys(domain for domain, *_ in whole.cells)
    compared = tuple(_domain(domain, whole.cells) for domain in sorted(domains))
    counts = {name: count for name, count in sorted(whole.counts.items()) if count}
    return Comparison(log=str(log), rollout=rollout, counts=counts, domains=compared), whole.counts


def _count(rollout: Rollout, plan: Plan, path: Path) -> Tally:
    """The counts of one segment."""
    tally, outcomes = Tally(), _outcomes(plan.outcomes)
    names = rollout.active.encode(), rollout.candidate.encode()
    for line in read_segment(path):
        if not any(name in line for name in names):
            continue
        record = record_of(line, path, tally.counts, decode)
        if isinstance(record, AssessmentRecord) and (role := rollout.role(record)):
            tally.add(record, role, outcomes.kinds(record.id))
    return tally


@lru_cache(1)
def _outcomes(path: Path) -> Outcomes:
    """Opened once in each process."""
    return Outcomes(path)


def _domain(domain: str, cells: Cells[Key]) -> DomainComparison:
    journeys = sorted({journey for of, journey, *_ in cells if of == domain and journey})
    figures = tuple(_pair(cells, domain, "", name) for name in FIGURES)
    return DomainComparison(
        domain=domain,
        figures=figures,
        journeys=tuple(_pair(cells, domain, journey, CHALLENGED, journey) for journey in journeys),
        wrong_credential={role: total(_cell(cells, (domain, "", role, _WRONG))) for role in SIDES},
        worse=tuple(_worse({pair.name: pair for pair in figures})),
    )


def _worse(figures: Mapping[str, Pair]) -> Iterator[str]:
    challenged = figures[CHALLENGED]
    if challenged.candidate.hits > FEW[CHALLENGED] and challenged.candidate.low > TWICE * challenged.active.high:
        yield "the candidate challenges more than twice as many"
    if figures[DEGRADED].candidate.hits > FEW[DEGRADED] and figures[DEGRADED].surely == "more":
        yield "more of the candidate's answers are degraded"


def _pair(cells: Cells[Key], domain: str, journey: str, name: str, called: str = "") -> Pair:
    one, other = (
        share_by_account(_cell(cells, (domain, journey, role, name)), _cell(cells, (domain, journey, role, _ALL)))
        for role in SIDES
    )
    if one.share is None or other.share is None:
        return Pair(name=called or name, active=one, candidate=other, difference=None, low=-1.0, high=1.0)
    low, high = difference(one, other)
    return Pair(
        name=called or name, active=one, candidate=other, difference=other.share - one.share, low=low, high=high
    )


def difference(one: Share, other: Share) -> tuple[float, float]:
    """The interval of the other share less this one, from the intervals of both (Newcombe 1998, method 10)."""
    assert one.share is not None
    assert other.share is not None
    middle = other.share - one.share
    below = math.hypot(other.share - other.low, one.high - one.share)
    above = math.hypot(other.high - other.share, one.share - one.low)
    return middle - below, middle + above


def _cell(cells: Cells[Key], key: Key) -> GroupCounts:
    return added([cells[key]] if key in cells else [])


def share_by_account(hits: GroupCounts, whole: GroupCounts) -> Share:
    """A share with the interval of as many decisions as these are worth, by account. Accounts are what was drawn:
    networks and days are the same for both releases."""
    effect, _ = design_effects(np.stack([hits, whole - hits], axis=1)[:GROUPS])
    return share(total(hits), total(whole), effect=effect)
