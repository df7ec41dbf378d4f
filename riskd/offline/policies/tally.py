"""Counts decisions that were decided again: what was decided, what a candidate would decide, and what the outcome was.

Every count is a cell: identity domain, dimension, value of the dimension, and a code that combines the outcome, the
recorded state and the candidate's. All figures of the reports are sums of cells. So the tallies of segments can be
added, and a new figure needs no new counting. A cell counts by group, because decisions resemble each other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from riskd.core.context import Context
from riskd.core.decide import decide
from riskd.core.features import NAMES
from riskd.core.history import DAY
from riskd.core.policy import Policy
from riskd.core.record import AssessmentRecord
from riskd.core.requirement import Tier
from riskd.counts import Counts
from riskd.offline.clusters import Cells, groups
from riskd.offline.labels import LABELS
from riskd.offline.policies.redecide import Redecided

WRONG_CREDENTIAL: Final = len(LABELS)
"""The label in a tally of a decision whose credential was wrong. Nobody gets in with it, and nobody is challenged, so
it says nothing of a policy, whatever its outcome was."""
NAMED: Final = (*LABELS, "wrong credential")
"""The labels of a tally, by name."""
STATES: Final = 2 * len(Tier)
"""The number of states: a tier, and whether it is satisfied."""
EXAMPLES: Final = 3
"""How many examples are kept of each kind of move."""
TENANTS: Final = 1_000
"""How many tenants a part of a log distinguishes. A tenant that is too many anywhere counts as `OTHER` everywhere."""
OTHER: Final = "other"
BELOW: Final = -1.0
"""A score below every band, even one that begins at 0."""
BIN: Final = 0.25
"""Width of a bin of scores, in log-odds."""
BINS: Final = 48
LOW: Final = -9.0
"""Log-odds at which the first bin begins: a probability of 0.0001. The last one ends at 0.95."""
_NEW_DEVICE: Final = NAMES.index("new_device")
_DEPTH: Final = NAMES.index("history_depth")
_HOSTING: Final = NAMES.index("hosting")
_DEPTHS: Final = ((3.0, "below 3"), (10.0, "3 to 10"), (30.0, "10 to 30"), (math.inf, "30 and up"))
SEGMENTS: Final = (
    "class of attack", "country", "anonymizer", "hosting", "new device", "history", "device class", "tenant"
)  # fmt: skip
"""The dimensions by which reports show who is affected by a policy."""


class Example(Struct, frozen=True, kw_only=True):
    """A decision that the candidate would change. `why`: what sets the candidate's tier."""

    id: str
    time: float
    journey: str
    country: str
    score: float
    recorded: str
    candidate: str
    satisfied: bool
    why: tuple[str, ...]
    label: str


Move = tuple[str, str, str, str]
"""Domain, journey, recorded tier, candidate tier."""


