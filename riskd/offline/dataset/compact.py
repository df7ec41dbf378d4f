"""Keeps a dataset up to date: new segments are added; erased and expired rows are removed.

Only files that the manifest names count. The manifest is replaced atomically: after its new files are on disk, and
before the files that it no longer names are deleted. If a run dies in between, it leaves files that nothing names,
which the next run deletes. So no line is duplicated, and none is lost.
"""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.decision_log import DATASET, Erasure, FileLogArchive, plain_name, readable, segments, size
from riskd.core.errors import InvalidFile, Problem
from riskd.core.features import NAMES
from riskd.counts import Counts
from riskd.host.files import sync
from riskd.host.locks import exclusive
from riskd.offline.buckets import bucket_of
from riskd.offline.dataset.ingest import FLUSH, Taken, put, stays, take_in
from riskd.offline.dataset.manifest import BUCKETS, TABLES, Manifest, Part, commit, line_format, read
from riskd.offline.dataset.tables import ORIGIN, WHOSE, schema
from riskd.offline.dataset.target import Target
from riskd.offline.segments import crew
from riskd.progress import Progress

GROUP: Final = 256 << 20
"""Segments are added in groups of about this many bytes."""
FEW: Final = 8
"""The most small files of one date and bucket; more are merged."""
FULL: Final = 2 * FLUSH
"""A file with so many rows is not small. Merged files have less than twice as many, which takes about a gigabyte."""
_ORDER: Final = [("written", "ascending"), ("segment", "ascending"), ("row", "ascending")]


class Filed(Struct, frozen=True, kw_only=True):
    """What a run did. `counts`: lines added, by kind; `gone`: rows removed; `rows`: rows in the dataset now.

    `first_unreadable`: where the first few unreadable lines are, and why.
    """

    segments: int
    counts: dict[str, int]
    first_unreadable: tuple[Problem, ...]
    gone: int
    rows: dict[str, int]
    files: int


class _Group(Struct, frozen=True):
    """Segments to add together, and their bytes."""

    paths: list[Path]
    size: int

    def __str__(self) -> str:
        return str(self.paths[0])


