"""Segments: the files of the decision log, one writer each, named so that names sort by the time of their beginning."""

from __future__ import annotations

import fcntl
import gzip
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import Final

from riskd.core.errors import InvalidFile, Problem
from riskd.counts import Counts

DECISIONS: Final = "decisions"
"""Where a log lies in a directory that has more in it."""
SUFFIX: Final = ".jsonl"
PACKED: Final = ".gz"
"""Of a segment that somebody packed after it was finished. The writer leaves those alone."""
UNREADABLE: Final = (OSError, EOFError, zlib.error)
"""What reading a segment raises that is damaged, or is packed and does not end."""


def stamp(moment: float) -> str:
    """What the name of a segment begins with that was begun at this moment, Unix time."""
    second, fraction = divmod(moment, 1)
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(second))}.{int(fraction * 1e6):06d}"


def segment_files(directory: Path) -> list[Path]:
    """Every file in a directory that is a segment or a packed one, in the order in which they were begun."""
    return [directory / name for name in _names(directory)]


def segments(directory: Path) -> list[Path]:
    """Every segment in a directory once, in the order in which they were begun. A packed file counts once it is alone:
    until then somebody may be in the middle of it."""
    names = _names(directory)
    there = set(names)
    return [directory / name for name in names if not name.endswith(PACKED) or name.removesuffix(PACKED) not in there]


def _names(directory: Path) -> list[str]:
    """There may be some ten thousands, and a follower looks every second."""
    try:
        with os.scandir(directory) as there:
            return sorted(each.name for each in there if each.name.endswith((SUFFIX, f"{SUFFIX}{PACKED}")))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def log_in(directory: Path) -> Path:
    """The directory of the log that a directory has in it, as that of a simulation has; else that is the log's own."""
    inside = directory / DECISIONS
    return inside if inside.is_dir() else directory


def segments_of(directory: Path) -> list[Path]:
    """The segments of `log_in`, in order. Raises InvalidFile when there are none."""
    found = segments(log_in(directory))
    if not found:
        why = "has no segments of a decision log" if directory.is_dir() else "is not a directory"
        raise InvalidFile([Problem(str(directory), why, "name the log.dir of a service")])
    return found


def size(paths: Sequence[Path]) -> int:
    """Bytes of all of them."""
    return sum(map(size_of, paths))


def size_of(path: Path) -> int:
    """Bytes of a segment; none of one that a service that writes there has let go."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def readable(where: object) -> Iterator[None]:
    """For reading what lies there. Raises InvalidFile where it cannot be read, or be unpacked."""
    try:
        yield
    except UNREADABLE as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        raise InvalidFile([Problem(str(where), f"cannot be read: {why}", "copy it again, or set it aside")]) from error


def opened(path: Path) -> gzip.GzipFile | BufferedReader:
    """A segment to read, as it was written. Reading raises OSError, EOFError, zlib.error (a packed one)."""
    return gzip.open(path) if path.suffix == PACKED else path.open("rb")


@contextmanager
def finished(path: Path) -> Iterator[bool]:
    """Whether a segment is finished: nobody writes it, and nobody deletes or rewrites it until this is left.

    Raises OSError, FileNotFoundError when it is gone.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield os.fstat(descriptor).st_nlink > 0
    finally:
        os.close(descriptor)


def lines_of(segment: BufferedIOBase) -> Iterator[bytes]:
    """Every line of an open segment. One without its newline is the last: where its writer is in the middle of it, the
    rest that comes at the next reading is no line."""
    for line in segment:
        yield line
        if not line.endswith(b"\n"):
            return


def whole(line: bytes) -> bool:
    """False for a line that a power loss tore: no newline, or zeros where data never reached the disk."""
    return line.endswith(b"\n") and b"\0" not in line


def read_segments(directory: Path) -> Iterator[bytes]:
    """Every whole record, without newline, segment by segment in the order in which they were begun.

    Records of one worker are in order; those of several are not merged.
    """
    for path in segments(directory):
        yield from read_segment(path)


def read_segment(path: Path) -> Iterator[bytes]:
    """Every whole record of one segment, without newline. Raises OSError, EOFError (a packed one that ends early).

    Lines that a power loss tore (no newline, or zeros where data never reached the disk) are left out.
    """
    with opened(path) as segment:
        for line in lines_of(segment):
            if whole(line):
                yield line[:-1]


def damaged(counts: Counts, segment: Path, line: bytes, error: Exception) -> None:
    """Count a line of a segment that is no record. For the first few of them alone the segment is read once again, up
    to there: nobody else need know the numbers of lines."""
    counts.damaged(error, str(segment), partial(_number, segment, line))


def _number(segment: Path, line: bytes, after: int) -> int:
    try:
        with opened(segment) as lines:
            return next((number for number, one in enumerate(lines, 1) if number > after and one[:-1] == line), 0)
    except UNREADABLE:  # somebody deleted or packed it meanwhile
        return 0
