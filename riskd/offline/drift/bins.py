"""Counts rows on the bins of a reference, and makes the reference itself."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from riskd.core.drift import Histogram, Reference
from riskd.core.forest import Forest
from riskd.offline.clusters import GROUPS, design_effects, group
from riskd.offline.drift.statistics import BinCounts
from riskd.offline.rows import log_odds_of

SCORE: Final = "score"
"""The name of the signal that is the model's log-odds."""
DAY: Final = 86_400.0
_QUANTILES: Final = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_DISTINCT: Final = 12
"""With at most this many distinct values, each value has a bin of its own."""


class Batch(Struct, frozen=True):
    """Some rows: times in epoch seconds, subjects, and features of shape (rows, features) with NaN for a missing
    one."""

    times: NDArray[np.float64]
    subjects: Sequence[str]
    vectors: NDArray[np.float64]

    def between(self, since: float, until: float = math.inf) -> Batch:
        """The rows from `since` on and before `until` (epoch seconds)."""
        at = np.flatnonzero((since <= self.times) & (self.times < until))
        return Batch(self.times[at], [self.subjects[row] for row in at.tolist()], self.vectors[at])


class Bins:
    """Counts of rows by signal and bin: by day, and by random group of subjects. Memory does not grow with the rows."""

    def __init__(self, cuts: Mapping[str, tuple[float, ...]], names: Sequence[str]) -> None:
        """`cuts`: the bin edges of each signal to count; `names`: the columns of the vectors."""
        self.cuts = dict(cuts)
        self.size = max((len(each) for each in self.cuts.values()), default=0) + 2
        self.days: dict[int, BinCounts] = {}
        self.groups: BinCounts = np.zeros((GROUPS, len(self.cuts), self.size), dtype=np.int64)
        self.rows = 0
        self.began, self.ended = math.inf, -math.inf
        self._columns = {name: column for column, name in enumerate(names)}

    def __iadd__(self, other: Bins) -> Bins:
        """Add the counts of others."""
        for day, counts in other.days.items():
            self.days[day] = self.days[day] + counts if day in self.days else counts
        self.groups += other.groups
        self.rows += other.rows
        self.began, self.ended = min(self.began, other.began), max(self.ended, other.ended)
        return self

    def add(self, batch: Batch, log_odds: NDArray[np.float64]) -> None:
        """Count rows, given the model's log-odds for them."""
        if not len(batch.times):
            return
        days, day = np.unique((batch.times // DAY).astype(np.int64), return_inverse=True)
        groups = np.array([group(subject) for subject in batch.subjects])
        by_day = np.zeros((len(days), len(self.cuts), self.size), dtype=np.int64)
        for row, (name, cuts) in enumerate(self.cuts.items()):
            values = log_odds if name == SCORE else batch.vectors[:, self._columns[name]]
            place = np.where(np.isnan(values), 0, np.searchsorted(cuts, values) + 1)
            by_day[:, row] = _counted(day, place, len(days), self.size)
            self.groups[:, row] += _counted(groups, place, GROUPS, self.size)
        for number, counts in zip(days.tolist(), by_day, strict=True):
            self.days[number] = self.days[number] + counts if number in self.days else counts
        self.rows += len(batch.times)
        self.began = min(self.began, float(batch.times.min()))
        self.ended = max(self.ended, float(batch.times.max()))

    def histograms(self) -> dict[str, Histogram]:
        """Each signal over all days, with its design effects."""
        histograms = {}
        for row, (name, cuts) in enumerate(self.cuts.items()):
            groups = self.groups[:, row, : len(cuts) + 2]
            mean, rms = design_effects(groups)
            counts = tuple(groups.sum(axis=0).tolist())
            histograms[name] = Histogram(cuts=cuts, counts=counts, effect=mean, effect_rms=rms)
        return histograms


def _counted(first: NDArray[np.int64], second: NDArray[np.int64], rows: int, columns: int) -> BinCounts:
    return np.bincount(first * columns + second, minlength=rows * columns).reshape(rows, columns)


def cuts_of(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Bin edges: between all values if they are few, else at quantiles, so that most bins are well filled."""
    known = values[~np.isnan(values)]
    distinct = np.unique(known)
    if len(distinct) <= _DISTINCT:
        return tuple(distinct[:-1].tolist())
    # The last bin is for values above the last cut, so the largest value is not a cut.
    cuts = np.unique(np.quantile(known, _QUANTILES, method="lower"))
    return tuple(cuts[cuts < distinct[-1]].tolist())


def reference(domain: str, names: Sequence[str], forest: Forest, batches: Iterable[Batch]) -> Reference:
    """The distribution of a training set's rows, and of the scores that `forest` gives them.

    `forest` takes vectors of `names`. All rows are held in memory, so pass a sample. Raises ValueError without rows.
    """
    filled = [batch for batch in batches if len(batch.times)]
    whole = Batch(
        times=np.concatenate([batch.times for batch in filled]),
        subjects=[subject for batch in filled for subject in batch.subjects],
        vectors=np.concatenate([batch.vectors for batch in filled]),
    )
    log_odds = log_odds_of(forest, whole.vectors)
    cuts = {name: cuts_of(whole.vectors[:, column]) for column, name in enumerate(names)}
    bins = Bins(cuts | {SCORE: cuts_of(log_odds)}, names)
    bins.add(whole, log_odds)
    features = bins.histograms()
    score = features.pop(SCORE)
    return Reference(domain=domain, rows=bins.rows, since=bins.began, until=bins.ended, features=features, score=score)


def bins_for(reference: Reference, names: Sequence[str]) -> Bins:
    """Empty counts on the bins of a reference, for those of its features that are among `names`."""
    known = set(names)
    cuts = {name: each.cuts for name, each in reference.features.items() if name in known}
    return Bins(cuts | {SCORE: reference.score.cuts}, names)


def thinned(batches: Iterable[Batch], most: int) -> Iterator[Batch]:
    """At most `most` rows, drawn by a hash of subject and time: the same rows however they are batched."""
    drawn: list[tuple[NDArray[np.uint32], Batch]] = []
    size = 0
    for batch in batches:
        drawn.append((_lots(batch), batch))
        size += len(batch.times)
        if size > 2 * most:
            drawn = [_fewest(drawn, most)]
            size = most
    if drawn:
        yield _fewest(drawn, most)[1]


def _lots(batch: Batch) -> NDArray[np.uint32]:
    pairs = zip(batch.subjects, batch.times.tolist(), strict=True)
    return np.array([zlib.crc32(f"{subject} {moment}".encode()) for subject, moment in pairs], dtype=np.uint32)


def _fewest(drawn: Sequence[tuple[NDArray[np.uint32], Batch]], most: int) -> tuple[NDArray[np.uint32], Batch]:
    lots = np.concatenate([lots for lots, _ in drawn])
    chosen = np.sort(np.argsort(lots, kind="stable")[:most])
    subjects = [subject for _, batch in drawn for subject in batch.subjects]
    times, vectors = (
        np.concatenate([getattr(batch, name) for _, batch in drawn])[chosen] for name in ("times", "vectors")
    )
    return lots[chosen], Batch(times, [subjects[at] for at in chosen.tolist()], vectors)
