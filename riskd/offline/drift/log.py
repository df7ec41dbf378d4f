"""Counts the rows of a decision log or dataset in bounded memory; a log with several processes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from riskd.adapters.decision_log import decoded, readable, segments_of, size, size_of
from riskd.adapters.model_file import load_model
from riskd.core.bounds import Moment
from riskd.core.drift import Reference
from riskd.core.features import DEFINITIONS, NAMES
from riskd.core.forest import Forest
from riskd.core.record import AssessmentRecord, other_beginnings
from riskd.core.vocabulary import Domain
from riskd.counts import Counts
from riskd.offline.drift.bins import DAY, Batch, Bins, bins_for, thinned
from riskd.offline.logs import is_dataset
from riskd.offline.rows import log_odds_of
from riskd.offline.segments import crew, each_segment
from riskd.progress import Begin, ignore_progress

SAMPLE: Final = 100_000
"""How many rows a reference is made from."""
_ROWS: Final = 4096
_OTHERS: Final = other_beginnings(AssessmentRecord)


class _Assessed(Struct, frozen=True, tag_field="type", tag="assessment", gc=False):
    time: Moment
    domain: Domain
    subject: str
    vector: tuple[float | None, ...]


_DECODER: Final = msgspec.json.Decoder(_Assessed)


class Span(Struct, frozen=True, kw_only=True):
    """Which rows: of these identity domains, from `since` on and before `until` (epoch seconds)."""

    domains: tuple[str, ...]
    since: float = 0.0
    until: float = float("inf")


class Selection(Struct, frozen=True, kw_only=True):
    """Where rows come from: a decision log, a directory of `riskd simulate`, or a dataset (a directory or URL).

    `workers`: the number of processes that read a log.
    """

    log: str
    span: Span
    workers: int | None = None
    begin: Begin = ignore_progress


class Against(Struct, frozen=True):
    """What a domain's rows are compared with: a reference, and the bundle of the model whose scores count.

    Rows before `since` (epoch seconds) belong to the reference, and are not counted.
    """

    reference: Reference
    bundle: Path
    since: float = 0.0


class Counted(Struct, frozen=True):
    """The rows of a log by domain, and how many lines were left out, by reason."""

    bins: dict[str, Bins]
    left_out: Counts


def count(selection: Selection, against: Mapping[str, Against]) -> Counted:
    """Count the rows of each domain on the bins of its reference. Raises InvalidFile as `segments_of`, and
    InvalidModel."""
    total = Counted({domain: bins_for(each.reference, NAMES) for domain, each in against.items()}, Counts())
    if is_dataset(selection.log):
        for domain, batch in _stored(selection, "decisions", total.left_out):
            _add(total.bins[domain], batch, against[domain])
        return total
    paths = segments_of(Path(selection.log))
    with crew(selection.workers, paths) as pool:
        work = partial(_count_segment, selection.span, against)
        for part in each_segment(paths, work, pool, selection.begin("decisions", size(paths))):
            total.left_out.add(part.left_out)
            for domain, bins in part.bins.items():
                total.bins[domain] += bins
    return total


def sample(selection: Selection, most: int = SAMPLE) -> dict[str, Batch]:
    """At most `most` rows of each domain, drawn from the whole log. Raises InvalidFile as `segments_of`."""
    drawn: dict[str, list[Batch]] = {}
    for domain, batch in _stored(selection, "reference", Counts()) if is_dataset(selection.log) else _read(selection):
        parts = drawn.setdefault(domain, [])
        parts.append(batch)
        if sum(len(part.times) for part in parts) > 2 * most:
            parts[:] = thinned(parts, most)
    return {domain: next(thinned(parts, most)) for domain, parts in drawn.items()}


def _stored(selection: Selection, step: str, left_out: Counts) -> Iterator[tuple[str, Batch]]:
    from riskd.offline.drift import dataset  # noqa: PLC0415 - Arrow is an extra that logs do not need

    progress = selection.begin(step, dataset.rows(selection.log))
    span = selection.span
    yield from dataset.batches(selection.log, span.domains, span.since, span.until, progress, left_out=left_out)


def _read(selection: Selection) -> Iterator[tuple[str, Batch]]:
    paths, left_out = segments_of(Path(selection.log)), Counts()
    progress = selection.begin("reference", size(paths))
    for path, bytes_ in [(path, size_of(path)) for path in paths]:
        with readable(path):
            yield from batches(path, selection.span, left_out)
        progress(bytes_)


def batches(path: Path, span: Span, left_out: Counts) -> Iterator[tuple[str, Batch]]:
    """The rows of a segment, some thousands at a time. Other lines are counted by the reason why they are left out."""
    waiting: dict[str, list[_Assessed]] = {domain: [] for domain in span.domains}
    for row in decoded(path, left_out, _DECODER.decode, _OTHERS):
        if row.domain not in waiting:
            left_out["other_domain"] += 1
        elif not span.since <= row.time < span.until:
            left_out["not_chosen"] += 1
        elif len(row.vector) != len(NAMES):
            left_out["other_features"] += 1
        else:
            rows = waiting[row.domain]
            rows.append(row)
            if len(rows) == _ROWS:
                yield row.domain, _packed(rows)
                rows.clear()
    for domain, rows in waiting.items():
        if rows:
            yield domain, _packed(rows)


def _packed(rows: list[_Assessed]) -> Batch:
    return Batch(
        times=np.array([row.time for row in rows], dtype=np.float64),
        subjects=[row.subject for row in rows],
        vectors=np.array([row.vector for row in rows], dtype=np.float64),
    )


def _count_segment(span: Span, against: Mapping[str, Against], path: Path) -> Counted:
    counted = Counted({domain: bins_for(each.reference, NAMES) for domain, each in against.items()}, Counts())
    for domain, batch in batches(path, span, counted.left_out):
        _add(counted.bins[domain], batch, against[domain])
    return counted


def _add(bins: Bins, batch: Batch, against: Against) -> None:
    later = batch.between(against.since)
    bins.add(later, log_odds_of(forest(against.bundle), later.vectors))


def middle(rows: Collection[Batch]) -> float:
    """The time that halves the rows (epoch seconds). If they span several days, the nearest midnight (UTC).

    There must be at least one row.
    """
    times = np.sort(np.concatenate([batch.times for batch in rows]))
    half = float(times[len(times) // 2])
    midnight = round(half / DAY) * DAY
    return midnight if times[0] < midnight <= times[-1] else half


@lru_cache(8)
def forest(bundle: Path) -> Forest:
    """The model of a bundle, loaded once in each process. Raises InvalidModel."""
    return load_model(bundle, DEFINITIONS)