class Dataset:
    """A dataset and its log. One process at a time. `wiring.open_archive` makes the archive."""

    def __init__(self, target: Target, log: Path, archive: FileLogArchive, buckets: int = BUCKETS) -> None:
        """`buckets`: for a new dataset. Raises InvalidFile."""
        self._target = target
        self._log = log
        self._archive = archive
        self._new = Manifest(buckets=buckets, features=NAMES)
        self._manifest = read(target) or self._new
        self._counts = Counts()
        self._segments = 0

    def compact(
        self,
        keep: Mapping[str, float],
        progress: Progress,
        workers: int | None = 1,
        now: Callable[[], float] = time.time,
    ) -> Filed | None:
        """Add new segments, then remove rows: the erased ones, and those older than their domain's `keep` seconds.

        `progress` is called with the bytes of the log that are done. Returns None if another process is compacting.
        Raises InvalidFile; what was committed before stays.
        """
        with readable(self._log), exclusive(self._log / DATASET) as ours:
            return self._compacted(keep, progress, workers, now()) if ours else None

    def _compacted(self, keep: Mapping[str, float], progress: Progress, workers: int | None, now: float) -> Filed:
        self._archive.remember()
        self._manifest = self._ours(read(self._target) or self._new)
        self._clear()
        new = self._new_segments()
        with crew(workers, new) as readers:
            target = self._target.name if readers else self._target
            work = partial(_take_in, target, self._archive, self._manifest.buckets)
            for _, taken in readers.each(work, list(_groups(new)), progress):
                self._commit(taken)
        gone = self._let_go(keep, now)
        self._join()
        manifest = self._manifest
        return Filed(
            segments=self._segments,
            counts=dict(+self._counts),
            first_unreadable=self._counts.first,
            gone=gone,
            rows={table: sum(part.rows for part in manifest.of(table)) for table in TABLES},
            files=len(manifest.parts),
        )

    def _ours(self, manifest: Manifest) -> Manifest:
        """Check that the dataset belongs to this log. Another log's would take these segments as new at every run."""
        file = self._log / DATASET
        named = file.read_text(encoding="ascii", errors="replace")
        log = named or secrets.token_hex(8)
        if manifest.log not in ("", log):
            remedy = f"give each log its own directory; if that log was deleted, write {manifest.log} into {file}"
            raise InvalidFile([Problem(self._target.name, "holds the decisions of another log", remedy)])
        if not named:
            file.write_text(log, encoding="ascii")
            sync(file)
        return replace(manifest, log=log)

    def waiting(self) -> int:
        """Bytes of the segments that are not in the dataset yet."""
        return size(self._new_segments())

    def _new_segments(self) -> list[Path]:
        """Also those with lines that another version of riskd could not read: they are taken in again."""
        manifest, reads = self._manifest, line_format()
        known = {name for name in manifest.segments if manifest.unreadable.get(name, reads) == reads}
        return [path for path in segments(self._log) if plain_name(path) not in known]

    def _commit(self, taken: Taken) -> None:
        manifest = self._manifest
        there = {plain_name(path) for path in segments(self._log)}
        parts = self._without(set(taken.segments) & set(manifest.segments))
        unreadable = {name: read_by for name, read_by in manifest.unreadable.items() if name not in taken.segments}
        unreadable |= dict.fromkeys(taken.unreadable, line_format())
        self._counts.add(taken.counts)
        self._replace(
            replace(
                manifest,
                features=tuple(dict.fromkeys((*manifest.features, *NAMES))),
                segments=tuple(sorted(there & {*manifest.segments, *taken.segments})),
                unreadable={name: read_by for name, read_by in unreadable.items() if name in there},
                parts=(*parts, *taken.parts),
            )
        )
        self._segments += len(taken.segments)

    def _let_go(self, keep: Mapping[str, float], now: float) -> int:
        """Rewrite the files that contain rows to be removed, and no others. Returns how many rows were removed."""
        manifest, entries = self._manifest, self._archive.erased()
        named = {f"{entry.tenant or entry.place}@{entry.asked}": entry for entry in entries}
        fresh: dict[int, list[Erasure]] = defaultdict(list)
        for name, entry in named.items():
            buckets = range(manifest.buckets) if entry.tenant else [bucket_of(entry.place, manifest.buckets)]
            for bucket in () if name in manifest.erased else buckets:
                fresh[bucket].append(entry)
        cutoffs = {domain: now - seconds for domain, seconds in keep.items()}
        parts: list[Part] = []
        for part in manifest.parts:
            old = {domain: cutoff for domain, cutoff in cutoffs.items() if part.first.get(domain, now) < cutoff}
            gone = [entry for entry in fresh[part.bucket] if min(part.first.values()) < entry.asked]
            parts += self._rewritten(part, gone, old) if gone or old else [part]
        if parts != list(manifest.parts) or set(named) != set(manifest.erased):
            self._replace(replace(manifest, parts=tuple(parts), erased=tuple(sorted(named))))
        return sum(part.rows for part in manifest.parts) - sum(part.rows for part in parts)

    def _rewritten(self, part: Part, gone: Sequence[Erasure], old: dict[str, float]) -> list[Part]:
        columns, name = schema(part.table, self._manifest.features), WHOSE[part.table]
        about = self._target.table(
            part.path, pa.schema([columns.field(one) for one in (name, "tenant", "domain", "written")])
        )
        return self._filtered(part, stays(about, gone, name, old))

    def _without(self, names: Collection[str]) -> list[Part]:
        """The files without the rows of these segments, which are no longer counted as added."""
        parts: list[Part] = []
        for part in self._manifest.parts:
            left = [part]
            if names:
                origin = self._target.table(part.path, pa.schema([ORIGIN.field("segment")]))["segment"]
                left = self._filtered(part, pc.invert(pc.is_in(origin, pa.array(sorted(names)))))
            self._counts[part.table] -= part.rows - sum(one.rows for one in left)
            parts += left
        return parts

    def _filtered(self, part: Part, stay: pa.Array) -> list[Part]:
        """The file with the rows of this mask: the same file if these are all, none if there are none."""
        if pc.all(stay).as_py():
            return [part]
        left = self._target.table(part.path, schema(part.table, self._manifest.features)).filter(stay)
        return [put(self._target, part.table, part.date, part.bucket, left)] if left.num_rows else []

    def _join(self) -> None:
        """Merge many small files of one date and bucket, into several if one would be too large for memory."""
        parts = [part for part in self._manifest.parts if part.rows >= FULL]
        together: dict[tuple[str, str, int], list[Part]] = defaultdict(list)
        for part in self._manifest.parts:
            if part.rows < FULL:
                together[part.table, part.date, part.bucket].append(part)
        for several in together.values():
            while len(several) > FEW:
                parts.append(self._merged(several))
            parts += several
        if len(parts) < len(self._manifest.parts):
            self._replace(replace(self._manifest, parts=tuple(parts)))

    def _merged(self, several: list[Part]) -> Part:
        """One file of as many of these as make it full, which are taken off the list."""
        taken = [several.pop()]
        while several and sum(part.rows for part in taken) < FULL:
            taken.append(several.pop())
        one = taken[0]
        columns = schema(one.table, self._manifest.features)
        rows = pa.concat_tables([self._target.table(part.path, columns) for part in taken]).sort_by(_ORDER)
        return put(self._target, one.table, one.date, one.bucket, rows)

    def _replace(self, manifest: Manifest) -> None:
        """Commit the manifest, then delete the files that it no longer names."""
        before = {part.path for part in self._manifest.parts}
        commit(self._target, manifest)
        self._manifest = manifest
        self._target.delete(before - {part.path for part in manifest.parts})

    def _clear(self) -> None:
        """Delete the files that an interrupted run left."""
        named = {part.path for part in self._manifest.parts}
        for table in TABLES:
            self._target.delete(path for path in self._target.listed(table) if path not in named)


def _take_in(target: Target | str, archive: FileLogArchive, buckets: int, group: _Group, progress: Progress) -> Taken:
    """Add segments; in a process of a crew, the target is opened there."""
    target = target if isinstance(target, Target) else Target.open(target)
    taken = take_in(target, archive, group.paths, buckets)
    progress(group.size)
    return taken


def _groups(paths: Sequence[Path]) -> Iterator[_Group]:
    group: list[Path] = []
    total = 0
    for path in paths:
        try:
            more = path.stat().st_size
        except FileNotFoundError:
            continue
        if group and total + more > GROUP:
            yield _Group(group, total)
            group, total = [], 0
        group.append(path)
        total += more
    if group:
        yield _Group(group, total)
