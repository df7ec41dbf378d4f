"""What each signal is worth: recorded decisions, decided again as if nobody had ever been asked for it.

Data that decide nothing are not to be collected (GDPR Art. 5(1)(c)). A feature is missing when one of its sources is,
so a vector says what it would have been without a signal; the model scores that, and the policy decides. Two features
count over several signals (`TOLD_TOGETHER`): without some of them they stay as they are, without all they are missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from math import isnan, nan
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.model_file import load_model
from riskd.core.context import SOURCES, Missing
from riskd.core.features import DEFINITIONS, FEATURES, NAMES
from riskd.core.features.presence import SAID
from riskd.core.forest import Forest
from riskd.core.policy import Policy
from riskd.core.record import AssessmentRecord
from riskd.core.signals import PURPOSE
from riskd.offline.policies.backtest import Plan, decisions_of, ready
from riskd.offline.policies.replay import replay
from riskd.offline.policies.report import Side, group
from riskd.offline.policies.tally import STATES, Tally, state

COLLECTED: Final = tuple(source for source in SOURCES if source in (*PURPOSE, "agent", "rtt"))
"""What a caller may do without asking for; the rest is the attempt itself, or riskd's own."""
SETS: Final[Mapping[str, frozenset[str]]] = {
    **{source: frozenset((source,)) for source in COLLECTED},
    "all of device": frozenset(source for source, purpose in PURPOSE.items() if purpose == "device"),
    "all of these": frozenset(COLLECTED),
}
"""What is left out together: each signal alone, and sets, since one signal may stand in for another."""
NOTICEABLE: Final = 0.1
"""Log-odds from which a signal has moved a score, as in `riskd_signal_mattered_timestamp_seconds`."""
_COLUMNS: Final = {
    source: tuple(column for column, feature in enumerate(FEATURES) if source in feature.sources)
    for source in COLLECTED
}
_MISSING: Final = tuple(None if isnan(feature.missing) else feature.missing for feature in FEATURES)
"""As lines of the log have them."""
_TABLES: Final = {"device_id": ("device",), "languages": ("language",), "agent": ("browser", "os")}
_FLAGS: Final = {
    source: tuple(NAMES.index(f"{table}_left_out") for table in _TABLES.get(source, (source,)) if table in SAID)
    for source in COLLECTED
}
"""Columns that say that a signal was left out; who is not asked for it leaves nothing out."""
TOLD_TOGETHER: Final = {
    "copied_device": frozenset(("device_id",)),
    "imitated_device": frozenset(("device_id", "fingerprint")),
}
"""Features that look at screen, browser and system, too, with the signals of which one has to be there."""
Models = tuple[tuple[str, Path], ...]
"""Identity domains, each with the directory of its model."""


class Worth(Struct, frozen=True, kw_only=True):
    """What one signal, or a set of them, is worth.

    `came`: decisions that had it, or one of the set; `moved`: those of them whose log-odds it moved. `stricter` and
    `laxer`: decisions whose tier would be so without it.
    """

    signal: str
    purpose: str
    came: int
    moved: int
    stricter: int
    laxer: int
    with_it: Side
    without_it: Side


class Worths(Struct, frozen=True, kw_only=True):
    """Of one identity domain. `decisions` are those decided again, `good` and `fraud` those of them that are known."""

    domain: str
    model: str
    decisions: int
    good: int
    fraud: int
    signals: tuple[Worth, ...]


