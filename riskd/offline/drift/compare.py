"""Finds what has drifted between a reference and a log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from riskd.core.drift import Histogram, Reference, stability_index
from riskd.offline.drift.bins import DAY, SCORE, Bins
from riskd.offline.drift.statistics import BinCounts, chance_of, distance, holm, since

THRESHOLD: Final = 0.1
Origin = Literal["model", "log", "past"]
"""Where a reference comes from: the model's bundle, another log, or earlier rows of the same log."""


class Day(Struct, frozen=True):
    """One day (its first epoch second, UTC) of a signal."""

    time: float
    rows: int
    index: float
    missing: float


class Signal(Struct, frozen=True, kw_only=True):
    """A feature, or the score.

    `index` is over all rows; `noise` is its average without drift, and `chance` the probability that it is at least
    this large without drift. `since` is the first day (epoch seconds) of a significant shift, None if there is none.
    `shift` is the index of the rows from that day on, less its noise.
    """

    name: str
    index: float
    noise: float
    chance: float
    shift: float
    since: float | None
    distance: float
    missing_before: float
    missing_now: float
    drifted: bool
    before: Histogram
    now: tuple[int, ...]
    days: tuple[Day, ...]


class Drift(Struct, frozen=True, kw_only=True):
    """The signals of a domain, the most shifted first. `began`, `ended` and those of the reference are epoch
    seconds."""

    domain: str
    model: str
    rows: int
    reference: Origin
    reference_rows: int
    reference_began: float
    reference_ended: float
    began: float
    ended: float
    threshold: float
    signals: tuple[Signal, ...]

    @property
    def drifted(self) -> tuple[Signal, ...]:
        """The signals that have drifted."""
        return tuple(signal for signal in self.signals if signal.drifted)


def compare(
    reference: Reference, bins: Bins, model: str, threshold: float = THRESHOLD, origin: Origin = "model"
) -> Drift:
    """Compare a reference with counts on its bins, of at least one row."""
    before = reference.features | {SCORE: reference.score}
    now = bins.histograms()
    indices = {name: stability_index(before[name].counts, each.counts) for name, each in now.items()}
    chances = {name: chance_of(indices[name], before[name], each) for name, each in now.items()}
    surely = holm({name: chance for name, (_, chance) in chances.items()})
    signals = []
    for row, (name, whole) in enumerate(now.items()):
        days = [(day, counts[row, : len(whole.counts)]) for day, counts in sorted(bins.days.items())]
        begun = since(before[name].counts, days) if name in surely else None
        signals.append(_signal(name, before[name], whole, days, (indices[name], *chances[name], begun, threshold)))
    return Drift(
        domain=reference.domain,
        model=model,
        rows=bins.rows,
        reference=origin,
        reference_rows=reference.rows,
        reference_began=reference.since,
        reference_ended=reference.until,
        began=bins.began,
        ended=bins.ended,
        threshold=threshold,
        signals=tuple(sorted(signals, key=lambda signal: (not signal.drifted, -max(signal.index, signal.shift)))),
    )


def _signal(
    name: str,
    before: Histogram,
    now: Histogram,
    days: Sequence[tuple[int, BinCounts]],
    found: tuple[float, float, float, int | None, float],
) -> Signal:
    index, noise, chance, begun, threshold = found
    later = sum((counts for day, counts in days if begun is not None and day >= begun), 0 * days[0][1])
    rows = int(later.sum())
    # The noise of all rows, scaled up because these rows are fewer.
    shift = stability_index(before.counts, later.tolist()) - noise * sum(now.counts) / rows if rows else 0.0
    return Signal(
        name=name,
        index=index,
        noise=noise,
        chance=chance,
        shift=shift,
        since=None if begun is None else begun * DAY,
        distance=distance(before.counts, now.counts),
        missing_before=before.counts[0] / max(sum(before.counts), 1),
        missing_now=now.counts[0] / sum(now.counts),
        drifted=begun is not None and shift >= threshold,
        before=before,
        now=now.counts,
        days=tuple(_day(before, day, counts) for day, counts in days),
    )


def _day(before: Histogram, day: int, counts: BinCounts) -> Day:
    rows = int(counts.sum())
    index = stability_index(before.counts, counts.tolist())
    return Day(day * DAY, rows, index, float(counts[0]) / rows)
