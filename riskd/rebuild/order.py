"""The lines of a log in the order of their writing, whoever wrote them.

A segment has one writer, and its lines are in order. Those of several writers are merged by the service's clock at
each line. Where two workers wrote within the same moment, the store may have seen them the other way round.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from riskd.adapters.decision_log import FileLogArchive, damaged, read_segment, segments_of, size, size_of
from riskd.config import Settings
from riskd.core.record import HistoryRecord, decode, skipped_as, written
from riskd.counts import Counts
from riskd.progress import Progress
from riskd.wiring import open_archive

Line = tuple[bytes, HistoryRecord]
DATASET: Final = "dataset.lock"
"""File beside the segments of a log that has a dataset, which must hear of erasures."""


class Source(Protocol):
    """A log to live through. It crosses to other processes."""

    def size(self) -> int:
        """How much it is, in units of its own. Raises InvalidFile where there is nothing."""
        ...

    def lines(self, counts: Counts, progress: Progress) -> Iterator[Line]:
        """Every line that histories are made of in the order of its writing; other lines are counted. `progress` is
        told how much more is done. Raises InvalidFile, OSError, EOFError, zlib.error."""
        ...


class LogSource(Struct, frozen=True):
    """A `Source` of segments: those of the settings' `log.dir`."""

    settings: Settings

    def size(self) -> int:
        """Bytes."""
        return size(segments_of(Path(self.settings.log.dir)))

    def lines(self, counts: Counts, progress: Progress) -> Iterator[Line]:
        """See `Source`."""
        return in_order(open_archive(self.settings), segments_of(Path(self.settings.log.dir)), counts, progress)


def in_order(archive: FileLogArchive, paths: Sequence[Path], counts: Counts, progress: Progress) -> Iterator[Line]:
    """Every line that histories are made of and that is not to be erased; every other is counted for what it is.

    `progress` is told how many bytes more are done. A segment is open from its first line on to its last, whoever
    deletes it meanwhile. Raises OSError, EOFError, zlib.error.
    """
    sizes = [size_of(path) for path in paths]
    waiting = [(_begins(path), number) for number, path in enumerate(paths)]
    heapq.heapify(waiting)
    under_way: list[tuple[float, int, Line, Iterator[tuple[float, Line]]]] = []

    def advance(number: int, rest: Iterator[tuple[float, Line]]) -> None:
        following = next(rest, None)
        if following is None:
            progress(sizes[number])
        else:
            heapq.heappush(under_way, (following[0], number, following[1], rest))

    while waiting or under_way:
        while waiting and (not under_way or waiting[0] <= under_way[0][:2]):
            _, number = heapq.heappop(waiting)
            advance(number, _stamped(archive, paths[number], counts))
        if under_way:
            _, number, line, rest = heapq.heappop(under_way)
            yield line
            advance(number, rest)


def _stamped(archive: FileLogArchive, path: Path, counts: Counts) -> Iterator[tuple[float, Line]]:
    """Threads of a worker may overtake each other between clock and file: the file decides."""
    latest = 0.0
    for line in archive.lines(path):
        try:
            record = decode(line)
        except msgspec.DecodeError as error:
            damaged(counts, path, line, error)
            continue
        if isinstance(record, HistoryRecord):
            latest = max(latest, written(record))
            yield latest, (line, record)
        else:
            counts[skipped_as(record)] += 1


def _begins(path: Path) -> float:
    """When the first line was written that histories are made of; 0 where none is."""
    for line in read_segment(path):
        try:
            record = decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(record, HistoryRecord):
            return written(record)
    return 0.0
