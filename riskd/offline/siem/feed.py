"""Converts a log, or a stream of its lines, to events in bounded memory, and keeps a bookmark for the next run.

The lines of one worker are in order; those of several workers are not merged: a SIEM sorts by `time`. Every line is
exported once, except after a crash before the bookmark was written, or after the last exported line of a segment was
erased: then some are exported again, with the same `metadata.uid`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final
from zlib import crc32

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from riskd.adapters.decision_log import (
    PACKED,
    FileLogArchive,
    damaged,
    lines_of,
    log_in,
    opened,
    plain_name,
    readable,
    segments,
    segments_of,
)
from riskd.core.errors import UNDECODABLE, InvalidFile, Problem
from riskd.core.record import AssessmentRecord, OutcomeRecord, Record, SecurityEventRecord, decode, skipped_as, written
from riskd.counts import Counts
from riskd.host.files import put
from riskd.offline.siem.events import event
from riskd.offline.siem.schema import DetectionFinding
from riskd.progress import Progress

LONGEST: Final = 1 << 20
"""A line with more bytes is unreadable."""
CHUNK: Final = 1 << 18
"""Bytes read from a stream at a time."""
MANY: Final = 256
"""Events written at a time."""
_ENCODER: Final = msgspec.json.Encoder()


_Whole = Annotated[int, Meta(ge=0, lt=1 << 62)]


class Mark(Struct, frozen=True, array_like=True):
    """How far a segment was exported.

    `size` and `modified` (ns): of its file when it had been exported to its end, 0 before. `offset`: of the first line
    that was not exported. `length` and `check` (CRC-32): of the line before it, which is elsewhere if the file was
    rewritten.
    """

    size: _Whole = 0
    modified: int = 0
    offset: _Whole = 0
    length: _Whole = 0
    check: int = 0


_NEW: Final = Mark()
_BOOKMARK: Final = msgspec.json.Decoder(dict[str, Mark])


class Converter:
    """Converts lines to events. `counts`: what became of every line."""

    def __init__(self, since: float = -math.inf) -> None:
        """`since`: epoch seconds; earlier lines are skipped."""
        self.counts = Counts()
        self.since = since
        self.met = 0
        """Lines of the stream so far."""

    def convert(self, line: bytes, segment: Path | None = None) -> bytes | None:
        """The event of a line as JSON with a newline, if it has one. `segment`: the line's file, None for a stream."""
        try:
            record = _decoded(line)
            if written(record) < self.since:
                return None
            if not isinstance(record, AssessmentRecord | OutcomeRecord):
                self.counts["events" if isinstance(record, SecurityEventRecord) else skipped_as(record)] += 1
                return None
            exported = event(record)
            encoded = _ENCODER.encode(exported)
        except msgspec.DecodeError as error:
            if segment is None:
                self.counts.damaged(error, "the stream", self.met)
            else:
                damaged(self.counts, segment, line, error)
            return None
        self.counts["findings" if isinstance(exported, DetectionFinding) else _KINDS[type(record)]] += 1
        return encoded + b"\n"

    def arrived(self, line: bytes) -> bytes | None:
        """The event of the next line of a stream, if it has one. An empty line has none."""
        self.met += 1
        return self.convert(line) if line else None


def _decoded(line: bytes) -> Record:
    if len(line) > LONGEST:
        raise msgspec.DecodeError(f"is longer than {LONGEST:,} bytes")
    return decode(line)


_KINDS: Final = {AssessmentRecord: "assessments", OutcomeRecord: "outcomes"}


