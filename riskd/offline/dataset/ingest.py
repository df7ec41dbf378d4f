"""Converts finished segments to Parquet files: one for each table, date and bucket."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial, reduce
from operator import attrgetter
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from riskd.adapters.decision_log import Erasure, FileLogArchive, finished, plain_name
from riskd.core.history import DAY
from riskd.core.record import AssessmentRecord, OutcomeRecord, Record, SecurityEventRecord, skipped_as, written
from riskd.core.stored import PLACE
from riskd.counts import Counts
from riskd.offline.buckets import bucket_of
from riskd.offline.dataset.manifest import TABLES, Part
from riskd.offline.dataset.tables import WHOSE, Origin, assessment_table, plain_table
from riskd.offline.dataset.target import Target
from riskd.rebuild.order import records
from riskd.wording import date

CHUNK: Final = 4096
"""How many lines are decoded before they become columns."""
FLUSH: Final = 50_000
"""How many assessments are held as columns: about 150 MB, and as much again while they are sorted."""
_TABLE: Final[dict[type[Record], str]] = {
    AssessmentRecord: "assessments",
    OutcomeRecord: "outcomes",
    SecurityEventRecord: "events",
}


class Taken(Struct, frozen=True, kw_only=True):
    """The result for some segments: new files that no manifest names yet, the segments they contain, those of them
    with unreadable lines, and lines by kind."""

    parts: tuple[Part, ...]
    segments: tuple[str, ...]
    unreadable: tuple[str, ...]
    counts: Counts


def take_in(target: Target, archive: FileLogArchive, paths: Sequence[Path], buckets: int) -> Taken:
    """Write the lines of these segments that are not erased. Segments that are still being written are skipped.

    Raises InvalidFile, OSError, EOFError, zlib.error.
    """
    taking = _Taking(target, buckets)
    names, unreadable = [], []
    for path in paths:
        with suppress(FileNotFoundError), finished(path) as ours:
            if ours:
                before = taking.counts["unreadable"]
                taking.read(archive, path)
                names.append(plain_name(path))
                unreadable += names[-1:] if taking.counts["unreadable"] > before else []
    parts = tuple(taking.done())
    return Taken(parts=parts, segments=tuple(names), unreadable=tuple(unreadable), counts=taking.counts)


class _Taking:
    """Lines on their way to files: by table, first as records, then as columns."""

    def __init__(self, target: Target, buckets: int) -> None:
        self.counts = Counts()
        self._target = target
        self._buckets = buckets
        self._lines: dict[str, list[tuple[Record, Origin]]] = {table: [] for table in TABLES}
        self._chunks: dict[str, list[pa.Table]] = {table: [] for table in TABLES}
        self._parts: list[Part] = []

    def read(self, archive: FileLogArchive, path: Path) -> None:
        """Read one segment into columns."""
        latest, name = 0.0, plain_name(path)
        for row, line, record in records(archive, path, self.counts):
            latest = max(latest, written(record))
            table = _TABLE.get(type(record))
            if table is None:
                self.counts[skipped_as(record)] += 1
                continue
            self._lines[table].append((record, Origin(latest, name, row, line)))
            if len(self._lines["assessments"]) == CHUNK:
                self._chunk()
        self._chunk()

    def done(self) -> list[Part]:
        """Write what is left. Returns every file that was written."""
        self._flush()
        return self._parts

    def _chunk(self) -> None:
        for table, lines in self._lines.items():
            if lines:
                rows, origins = zip(*lines, strict=True)
                columns = assessment_table if table == "assessments" else partial(plain_table, table)
                self._chunks[table].append(columns(rows, origins))
                self.counts[table] += len(lines)
                lines.clear()
        if sum(chunk.num_rows for chunk in self._chunks["assessments"]) >= FLUSH:
            self._flush()

    def _flush(self) -> None:
        for table, chunks in self._chunks.items():
            if chunks:
                self._parts += spread(self._target, table, pa.concat_tables(chunks), WHOSE[table], self._buckets)
                chunks.clear()


def spread(target: Target, table: str, rows: pa.Table, name: str, buckets: int) -> list[Part]:
    """Write rows to files by date of writing and bucket, in the order of the log. `name`: the column that names the
    subject."""
    days = (np.asarray(rows["written"]) // DAY).astype(np.int64)
    numbers = np.array([bucket_of(one, buckets) for one in rows[name].to_pylist()], dtype=np.int64)
    order = np.lexsort((np.asarray(rows["written"]), numbers, days))
    days, numbers, rows = days[order], numbers[order], rows.take(pa.array(order))
    edges = np.flatnonzero((np.diff(days) != 0) | (np.diff(numbers) != 0)) + 1
    parts = []
    for begin, end in zip([0, *edges.tolist()], [*edges.tolist(), len(days)], strict=True):
        day = date(int(days[begin]) * DAY)
        parts.append(put(target, table, day, int(numbers[begin]), rows.slice(begin, end - begin)))
    return parts


def put(target: Target, table: str, date: str, bucket: int, rows: pa.Table) -> Part:
    """Write one file with these rows."""
    path = f"{table}/date={date}/bucket={bucket:02d}/{secrets.token_hex(8)}.parquet"
    target.write(path, rows)
    first = rows.select(["domain", "written"]).group_by("domain").aggregate([("written", "min")])
    earliest = dict(zip(first["domain"].to_pylist(), first["written_min"].to_pylist(), strict=True))
    return Part(path=path, table=table, date=date, bucket=bucket, rows=rows.num_rows, first=earliest)


def stays(rows: pa.Table, gone: Sequence[Erasure], name: str, cutoffs: dict[str, float]) -> pa.Array:
    """A mask of the rows to keep.

    Removed are rows of the erasures `gone`, and rows written before the cutoff of their identity domain. `name`: the
    column that names the subject.
    """
    subjects = {entry.place: entry.asked for entry in sorted(gone, key=_asked) if not entry.tenant}
    tenants = {entry.tenant: entry.asked for entry in sorted(gone, key=_asked) if entry.tenant}
    places = pc.utf8_slice_codeunits(rows[name], 0, 2 * PLACE)
    old = [_before(rows, *by) for by in ((places, subjects), (rows["tenant"], tenants), (rows["domain"], cutoffs))]
    return pc.invert(reduce(pc.or_, old))


_asked: Final = attrgetter("asked")


def _before(rows: pa.Table, values: pa.ChunkedArray, times: Mapping[str, float]) -> pa.ChunkedArray:
    """A mask of the rows whose value has a time, and which were written before it. It takes as long for thousands of
    values as for one."""
    at = pc.index_in(values, pa.array(list(times), pa.string()))
    time = pc.take(pa.array(list(times.values()), pa.float64()), at)
    return pc.fill_null(pc.less(rows["written"], time), fill_value=False)
