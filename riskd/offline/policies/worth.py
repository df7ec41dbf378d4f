"""Measures what each signal is worth, by deciding recorded decisions again without it.

Data that decide nothing should not be collected (GDPR Art. 5(1)(c)). A feature is missing when one of its sources is,
so the vector without a signal is known; the model scores it, and the policy decides. Two features read several signals
(`TOLD_TOGETHER`): they stay as they are without some of them, and are missing without all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from riskd.core.context import SOURCES, Missing
from riskd.core.features import FEATURES, NAMES
from riskd.core.features.presence import VOLUNTARY
from riskd.core.forest import Forest
from riskd.core.policy import Policy
from riskd.core.record import AssessmentRecord
from riskd.core.signals import PURPOSE
from riskd.offline.clusters import Cells, groups
from riskd.offline.policies.backtest import Plan, decisions_of, loaded, ready, scored
from riskd.offline.policies.redecide import redecide
from riskd.offline.policies.report import Side, group
from riskd.offline.policies.tally import Tally, code_of, counted_as, state

COLLECTED: Final = tuple(source for source in SOURCES if source in (*PURPOSE, "agent", "rtt"))
"""Signals that a caller may choose not to collect. All others are the attempt itself, or riskd's own."""
SETS: Final[Mapping[str, frozenset[str]]] = {
    **{source: frozenset((source,)) for source in COLLECTED},
    "all of device": frozenset(source for source, purpose in PURPOSE.items() if purpose == "device"),
    "all of these": frozenset(COLLECTED),
}
"""What is left out together: each signal by itself, and sets, because signals may replace each other."""
NOTICEABLE: Final = 0.1
"""A signal has moved a score by at least this many log-odds, as in `riskd_signal_mattered_timestamp_seconds`."""
_COLUMNS: Final = {
    source: tuple(column for column, feature in enumerate(FEATURES) if source in feature.sources)
    for source in COLLECTED
}
_MISSING: Final = tuple(None if isnan(feature.missing) else feature.missing for feature in FEATURES)
"""The value of each feature when it is missing, as in the log."""
_TABLES: Final = {"device_id": ("device",), "languages": ("language",), "agent": ("browser", "os")}
_FLAGS: Final = {
    source: tuple(NAMES.index(f"{table}_left_out") for table in _TABLES.get(source, (source,)) if table in VOLUNTARY)
    for source in COLLECTED
}
"""Columns that flag a signal as left out. A person who is not asked for a signal leaves nothing out."""
TOLD_TOGETHER: Final = {
    "copied_device": frozenset(("device_id",)),
    "imitated_device": frozenset(("device_id", "fingerprint")),
}
"""Features that also read screen, browser and system, with the signals of which at least one is needed."""


class Worth(Struct, frozen=True, kw_only=True):
    """The worth of one signal, or of a set of signals.

    `came`: decisions that had it, or one of the set; `moved`: those whose log-odds it moved. `stricter` and `laxer`:
    decisions whose tier would be stricter or laxer without it.
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
    """The worth of all signals in one identity domain.

    `good` and `fraud`: decisions of known outcome, without those whose credential was wrong.
    """

    domain: str
    model: str
    decisions: int
    good: int
    fraud: int
    wrong_credential: int
    signals: tuple[Worth, ...]


class Weighed:
    """Additive counts. Cells are as those of a `Tally`, by domain, set and code: recorded is with the set, candidate
    without it."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.cells: Cells[tuple[str, str, int]] = Cells()
        self.came: Counter[tuple[str, str]] = Counter()
        self.moved: Counter[tuple[str, str]] = Counter()

    def __iadd__(self, other: Weighed) -> Weighed:
        """Add the counts of another part."""
        self.tally += other.tally
        self.cells += other.cells
        self.came.update(other.came)
        self.moved.update(other.moved)
        return self


def weigh_segment(plan: Plan, path: Path) -> Weighed:
    """Weigh the signals in the decisions of one segment, by the plan's models."""
    (_, labels), forests, weighed = ready(plan), loaded(plan.models), Weighed()
    for policy, record in decisions_of(path, plan, weighed.tally):
        _weigh(weighed, policy, forests[record.domain], record, labels.label(record.id))
    return weighed


def _weigh(weighed: Weighed, policy: Policy, forest: Forest, record: AssessmentRecord, label: int) -> None:
    weighed.tally.replayed(record)
    label, policy = counted_as(record, label), policy.of(record.tenant)
    expected = policy.journeys[record.journey].postures
    before = _state(policy, record)
    absent, places = {gap.source for gap in record.facts.missing}, groups(record)
    for name, sources in SETS.items():
        imagined = without(record, sources)
        if imagined != record or not sources.isdisjoint(expected):
            imagined = scored(imagined, forest)
            after = _state(_unasked(policy, record.journey, sources), imagined)
        else:
            after = before
        weighed.cells.count((record.domain, name, code_of(label, before, after)), places)
        if not sources <= absent:
            weighed.came[record.domain, name] += 1
            weighed.moved[record.domain, name] += abs(imagined.log_odds - record.log_odds) >= NOTICEABLE


def _state(policy: Policy, record: AssessmentRecord) -> int:
    """The state of a decision by this policy."""
    ruling = redecide(policy, record).ruling
    return state(ruling.tier, satisfied=ruling.requirement.satisfied)


def without(record: AssessmentRecord, sources: frozenset[str]) -> AssessmentRecord:
    """The record as if nobody had been asked for these signals; the score is unchanged."""
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
    """The policy without the postures of these sources on a journey."""
    journey = policy.journeys[name]
    expected = {source: tier for source, tier in journey.postures.items() if source not in sources}
    return replace(policy, journeys={**policy.journeys, name: replace(journey, postures=expected)}, tenants={})


def worths(weighed: Weighed, domain: str, model: str) -> Worths:
    """The figures of a domain, one row per signal."""
    cells: dict[str, Cells[int]] = {name: Cells() for name in SETS}
    for (owner, name, code), cell in weighed.cells.items():
        if owner == domain:
            cells[name][code] = cell
    groups = {name: group(name, cells[name]) for name in SETS}
    whole = groups["all of these"]
    return Worths(
        domain=domain,
        model=model,
        decisions=whole.decisions,
        good=whole.good,
        fraud=whole.fraud,
        wrong_credential=whole.wrong_credential,
        signals=tuple(
            Worth(
                signal=name,
                purpose=PURPOSE.get(name, "security") if name in COLLECTED else "",
                came=weighed.came[domain, name],
                moved=weighed.moved[domain, name],
                stricter=each.stricter,
                laxer=each.laxer,
                with_it=each.recorded,
                without_it=each.candidate,
            )
            for name, each in groups.items()
        ),
    )