class Weighed:
    """Counts that add up. The cells are those of a `Tally`, by domain and set: with it, and without it."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.cells: dict[tuple[str, str], Counter[int]] = {}
        self.came: Counter[tuple[str, str]] = Counter()
        self.moved: Counter[tuple[str, str]] = Counter()

    def __iadd__(self, other: Weighed) -> Weighed:
        """The counts of both."""
        self.tally += other.tally
        for key, cells in other.cells.items():
            self.cells.setdefault(key, Counter()).update(cells)
        self.came.update(other.came)
        self.moved.update(other.moved)
        return self


def weigh_segment(plan: Plan, path: Path, *, models: Models) -> Weighed:
    """Weigh the signals of the decisions of one segment."""
    policies, outcomes = ready(plan)
    forests, found = _loaded(models), Weighed()
    for record in decisions_of(path, plan.choice, found.tally):
        if record.domain in policies:
            _weigh(found, policies[record.domain], forests[record.domain], record, outcomes.label(record.id))
        else:
            found.tally.counts["other_domain"] += 1
    return found


@lru_cache(1)
def _loaded(models: Models) -> dict[str, Forest]:
    return {domain: load_model(path, DEFINITIONS, domain=domain) for domain, path in models}


def _weigh(found: Weighed, policy: Policy, forest: Forest, record: AssessmentRecord, label: int) -> None:
    tally = found.tally
    tally.counts["replayed"] += 1
    tally.first, tally.last = min(tally.first, record.time), max(tally.last, record.time)
    policy = policy.of(record.tenant)
    expected = policy.journeys[record.journey].postures
    decided = log_odds, before = _decided(policy, forest, record)
    absent = {gap.source for gap in record.facts.missing}
    for name, sources in SETS.items():
        imagined = without(record, sources)
        if imagined != record or not sources.isdisjoint(expected):
            other, after = _decided(_unasked(policy, record.journey, sources), forest, imagined)
        else:
            other, after = decided
        key = record.domain, name
        found.cells.setdefault(key, Counter())[(label * STATES + before) * STATES + after] += 1
        if not sources <= absent:
            found.came[key] += 1
            found.moved[key] += abs(other - log_odds) >= NOTICEABLE


def _decided(policy: Policy, forest: Forest, record: AssessmentRecord) -> tuple[float, int]:
    """Log-odds and state of a decision, by this model."""
    vector = [nan if value is None else value for value in record.vector]
    log_odds, score = forest.score(vector)
    ruling = replay(policy, replace(record, score=score)).ruling
    return log_odds, state(ruling.tier, satisfied=ruling.requirement.satisfied)


def without(record: AssessmentRecord, sources: frozenset[str]) -> AssessmentRecord:
    """The decision's vector and facts had nobody ever been asked for these; its score is as it was."""
    vector = list(record.vector)
    for source in sources:
        for column in _COLUMNS[source]:
            vector[column] = _MISSING[column]
        for flag in _FLAGS[source]:
            vector[flag] = None if vector[flag] is None else 0.0
    for name, needed in TOLD_TOGETHER.items():
        if needed <= sources:
            vector[NAMES.index(name)] = None
    facts = record.facts
    absent = {gap.source for gap in facts.missing}
    gaps = tuple(Missing(source, "not_sent") for source in COLLECTED if source in sources - absent)
    agent = None if "agent" in sources else facts.agent
    return replace(record, vector=tuple(vector), facts=replace(facts, agent=agent, missing=(*facts.missing, *gaps)))


def _unasked(policy: Policy, name: str, sources: frozenset[str]) -> Policy:
    """The policy that does not expect these on a journey."""
    journey = policy.journeys[name]
    expected = {source: tier for source, tier in journey.postures.items() if source not in sources}
    return replace(policy, journeys={**policy.journeys, name: replace(journey, postures=expected)}, tenants={})


def worths(found: Weighed, domain: str, model: str) -> Worths:
    """All figures of a domain, a signal a row."""
    groups = {name: group(name, found.cells.get((domain, name), {})) for name in SETS}
    whole = groups["all of these"]
    return Worths(
        domain=domain,
        model=model,
        decisions=whole.decisions,
        good=whole.good,
        fraud=whole.fraud,
        signals=tuple(
            Worth(
                signal=name,
                purpose=PURPOSE.get(name, "security") if name in COLLECTED else "",
                came=found.came[domain, name],
                moved=found.moved[domain, name],
                stricter=each.stricter,
                laxer=each.laxer,
                with_it=each.recorded,
                without_it=each.candidate,
            )
            for name, each in groups.items()
        ),
    )
