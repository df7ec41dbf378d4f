"""The events of a log, or of a stream of its lines, in bounded memory; and the bookmark by which the next reader goes
on where one stopped.

Lines of one worker are in order; those of several are not merged: a SIEM sorts by `time`. A line is told once; where a
reader died before its bookmark was written, or a segment was rewritten under it, some are told again, under the same
`metadata.uid`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.decision_log import PACKED, FileLogArchive, damaged, log_in, readable, segments, segments_of
from riskd.core.errors import UNDECODABLE, InvalidFile, Problem
from riskd.core.record import AssessmentRecord, OutcomeRecord, Record, SecurityEventRecord, decode, left_out, written
from riskd.counts import Counts
from riskd.files import put
from riskd.offline.siem.events import event
from riskd.offline.siem.schema import DetectionFinding
from riskd.progress import Progress

LONGEST: Final = 1 << 20
"""Bytes of a line: what is longer is none."""
CHUNK: Final = 1 << 18
"""Bytes of a stream that are read at a time."""
MANY: Final = 256
"""Events that are told at a time."""
OVERLAP: Final = 1.0
"""Seconds that are told again of a segment that was rewritten: threads overtake each other between clock and file."""
_ENCODER: Final = msgspec.json.Encoder()


class Mark(Struct, frozen=True, array_like=True):
    """How far a segment was told.

    `size` and `modified` (ns): of its file when all of it was told, 0 before. `offset`: of the first line that was not.
    `length` and `check` (CRC-32): of the line before that one, which is elsewhere in a file that was rewritten.
    `latest`: when the latest line that was told had been written, epoch seconds.
    """

    size: int = 0
    modified: int = 0
    offset: int = 0
    length: int = 0
    check: int = 0
    latest: float = 0.0


_NEW: Final = Mark()
_BOOKMARK: Final = msgspec.json.Decoder(dict[str, Mark])


class Teller:
    """Lines as events. `counts` says what became of every line."""

    def __init__(self, since: float = -math.inf) -> None:
        """`since`: epoch seconds; lines that were written before are passed over."""
        self.counts = Counts()
        self.since = since
        self.met = 0
        """Lines of the stream so far."""

    def tell(self, line: bytes, after: float = -math.inf, segment: Path | None = None) -> tuple[bytes | None, float]:
        """The event of a line in JSON with its newline, None where it has none or was written before `after`; and when
        it was written. `segment`: where it is from, if not from a stream."""
        try:
            record = _decoded(line)
            at = written(record)
            if at < max(after, self.since):
                return None, at
            if not isinstance(record, AssessmentRecord | OutcomeRecord):
                self.counts["events" if isinstance(record, SecurityEventRecord) else left_out(record)] += 1
                return None, at
            told = event(record)
            encoded = _ENCODER.encode(told)
        except msgspec.DecodeError as error:
            if segment is None:
                self.counts.damaged(error, "the stream", self.met)
            else:
                damaged(self.counts, segment, line, error)
            return None, -math.inf
        self.counts["findings" if isinstance(told, DetectionFinding) else _KINDS[type(record)]] += 1
        return encoded + b"\n", at

    def arrived(self, line: bytes) -> bytes | None:
        """The event of the next line of a stream, if it has one; an empty one is none."""
        self.met += 1
        return self.tell(line)[0] if line else None


def _decoded(line: bytes) -> Record:
    if len(line) > LONGEST:
        raise msgspec.DecodeError(f"is longer than {LONGEST:,} bytes")
    return decode(line)


_KINDS: Final = {AssessmentRecord: "assessments", OutcomeRecord: "outcomes"}


class Feed:
    """The events of the segments in a directory that were not told yet. `marks` says how far it is, by segment."""

    def __init__(self, archive: FileLogArchive, directory: Path, teller: Teller, marks: dict[str, Mark]) -> None:
        """`archive`: of the same directory."""
        self.marks = dict(marks)
        self._archive = archive
        self._directory = directory
        self._teller = teller

    def check(self) -> None:
        """Raises InvalidFile where there is no log yet."""
        segments_of(self._directory)

    def size(self) -> int:
        """Bytes that are still to be read."""
        return sum(_left(path, status, mark) for path, status, mark in self._waiting(segments(self._directory)))

    def events(self, progress: Progress) -> Iterator[list[bytes]]:
        """All that is there now, erased subjects left out; `marks` are always those of what was yielded. `progress` is
        told how many bytes more are done. Raises InvalidFile for a segment that cannot be read."""
        paths = segments(self._directory)
        there = set(map(_name, paths))
        if there:  # else the log is out of sight: a disk that is not mounted just now
            self.marks = {name: mark for name, mark in self.marks.items() if name in there}
        for path, status, mark in list(self._waiting(paths)):
            with readable(path), suppress(FileNotFoundError):
                yield from self._segment(path, status, mark)
            progress(_left(path, status, mark))

    def _waiting(self, paths: Sequence[Path]) -> Iterator[tuple[Path, os.stat_result, Mark]]:
        """Those with something new, and how far they were told."""
        for path in paths:
            with suppress(FileNotFoundError):
                status, mark = path.stat(), self.marks.get(_name(path), _NEW)
                new = (mark.size, mark.modified) != (status.st_size, status.st_mtime_ns)
                if new and status.st_mtime >= self._teller.since:
                    yield path, status, mark

    def _segment(self, path: Path, status: os.stat_result, mark: Mark) -> Iterator[list[bytes]]:
        """Go on at the mark; where it does not fit, from the beginning with the lines of after the latest."""
        batch: list[bytes] = []
        name, after = _name(path), -math.inf
        lines = self._archive.lines_from(path, mark.offset - mark.length)
        if mark.offset and not _fits(mark, next(lines, None)):
            mark, after = Mark(latest=mark.latest), mark.latest - OVERLAP
            lines = self._archive.lines_from(path, 0)
        for line, end in lines:
            told, at = self._teller.tell(line, after, path)
            mark = Mark(0, 0, end, len(line) + 1, crc32(line), max(mark.latest, at))
            if told is not None:
                batch.append(told)
            if len(batch) == MANY:
                self.marks[name] = mark
                yield batch
                batch = []
        self.marks[name] = replace(mark, size=status.st_size, modified=status.st_mtime_ns)
        yield batch


def _fits(mark: Mark, before: tuple[bytes, int] | None) -> bool:
    """Whether the line before the mark is where it was."""
    return before is not None and (crc32(before[0]), before[1]) == (mark.check, mark.offset)


def located(directory: Path) -> Path:
    """The directory of the log that a directory has in it, as that of a simulation has; else itself."""
    return log_in(directory)


def _left(path: Path, status: os.stat_result, mark: Mark) -> int:
    """Bytes of a file that are still to be read."""
    return status.st_size - mark.offset if path.suffix != PACKED else status.st_size


def _name(path: Path) -> str:
    """A segment's name, packed or not."""
    return path.name.removesuffix(PACKED)


