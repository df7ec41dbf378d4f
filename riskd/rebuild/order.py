"""The lines of a log in the order of their writing, whoever wrote them.

A segment has one writer, and its lines are in order. Those of several writers are merged by the service's clock at
each line. Where two workers wrote within the same moment, the store may have seen them the other way round.
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

from riskd.adapters.decision_log import FileLogArchive, damaged, segments_of, size, size_of, stamp
from riskd.config import Settings
from riskd.core.record import Lived, Record, decode, left_out, written
from riskd.counts import Counts
from riskd.progress import Progress
from riskd.wiring import open_archive

Line = tuple[bytes, Lived]
ASTRAY: Final = 86_400.0
"""Seconds between a line and those around it beyond which its time is not believed."""
BEHIND: Final = 3
"""Lines behind one that are asked what time it was: the one in the middle tells."""
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
    """Every record of a segment that is not to be erased, with its line and the number of that, from 0; what is none is
    counted. So is one that was written when nobody would think: its time would have the rest of the log wait, and
    histories forget what they had by then."""
    before, waiting = None, deque[tuple[int, bytes, Record]]()
    rest = _decoded(archive, path, counts)
    while True:
        waiting.extend(islice(rest, BEHIND + 1 - len(waiting)))
        if not waiting:
            return
        row, line, record = waiting.popleft()
        if _astray(at := written(record), before, waiting):
            what = f"{stamp(at)} is by more than a day {'after' if at > (before or 0.0) else 'before'}"
            damaged(counts, path, line, msgspec.DecodeError(f"{what} what the lines around it say - at `$.written`"))
        else:
            before = at
            yield row, line, record


def _astray(at: float, before: float | None, behind: Sequence[tuple[int, bytes, Record]]) -> bool:
    """Whether a time lies beyond that of the line before, and beyond that of the lines behind, on the same side of
    both. A clock that is set, or a service that rests, is seen in one of them."""
    if not behind or (before is not None and abs(at - before) <= ASTRAY):
        return False
    middle = sorted([written(record) for _, _, record in behind])[len(behind) // 2]
    after = at > middle + ASTRAY and (before is None or at > before)
    return after or (before is not None and at < before and at < middle - ASTRAY)


def _decoded(archive: FileLogArchive, path: Path, counts: Counts) -> Iterator[tuple[int, bytes, Record]]:
    for row, line in enumerate(archive.lines(path)):
        try:
            yield row, line, decode(line)
        except msgspec.DecodeError as error:
            damaged(counts, path, line, error)


def _stamped(archive: FileLogArchive, path: Path, counts: Counts) -> Iterator[tuple[float, Line]]:
    """Threads of a worker may overtake each other between clock and file: the file decides."""
    latest = 0.0
    for _, line, record in records(archive, path, counts):
        if isinstance(record, Lived):
            latest = max(latest, written(record))
            yield latest, (line, record)
        else:
            counts[left_out(record)] += 1


def _begins(archive: FileLogArchive, path: Path) -> float:
    """When the first line was written that histories are made of; 0 where none is."""
    found = (written(record) for _, _, record in records(archive, path, Counts()) if isinstance(record, Lived))
    return next(found, 0.0)