class Feed:
    """The events in a directory's segments that were not exported yet. `marks`: how far each segment was exported."""

    def __init__(self, archive: FileLogArchive, directory: Path, converter: Converter, marks: dict[str, Mark]) -> None:
        """`archive`: of the same directory."""
        self.marks = dict(marks)
        self._archive = archive
        self._directory = directory
        self._converter = converter

    def check(self) -> None:
        """Raises InvalidFile if there is no log yet."""
        segments_of(self._directory)

    def size(self) -> int:
        """Bytes that are still to be read."""
        return sum(_left(path, status, mark) for path, status, mark in self._waiting(segments(self._directory)))

    def events(self, progress: Progress) -> Iterator[list[bytes]]:
        """All events there are now, without erased subjects. `marks` always match what was yielded.

        `progress` is called with the bytes done. Raises InvalidFile for a segment that cannot be read.
        """
        paths = segments(self._directory)
        there = set(map(plain_name, paths))
        if there:  # else the disk may not be mounted at the moment
            self.marks = {name: mark for name, mark in self.marks.items() if name in there}
        for path, status, mark in list(self._waiting(paths)):
            with readable(path), suppress(FileNotFoundError):
                yield from self._segment(path, status, mark)
            progress(_left(path, status, mark))

    def _waiting(self, paths: Sequence[Path]) -> Iterator[tuple[Path, os.stat_result, Mark]]:
        """Segments with something new, and how far each was exported. A rewritten or packed segment that was exported
        to its end is smaller, and still as old, so it has nothing new."""
        for path in paths:
            with suppress(FileNotFoundError):
                status, mark = path.stat(), self.marks.get(plain_name(path), _NEW)
                new = status.st_mtime_ns != mark.modified or status.st_size > mark.size
                if new and status.st_mtime >= self._converter.since:
                    yield path, status, mark

    def _segment(self, path: Path, status: os.stat_result, mark: Mark) -> Iterator[list[bytes]]:
        """Continue at the mark, wherever its line is now; from the beginning if that line is gone."""
        batch: list[bytes] = []
        name = plain_name(path)
        if not _fits(mark, path):
            mark = _moved(mark, path)
        for line, end in self._archive.lines_from(path, mark.offset):
            encoded = self._converter.convert(line, path)
            mark = Mark(0, 0, end, len(line) + 1, crc32(line))
            if encoded is not None:
                batch.append(encoded)
            if len(batch) == MANY:
                self.marks[name] = mark
                yield batch
                batch = []
        self.marks[name] = replace(mark, size=status.st_size, modified=status.st_mtime_ns)
        yield batch


def _fits(mark: Mark, path: Path) -> bool:
    """Whether the line before the mark is still there."""
    if not mark.offset:
        return True
    with opened(path) as segment:
        segment.seek(max(mark.offset - mark.length, 0))
        return _before(mark, next(lines_of(segment), b""))


def _before(mark: Mark, line: bytes) -> bool:
    """Whether this is the line before the mark."""
    return len(line) == mark.length and crc32(line[:-1]) == mark.check


def _moved(mark: Mark, path: Path) -> Mark:
    """The mark in the rewritten segment, in which lines move only towards the beginning; a new one if its line is
    gone."""
    at, found = 0, _NEW
    with opened(path) as segment:
        for line in lines_of(segment):
            at += len(line)
            if at > mark.offset:
                break
            if _before(mark, line):
                found = replace(mark, offset=at)
    return found


def located(directory: Path) -> Path:
    """The log's directory inside a directory, as `riskd simulate` writes it; else the directory itself."""
    return log_in(directory)


def _left(path: Path, status: os.stat_result, mark: Mark) -> int:
    """Bytes of a file that are still to be read."""
    return status.st_size - mark.offset if path.suffix != PACKED else status.st_size


def streamed(descriptor: int, converter: Converter) -> Iterator[list[bytes]]:
    """The events of lines as they arrive. Lines that are too long, and an incomplete last line, are unreadable."""
    for lines in _arriving(descriptor):
        yield [encoded for line in lines if (encoded := converter.arrived(line)) is not None]


def _arriving(descriptor: int) -> Iterator[list[bytes]]:
    """The complete lines of each read. What exceeds the longest line is dropped."""
    rest = b""
    while chunk := os.read(descriptor, CHUNK):
        first, *lines = chunk.split(b"\n")
        *whole, rest = (rest + first)[: LONGEST + 1], *lines
        yield whole
    if rest:
        yield [rest]


def marks_in(file: Path) -> dict[str, Mark]:
    """The bookmark in a file, empty if there is none yet. Raises InvalidFile."""
    try:
        return _BOOKMARK.decode(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, *UNDECODABLE) as error:
        remedy = "name a file that `riskd log export --bookmark` wrote, or one that is not there yet"
        raise InvalidFile([Problem(str(file), f"is not a bookmark: {error}", remedy)]) from error


def keep(marks: dict[str, Mark], file: Path) -> None:
    """Write a bookmark atomically. Raises OSError."""
    put(file, _ENCODER.encode(marks))
