"""Finds and reads segments, the files of the decision log. Their names sort by the time when they were started."""

from __future__ import annotations

import fcntl
import gzip
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import Final, TypeVar

from riskd.core.errors import UNDECODABLE, InvalidFile, Problem
from riskd.counts import Counts
from riskd.host.files import cause

DECISIONS: Final = "decisions"
"""Subdirectory of the log in a directory that has other files, too."""
SUFFIX: Final = ".jsonl"
PACKED: Final = ".gz"
"""Suffix of a finished segment that an operator compressed. The writer never makes these."""
DATASET: Final = "dataset.lock"
"""File beside the segments of a log that has a dataset. Erasures are remembered for the dataset while it exists."""
UNREADABLE: Final = (OSError, EOFError, zlib.error)
"""The exceptions of reading a segment that is damaged or cut off."""
_Record = TypeVar("_Record")


def stamp(moment: float) -> str:
    """The beginning of the name of a segment that was started at this time (epoch seconds)."""
    second, fraction = divmod(moment, 1)
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(second))}.{int(fraction * 1e6):06d}"


def segment_files(directory: Path) -> list[Path]:
    """Every segment file in a directory, packed or not, in the order in which they were started."""
    return [directory / name for name in segment_names(directory)]


def segments(directory: Path) -> list[Path]:
    """Every segment in a directory once, in the order in which they were started.

    A packed file is ignored as long as the plain one exists, because it may still be incomplete.
    """
    names = segment_names(directory)
    there = set(names)
    return [directory / name for name in names if not name.endswith(PACKED) or name.removesuffix(PACKED) not in there]


def segment_names(directory: Path) -> list[str]:
    """The sorted names of all segment files. `scandir`, because there may be ten thousand, listed every second."""
    try:
        with os.scandir(directory) as there:
            return sorted(each.name for each in there if each.name.endswith((SUFFIX, f"{SUFFIX}{PACKED}")))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def plain_name(segment: Path) -> str:
    """A segment's name, without the suffix of a packed one."""
    return segment.name.removesuffix(PACKED)


def log_in(directory: Path) -> Path:
    """The log's directory: the subdirectory `decisions` if there is one (as in a simulation), else the directory."""
    inside = directory / DECISIONS
    return inside if inside.is_dir() else directory


def segments_of(directory: Path) -> list[Path]:
    """The segments in `log_in(directory)`, in order. Raises InvalidFile if there are none."""
    found = segments(log_in(directory))
    if not found:
        why = "has no segments of a decision log" if directory.is_dir() else "is not a directory"
        raise InvalidFile([Problem(str(directory), why, "name the log.dir of a service")])
    return found


def size(paths: Sequence[Path]) -> int:
    """The total size of segments, in bytes."""
    return sum(map(size_of, paths))


def size_of(path: Path) -> int:
    """The size of a segment in bytes; 0 if the service has deleted it meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def readable(where: object) -> Iterator[None]:
    """Turns errors of reading or decompressing into InvalidFile. `where`: the file, for the problem."""
    try:
        yield
    except UNREADABLE as error:
        what, remedy = f"cannot be read: {cause(error)}", "copy it again, or set it aside"
        raise InvalidFile([Problem(str(where), what, remedy)]) from error


def opened(path: Path) -> gzip.GzipFile | BufferedReader:
    """Open a segment for reading, and decompress a packed one. Reading raises `UNREADABLE`."""
    return gzip.open(path) if path.suffix == PACKED else path.open("rb")


@contextmanager
def finished(path: Path) -> Iterator[bool]:
    """Yields whether a segment is finished, that is, has no writer. If so, holds its lock meanwhile, so that no other
    process deletes or rewrites it.

    Raises OSError; FileNotFoundError if it is gone.
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
    """Every line of an open segment, up to the first one without a newline.

    The writer may be in the middle of that line. Reading on would return its rest as if it were a line.
    """
    for line in segment:
        yield line
        if not line.endswith(b"\n"):
            return


def whole(line: bytes) -> bool:
    """Whether a line is complete. A power loss leaves lines without newline, or zeros that never reached the disk."""
    return line.endswith(b"\n") and b"\0" not in line


def read_segment(path: Path) -> Iterator[bytes]:
    """Every complete record of a segment, without newline. Skips lines that a power loss tore. Raises `UNREADABLE`."""
    with opened(path) as segment:
        for line in lines_of(segment):
            if whole(line):
                yield line[:-1]


def decoded(
    path: Path, counts: Counts, decode: Callable[[bytes], _Record], others: tuple[bytes, ...] = ()
) -> Iterator[_Record]:
    """Every record of a segment, as `decode` returns it. Counts lines that it cannot read, and skips those that begin
    like one of `others`. Raises `UNREADABLE`."""
    for line in read_segment(path):
        if not line.startswith(others) and (record := record_of(line, path, counts, decode)) is not None:
            yield record


def record_of(line: bytes, segment: Path, counts: Counts, decode: Callable[[bytes], _Record]) -> _Record | None:
    """The record of a line of a segment, as `decode` returns it. None if it cannot be read, which is counted."""
    try:
        return decode(line)
    except UNDECODABLE as error:
        damaged(counts, segment, line, error)
        return None


def damaged(counts: Counts, segment: Path, line: bytes, error: Exception) -> None:
    """Count a line of a segment that is not a record. For the first few, which are reported with their line number, the
    segment is read again up to that line, so that readers need not count lines."""
    counts.damaged(error, str(segment), partial(_number, segment, line))


def _number(segment: Path, line: bytes, after: int) -> int:
    try:
        with opened(segment) as lines:
            return next((number for number, one in enumerate(lines, 1) if number > after and one[:-1] == line), 0)
    except UNREADABLE:  # deleted or packed meanwhile
        return 0
