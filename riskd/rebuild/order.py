"""Reads the lines of a log, those of all workers merged, in the order in which they were written.

A segment has one writer, and its lines are in order. Segments of several writers are merged by the time in each line.
If two workers wrote at the same time, the store may have seen their lines in the other order.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from riskd.adapters.decision_log import FileLogArchive, damaged, record_of, segments_of, size, size_of, stamp
from riskd.config import Settings
from riskd.core.record import HistoryRecord, Record, decode, skipped_as, written
from riskd.counts import Counts
from riskd.progress import Progress
from riskd.wiring import open_archive

Line = tuple[bytes, HistoryRecord]
OUTLIER_SECONDS: Final = 86_400.0
"""Seconds that the time of a line may differ from those of the lines around it."""
LOOKAHEAD: Final = 3
"""Number of following lines whose median time a line is compared with."""


class LogReader(Protocol):
    """A log to replay. It is pickled to other processes."""

    def size(self) -> int:
        """The size of the log, in the reader's own unit. Raises InvalidFile if there is nothing."""
        ...

    def lines(self, counts: Counts, progress: Progress) -> Iterator[Line]:
        """Every line that changes histories, in the order of writing; other lines are only counted.

        `progress` is called with how much more is done. Raises InvalidFile, OSError, EOFError, zlib.error.
        """
        ...


class SegmentReader(Struct, frozen=True):
    """A `LogReader` that reads the segments in the setting `log.dir`."""

    settings: Settings

    def size(self) -> int:
        """The size in bytes."""
        return size(segments_of(Path(self.settings.log.dir)))

    def lines(self, counts: Counts, progress: Progress) -> Iterator[Line]:
        """See `LogReader`."""
        return in_order(open_archive(self.settings), segments_of(Path(self.settings.log.dir)), counts, progress)


def in_order(archive: FileLogArchive, paths: Sequence[Path], counts: Counts, progress: Progress) -> Iterator[Line]:
    """Every line that changes histories and is not erased. Other lines are counted by kind.

    `progress` is called with the number of bytes done. A segment stays open from its first to its last line, even if it
    is deleted meanwhile. Raises OSError, EOFError, zlib.error.
    """
    sizes = [size_of(path) for path in paths]
    waiting = [(_begins(archive, path), number) for number, path in enumerate(paths)]
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


def records(archive: FileLogArchive, path: Path, counts: Counts) -> Iterator[tuple[int, bytes, Record]]:
    """Every record of a segment that is not erased, with the line's number from 0 and the line itself. Unreadable lines
    are counted. So are lines whose time is far from those around them: such a time would delay the rest of the segment,
    and make histories drop what is older."""
    before, waiting = None, deque[tuple[int, bytes, Record]]()
    rest = _decoded(archive, path, counts)
    while True:
        waiting.extend(islice(rest, LOOKAHEAD + 1 - len(waiting)))
        if not waiting:
            return
        row, line, record = waiting.popleft()
        if _is_outlier(at := written(record), before, waiting):
            what = f"{stamp(at)} is more than a day {'after' if at > (before or 0.0) else 'before'}"
            damaged(counts, path, line, msgspec.DecodeError(f"{what} the lines around it - at `$.written`"))
        else:
            before = at
            yield row, line, record


def _is_outlier(at: float, before: float | None, behind: Sequence[tuple[int, bytes, Record]]) -> bool:
    """Whether a time is far after, or far before, both the line before and the lines that follow. After a clock step or
    a quiet time a line differs from one of them only."""
    if not behind or (before is not None and abs(at - before) <= OUTLIER_SECONDS):
        return False
    middle = sorted([written(record) for _, _, record in behind])[len(behind) // 2]
    after = at > middle + OUTLIER_SECONDS and (before is None or at > before)
    return after or (before is not None and at < before and at < middle - OUTLIER_SECONDS)


def _decoded(archive: FileLogArchive, path: Path, counts: Counts) -> Iterator[tuple[int, bytes, Record]]:
    for row, line in enumerate(archive.lines(path)):
        if (record := record_of(line, path, counts, decode)) is not None:
            yield row, line, record


def _stamped(archive: FileLogArchive, path: Path, counts: Counts) -> Iterator[tuple[float, Line]]:
    """The lines of a segment with non-decreasing times. Threads of a worker may write out of order: the file's order
    counts."""
    latest = 0.0
    for _, line, record in records(archive, path, counts):
        if isinstance(record, HistoryRecord):
            latest = max(latest, written(record))
            yield latest, (line, record)
        else:
            counts[skipped_as(record)] += 1


def _begins(archive: FileLogArchive, path: Path) -> float:
    """When the first line that changes histories was written; 0 if there is none."""
    times = (written(record) for _, _, record in records(archive, path, Counts()) if isinstance(record, HistoryRecord))
    return next(times, 0.0)
