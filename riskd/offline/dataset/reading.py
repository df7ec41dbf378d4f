"""Reads a dataset into rows: assessments of one identity domain in order of time, joined with their outcomes."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from msgspec import Struct
from numpy.typing import NDArray

from riskd.core.features import NAMES
from riskd.core.record import HistoryRecord, decode
from riskd.counts import Counts
from riskd.offline.columns import Ids, labels_by_id, order_of, truth_by_id
from riskd.offline.dataset.manifest import Manifest, required
from riskd.offline.dataset.tables import ORIGIN, schema
from riskd.offline.dataset.target import Target
from riskd.offline.rows import FRAUD, GOOD, HONEST, Rows
from riskd.progress import Begin, Progress, ignore_progress
from riskd.rebuild.order import Line

STREAM: Final = 1024
"""Rows per read of each file of one date, while lines are merged."""
BATCH: Final = 32_768
"""Rows per read: with 86 features they take 23 MB."""


class Wanted(Struct, frozen=True, kw_only=True):
    """Which rows: attempts from `since` on and before `until`, with what was known at `as_of` (epoch seconds).

    `truth`: the file of a simulation; `by_truth`: take labels from it, known at once, instead of from outcomes.
    """

    domain: str
    since: float = -math.inf
    until: float = math.inf
    as_of: float = math.inf
    truth: Path | None = None
    by_truth: bool = False


def read_rows(
    target: Target,
    wanted: Wanted,
    names: Sequence[str] = NAMES,
    *,
    counts: Counts | None = None,
    begin: Begin = ignore_progress,
) -> Rows:
    """The rows of a dataset with these features, sorted by time and id.

    A feature without a column in a file is NaN there. Rows with another feature schema are left out, and counted in
    `counts` as `other_features`; `riskd replay` computes these features for them. With `as_of`, later attempts and
    outcomes do not count, and labels are those of that time. Besides the result, it needs memory for some batches.
    Raises InvalidFile.
    """
    with target.readable():
        manifest = required(target)
        if counts is not None:
            others = (ds.field("domain") == wanted.domain) & ~ds.field("has_features") & _during(wanted)
            counts["other_features"] += table(target, manifest, "assessments").count_rows(filter=others)
        return _rows(target, manifest, wanted, names, begin)


def _rows(target: Target, manifest: Manifest, wanted: Wanted, names: Sequence[str], begin: Begin) -> Rows:
    assessments = table(target, manifest, "assessments")
    chosen = (ds.field("domain") == wanted.domain) & ds.field("has_features") & _during(wanted)
    about = assessments.to_table(columns=["id", "time"], filter=chosen)
    ids, times = _ids(about["id"]), about["time"].to_numpy()
    order = order_of(ids, times)
    total = len(order)
    place = np.full(len(ids), -1, dtype=np.int64)
    place[order] = np.arange(total)
    subjects, journeys = np.empty(total, dtype="S34"), np.empty(total, dtype="U14")
    vectors = np.empty((total, len(names)))
    at, done = 0, begin("reading", len(ids))
    for batch, block in with_vectors(assessments, ("subject", "journey"), chosen, names):
        rows = place[at : at + batch.num_rows]
        at += batch.num_rows
        mine = rows >= 0
        rows = rows[mine]
        subjects[rows] = _ids(batch["subject"])[mine]
        journeys[rows] = batch["journey"].to_numpy(zero_copy_only=False)[mine]
        vectors[rows] = block[mine]
        done(batch.num_rows)
    ids, times = ids[order], times[order]
    attacks, segments = truth_by_id(wanted.truth, ids)
    if wanted.by_truth:
        labels, known = np.where(attacks == HONEST, GOOD, FRAUD).astype(np.int8), times.copy()
    else:
        labels, known = _labels(target, manifest, wanted, ids)
    return Rows(
        names=tuple(names),
        ids=ids.astype(np.str_),
        subjects=subjects.astype(np.str_),
        times=times,
        journeys=journeys,
        vectors=vectors,
        labels=labels,
        known=known,
        attacks=attacks,
        segments=segments,
    )


def with_vectors(
    assessments: ds.Dataset, columns: Sequence[str], chosen: ds.Expression, names: Sequence[str] = NAMES
) -> Iterator[tuple[pa.RecordBatch, NDArray[np.float64]]]:
    """The chosen assessments in batches with these columns, and the vectors of these features: NaN for a feature that
    has no column."""
    known = {name: column for column, name in enumerate(names) if name in assessments.schema.names}
    for batch in assessments.to_batches(
        columns=[*columns, *known], filter=chosen, batch_size=BATCH, batch_readahead=2, fragment_readahead=1
    ):
        vectors = np.full((batch.num_rows, len(names)), math.nan)
        for name, column in known.items():
            vectors[:, column] = batch[name].to_numpy(zero_copy_only=False)
        yield batch, vectors


def table(target: Target, manifest: Manifest, name: str) -> ds.Dataset:
    """All files of a table as one Arrow dataset; features that a file lacks are null there."""
    paths = [part.path for part in manifest.of(name)]
    columns = schema(name, manifest.features)
    if not paths:
        return ds.dataset(columns.empty_table())
    return ds.dataset(paths, schema=columns, format="parquet", filesystem=target.files)


class DatasetReader(Struct, frozen=True):
    """A `LogReader` that reads a dataset, given by its name."""

    target: str

    def size(self) -> int:
        """Number of rows."""
        return sum(part.rows for part in required(Target.open(self.target)).parts)

    def lines(self, counts: Counts, progress: Progress) -> Iterator[Line]:
        """See `LogReader`."""
        return in_order(Target.open(self.target), counts, progress)


def in_order(target: Target, counts: Counts, progress: Progress) -> Iterator[Line]:
    """Every line of a dataset in the order of the log, as bytes and as a record with an empty vector.

    `progress` is called with the number of rows done. Takes memory for a thousand rows of each file of one date. Raises
    InvalidFile.
    """
    by_date: dict[str, list[str]] = defaultdict(list)
    for part in required(target).parts:
        by_date[part.date].append(part.path)
    for _, paths in sorted(by_date.items()):
        for _, segment, row, line in heapq.merge(*[_streamed(target, path, progress) for path in sorted(paths)]):
            text = line.encode()
            try:
                record = decode(text)
            except msgspec.DecodeError as error:  # of a riskd that took in more
                counts.damaged(error, f"{target.name}, {segment}", row + 1)
                continue
            if isinstance(record, HistoryRecord):
                yield text, record
            else:
                counts["unreadable"] += 1


def _streamed(target: Target, path: str, progress: Progress) -> Iterator[tuple[float, str, int, str]]:
    for batch in target.batches(path, ORIGIN.names, STREAM):
        yield from zip(*[batch[name].to_pylist() for name in ORIGIN.names], strict=True)
        progress(batch.num_rows)


def _during(wanted: Wanted) -> ds.Expression:
    time = ds.field("time")
    return (time >= wanted.since) & (time < min(wanted.until, math.nextafter(wanted.as_of, math.inf)))


def _ids(column: pa.ChunkedArray | pa.Array) -> Ids:
    return np.asarray(pc.cast(column, pa.binary()).to_numpy(zero_copy_only=False), dtype=np.bytes_)


def _labels(
    target: Target, manifest: Manifest, wanted: Wanted, ids: Ids
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    reported = table(target, manifest, "outcomes").to_table(
        columns=["assessment_id", "time", "kind"],
        filter=(ds.field("domain") == wanted.domain) & (ds.field("time") <= wanted.as_of),
    )
    kinds = reported["kind"].to_numpy(zero_copy_only=False).astype(np.str_)
    return labels_by_id(ids, _ids(reported["assessment_id"]), reported["time"].to_numpy(), kinds)
