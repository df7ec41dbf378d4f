"""Finished segments into Parquet files, one for each table, date and bucket."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import gmtime, strftime
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from riskd.adapters.decision_log import PACKED, FileLogArchive, finished
from riskd.core.record import AssessmentRecord, OutcomeRecord, RepeatRecord, decode
from riskd.offline.buckets import bucket
from riskd.offline.dataset.manifest import Part
from riskd.offline.dataset.tables import assessed, told
from riskd.offline.dataset.target import Target

CHUNK: Final = 4096
"""Lines that are objects at a time."""
FLUSH: Final = 100_000
"""Assessments that are columns in memory at a time: some 150 MB."""
DAY: Final = 86_400


class Taken(Struct, frozen=True, kw_only=True):
    """What became of some segments: files that nobody names yet, the segments that are in them whole, and lines by
    kind."""

    parts: tuple[Part, ...]
    segments: tuple[str, ...]
    counts: dict[str, int]


def take_in(target: Target, archive: FileLogArchive, paths: Sequence[Path], buckets: int) -> Taken:
    """Write the lines of these segments that are not to be erased; those that are still being written are passed over.

    Raises InvalidFile, OSError, EOFError, zlib.error.
    """
    taking = _Taking(target, buckets)
    names = []
    for path in paths:
        with suppress(FileNotFoundError), finished(path) as ours:
            if ours:
                taking.read(archive, path)
                names.append(name_of(path))
    return Taken(parts=tuple(taking.done()), segments=tuple(names), counts=dict(taking.counts))


def name_of(path: Path) -> str:
    """A segment's name, packed or not."""
    return path.name.removesuffix(PACKED)


class _Taking:
    def __init__(self, target: Target, buckets: int) -> None:
        self.counts = Counter[str]()
        self._target = target
        self._buckets = buckets
        self._records: list[AssessmentRecord] = []
        self._lines: list[bytes] = []
        self._outcomes: list[OutcomeRecord] = []
        self._chunks: list[pa.Table] = []
        self._told: list[pa.Table] = []
        self._rows = 0
        self._parts: list[Part] = []

    def read(self, archive: FileLogArchive, path: Path) -> None:
        """One segment, as columns."""
        for line in archive.lines(path):
            try:
                record = decode(line)
            except msgspec.DecodeError:
                self.counts["unreadable"] += 1
                continue
            if isinstance(record, AssessmentRecord | OutcomeRecord) and not _ID.fullmatch(_named(record)):
                self.counts["unreadable"] += 1
            elif isinstance(record, AssessmentRecord):
                self._records.append(record)
                self._lines.append(line)
                if len(self._records) == CHUNK:
                    self._chunk()
            elif isinstance(record, OutcomeRecord):
                self._outcomes.append(record)
            else:
                self.counts["repeats" if isinstance(record, RepeatRecord) else "shadow"] += 1
        self._chunk()

    def done(self) -> list[Part]:
        """Every file written."""
        self._flush()
        return self._parts

    def _chunk(self) -> None:
        if self._records:
            self._chunks.append(assessed(self._records, self._lines))
            self._rows += len(self._records)
            self.counts["assessments"] += len(self._records)
            self._records, self._lines = [], []
        if self._outcomes:
            self._told.append(told(self._outcomes))
            self.counts["outcomes"] += len(self._outcomes)
            self._outcomes = []
        if self._rows >= FLUSH:
            self._flush()

    def _flush(self) -> None:
        for table, chunks, name in (("assessments", self._chunks, "id"), ("outcomes", self._told, "assessment_id")):
            if chunks:
                self._parts += written(self._target, table, pa.concat_tables(chunks), name, self._buckets)
        self._chunks, self._told, self._rows = [], [], 0


def _named(record: AssessmentRecord | OutcomeRecord) -> str:
    return record.id if isinstance(record, AssessmentRecord) else record.assessment_id


_ID: Final = re.compile("[0-9a-f]{32}")


def written(target: Target, table: str, rows: pa.Table, name: str, buckets: int) -> list[Part]:
    """Rows in files by date of writing and bucket, in order of writing. `name`: the column that says whose they are."""
    days = (np.asarray(rows["written"]) // DAY).astype(np.int64)
    shares = np.array([bucket(one, buckets) for one in rows[name].to_pylist()], dtype=np.int64)
    order = np.lexsort((np.asarray(rows["written"]), shares, days))
    days, shares, rows = days[order], shares[order], rows.take(pa.array(order))
    edges = np.flatnonzero((np.diff(days) != 0) | (np.diff(shares) != 0)) + 1
    parts = []
    for begin, end in zip([0, *edges.tolist()], [*edges.tolist(), len(days)], strict=True):
        date = strftime("%Y-%m-%d", gmtime(int(days[begin]) * DAY))
        parts.append(put(target, table, date, int(shares[begin]), rows.slice(begin, end - begin)))
    return parts


def put(target: Target, table: str, date: str, share: int, rows: pa.Table) -> Part:
    """One file of these rows."""
    path = f"{table}/date={date}/bucket={share:02d}/{secrets.token_hex(8)}.parquet"
    target.write(path, rows)
    first = rows.select(["domain", "written"]).group_by("domain").aggregate([("written", "min")])
    earliest = dict(zip(first["domain"].to_pylist(), first["written_min"].to_pylist(), strict=True))
    return Part(path=path, table=table, date=date, bucket=share, rows=rows.num_rows, first=earliest)


def without(rows: pa.Table, gone: Sequence[tuple[str, float]], name: str, cutoffs: dict[str, float]) -> pa.Table:
    """Rows but those of `gone`, the beginnings of pseudonyms with the time before which they were written, and those
    written before the cutoff of their identity domain."""
    goes = pa.array(np.zeros(rows.num_rows, dtype=np.bool_))
    for place, asked in gone:
        goes = pc.or_(goes, pc.and_(pc.starts_with(rows[name], place), pc.less(rows["written"], asked)))
    for domain, cutoff in cutoffs.items():
        goes = pc.or_(goes, pc.and_(pc.equal(rows["domain"], domain), pc.less(rows["written"], cutoff)))
    return rows.filter(pc.invert(goes))