class Tally:
    """Additive counts. `counts`: lines of the log by what was done with them."""

    def __init__(self) -> None:
        self.cells: Cells[tuple[str, str, str, int]] = Cells()
        self.pairs: Counter[tuple[str, str, str]] = Counter()
        self.counts = Counts()
        self.releases: Counter[tuple[str, str]] = Counter()
        self.examples: dict[Move, list[Example]] = {}
        self.first, self.last = math.inf, -math.inf
        self.others: set[str] = set()
        """Tenants of which some decisions are counted as `OTHER`."""
        self._tenants: set[str] = set()

    def __iadd__(self, other: Tally) -> Tally:
        """Add the counts of another part."""
        self.cells += other.cells
        self.pairs.update(other.pairs)
        self.counts.add(other.counts)
        self.releases.update(other.releases)
        for move, examples in other.examples.items():
            self.examples[move] = _fewest([*self.examples.get(move, ()), *examples])
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.others |= other.others
        return self

    def add(self, policy: Policy, record: AssessmentRecord, redecided: Redecided, label: int, attack: str = "") -> None:
        """Count one decision. `attack`: its class, '' if it is no attack or the class is unknown."""
        ruling, label = redecided.ruling, counted_as(record, label)
        after = state(ruling.tier, satisfied=ruling.requirement.satisfied)
        before = state(Tier[record.tier], satisfied=record.satisfied)
        code = code_of(label, before, after)
        domain, count, places = record.domain, self.cells.count, groups(record)
        for dimension, value in self._segments(record, redecided.context, attack):
            count((domain, dimension, value, code), places)
        causes = causes_of(policy, record.score, redecided)
        for cause in causes:
            count((domain, "cause", cause, code), places)
        if redecided.hits:
            self._rules(policy, record, redecided, code, places)
        if before != after:
            self._example(record, redecided, causes, NAMED[label])
        names = [hit.rule for hit in redecided.hits if not hit.shadow]
        self.counts["hits_differ"] += tuple(names) != record.hits
        self.releases[domain, record.release] += 1
        self.replayed(record)

    def replayed(self, record: AssessmentRecord) -> None:
        """Count a decision that was decided again."""
        self.counts["replayed"] += 1
        self.first, self.last = min(self.first, record.time), max(self.last, record.time)

    def _segments(self, record: AssessmentRecord, context: Context, attack: str) -> Iterator[tuple[str, str]]:
        facts, vector = record.facts, record.vector
        yield "all", ""
        yield "journey", record.journey
        yield "country", (facts.place.country if facts.place else "") or "unknown"
        yield "anonymizer", (facts.route.anonymizer or "none") if facts.route else "unknown"
        yield "hosting", _yes_no(vector[_HOSTING])
        yield "new device", _yes_no(vector[_NEW_DEVICE])
        yield "history", _depth(vector[_DEPTH], context)
        yield "device class", facts.agent.device_class if facts.agent else "unknown"
        yield "day", str(int(record.time // DAY))
        yield "score", f"{record.journey} {bin_of(record.score)}"
        if attack:
            yield "class of attack", attack
        if record.tenant:
            yield "tenant", self._tenant(record.tenant)

    def _tenant(self, tenant: str) -> str:
        if tenant in self._tenants:
            return tenant
        if len(self._tenants) >= TENANTS:
            self.others.add(tenant)
            return OTHER
        self._tenants.add(tenant)
        return tenant

    def _rules(
        self, policy: Policy, record: AssessmentRecord, redecided: Redecided, code: int, places: tuple[int, ...]
    ) -> None:
        """Count each hit, whether it is the only reason for the tier (for a shadow rule: would be), and pairs of
        hits."""
        hits, domain, count = redecided.hits, record.domain, self.cells.count
        acting = [hit for hit in hits if not hit.shadow]
        without = decide(policy, redecided.attempt, redecided.context, record.score, ()).tier if acting else None
        for hit in hits:
            count((domain, "rule", hit.rule, code), places)
            tier = redecided.ruling.tier if hit.shadow or without is None else without
            others = max([tier, *(other.tier for other in acting if other is not hit)])
            if hit.tier > others:
                count((domain, "alone", hit.rule, code), places)
        for at, hit in enumerate(hits):
            for other in hits[at + 1 :]:
                self.pairs[domain, hit.rule, other.rule] += 1

    def _example(self, record: AssessmentRecord, redecided: Redecided, why: Sequence[str], label: str) -> None:
        candidate = redecided.ruling.tier.name
        move = record.domain, record.journey, record.tier, candidate
        examples = self.examples.get(move, [])
        if len(examples) == EXAMPLES and _lot(record.id) >= _lot(examples[-1].id):
            return
        example = Example(
            id=record.id,
            time=record.time,
            journey=record.journey,
            country=record.facts.place.country if record.facts.place else "",
            score=record.score,
            recorded=record.tier,
            candidate=candidate,
            satisfied=redecided.ruling.requirement.satisfied,
            why=tuple(why),
            label=label,
        )
        self.examples[move] = _fewest([*examples, example])


def counted_as(record: AssessmentRecord, label: int) -> int:
    """The label by which a decision counts, given that of its outcomes or of the truth."""
    return WRONG_CREDENTIAL if record.wrong_credential else label


def state(tier: Tier, *, satisfied: bool) -> int:
    """A tier and whether it is satisfied, as one number below `STATES`."""
    return 2 * (tier - 1) + satisfied


def code_of(label: int, before: int, after: int) -> int:
    """A label, the recorded state and the candidate's as one number: the code of a cell."""
    return (label * STATES + before) * STATES + after


def before_of(code: int) -> int:
    """The recorded state in a cell's code."""
    return code // STATES % STATES


def after_of(code: int) -> int:
    """The candidate's state in a cell's code."""
    return code % STATES


def label_of(code: int) -> int:
    """The index in `NAMED` in a cell's code."""
    return code // (STATES * STATES)


def bin_of(score: float) -> int:
    """The bin of a score, in equal steps of log-odds. Scores beyond the range fall into the outermost bins."""
    odds = math.log(max(score, 1e-12) / max(1 - score, 1e-12))
    return min(max(int((odds - LOW) / BIN), 0), BINS - 1)


def causes_of(policy: Policy, score: float, redecided: Redecided) -> tuple[str, ...]:
    """Everything that would require the tier by itself; nothing if that is the floor."""
    if not redecided.ruling.raised:
        return ()
    policy = policy.of(redecided.attempt.tenant)
    tier, journey = redecided.ruling.tier, policy.journeys[redecided.attempt.journey]
    causes = [f"rule {hit.rule}" for hit in redecided.hits if not hit.shadow and hit.tier == tier]
    if journey.bands.at(score) == tier:
        causes.append("band")
    gaps = decide(policy, redecided.attempt, redecided.context, BELOW, ())
    if gaps.tier == tier:
        causes += [f"gap {reason.code}" for reason in gaps.reasons]
    return tuple(causes)


def _fewest(examples: Sequence[Example]) -> list[Example]:
    """The examples to keep. The choice does not depend on the order, because it is by a part of the id."""
    return sorted(examples, key=lambda example: _lot(example.id))[:EXAMPLES]


def _lot(assessment_id: str) -> str:
    """The second half of an id, which belongs to the request and is as good as random."""
    return assessment_id[16:]


def _yes_no(value: float | None) -> str:
    return "unknown" if value is None else "yes" if value else "no"


def _depth(value: float | None, context: Context) -> str:
    why = next((gap.why for gap in context.missing if gap.source == "history"), None)
    if why is not None:
        return "none yet" if why == "none_yet" else "unreadable"
    return next(name for edge, name in _DEPTHS if (value or 0.0) < edge)