def streamed(descriptor: int, teller: Teller) -> Iterator[list[bytes]]:
    """The events of lines as they arrive. Lines that are too long, and a last one that is cut short, are unreadable."""
    for lines in _arriving(descriptor):
        yield [told for line in lines if (told := teller.arrived(line)) is not None]


def _arriving(descriptor: int) -> Iterator[list[bytes]]:
    """Whole lines, as many as came at once. What is beyond the longest line is let go, and so what it was no more."""
    rest = b""
    while chunk := os.read(descriptor, CHUNK):
        first, *lines = chunk.split(b"\n")
        rest = (rest + first)[: LONGEST + 1]
        if lines:
            *whole, last = rest, *lines
            yield whole
            rest = last
    if rest:
        yield [rest]


def marks_in(file: Path) -> dict[str, Mark]:
    """The bookmark in a file, empty where there is none yet. Raises InvalidFile."""
    try:
        return _BOOKMARK.decode(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, *UNDECODABLE) as error:
        remedy = "name a file that `riskd log export --bookmark` wrote, or one that is not there yet"
        raise InvalidFile([Problem(str(file), f"is no bookmark: {error}", remedy)]) from error


def keep(marks: dict[str, Mark], file: Path) -> None:
    """Write a bookmark, whole. Raises OSError."""
    put(file, _ENCODER.encode(marks))
