"""The erasures that are asked of the decision log: which lines they reach, and the file that lists them.

The file has one erasure a line, so that thousands are read at once, and settled by one write. A lock lets one process
at a time change it. Readers take none: a line is appended, or the file is replaced.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from riskd.adapters.decision_log.files import PACKED, stamp
from riskd.core.errors import UNDECODABLE
from riskd.host.files import put, sync
from riskd.host.locks import exclusive

_LIST: Final = "list.json"
_LOCK: Final = "list.lock"
_PATIENCE: Final = 10.0
"""Longest wait for another process that changes the list, which takes milliseconds."""


class Erasure(Struct, frozen=True):
    """An erasure of a subject's lines, or of a tenant's, that were written before `asked` (epoch seconds).

    `place`: the prefix of the subject's assessment ids, hexadecimal; '' for a tenant's. `written`: the size at that
    moment of each segment that was still being written; later lines of it stay. A rewritten segment gets the size 0,
    and a packed copy an entry of its own. `settled`: all segments but those in `written` are done.
    """

    place: str
    asked: float
    written: dict[str, int]
    settled: bool = False
    tenant: str = ""
    """The tenant all of whose lines are erased; '' for an erasure of one subject."""

    @property
    def key(self) -> tuple[str, str, float]:
        """Tells erasures apart while their other fields change."""
        return self.place, self.tenant, self.asked

    def reach(self, segment: str) -> int | None:
        """How many bytes at the beginning of a segment may have lines to erase. None: the whole segment."""
        plain = segment.removesuffix(PACKED)
        for name in (segment, plain):
            if name in self.written:
                return self.written[name]
        return 0 if self.settled or plain > stamp(self.asked) else None


_ENTRY: Final = msgspec.json.Decoder(Erasure)
_ENCODER: Final = msgspec.json.Encoder()


class Erasures:
    """Erasures, found by subject or tenant. Looking up a line or a segment costs the same for one as for thousands."""

    def __init__(self, entries: Iterable[Erasure] = ()) -> None:
        self.entries = tuple(entries)
        self._by_place: dict[str, list[Erasure]] = {}
        self._by_tenant: dict[str, list[Erasure]] = {}
        for entry in self.entries:
            if entry.tenant:
                self._by_tenant.setdefault(entry.tenant, []).append(entry)
            else:
                self._by_place.setdefault(entry.place, []).append(entry)
        self._named = {name for entry in self.entries for name in entry.written}
        self._until = max((stamp(entry.asked) for entry in self.entries if not entry.settled), default="")

    def reach(self, segment: str) -> bool:
        """Whether any of them may have lines to erase in a segment."""
        if self.named(segment):
            return any(entry.reach(segment) != 0 for entry in self.entries)
        return segment.removesuffix(PACKED) <= self._until

    def named(self, segment: str) -> bool:
        """Whether any of them notes how much of a segment it reaches."""
        return segment in self._named or segment.removesuffix(PACKED) in self._named

    def due(self, place: str, tenant: str, segment: str, at: int) -> bool:
        """Whether a line of the subject, who is the tenant's, at this offset of a segment is to be erased."""
        entries = (*self._by_place.get(place, ()), *self._by_tenant.get(tenant, ()))
        reaches = [entry.reach(segment) for entry in entries]
        return any(reach is None or at < reach for reach in reaches)


class ErasureList:
    """The erasures listed in a directory. Safe between threads and processes. All methods raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._list = folder / _LIST
        self._known: tuple[list[tuple[str, int, int, int]], Erasures] = ([], Erasures())

    def read(self) -> Erasures:
        """Every erasure, in the order of the list. Reads the files only if they have changed."""
        while True:
            there = self._files()
            if there == self._known[0]:
                return self._known[1]
            try:
                entries = [entry for name, *_ in there for entry in _decoded(self._folder / name)]
            except FileNotFoundError:  # joined or finished meanwhile
                continue
            self._known = there, Erasures(entries)

    def pending(self) -> tuple[int, float]:
        """How many erasures there are, and when the first was asked for (epoch seconds; 0 if there is none)."""
        count, first = 0, []
        for name, *_ in self._files():
            file = self._folder / name
            with suppress(FileNotFoundError):
                lines = _lines(file)
                first += [entry.asked for entry in _decoded(file, lines[:1])]
                count += len(lines)
        return count, min(first, default=0.0)

    def add(self, entries: Iterable[Erasure]) -> None:
        """Add erasures. They are on the disk when this returns."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            new = not self._list.exists()
            descriptor = os.open(self._list, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                _cut_torn_line(file)
                file.write(_ENCODER.encode_lines(entries))
                file.flush()
                os.fsync(descriptor)
            if new:
                sync(self._folder)

    def update(self, change: Callable[[Sequence[Erasure]], Sequence[Erasure]]) -> None:
        """Replace the whole list with what `change` makes of it."""
        with self._locked():
            there = self._files()
            left = change(self.read().entries)
            if left:
                put(self._list, _ENCODER.encode_lines(left))
            for name, *_ in there:
                if not left or name != _LIST:
                    (self._folder / name).unlink()
            sync(self._folder)

    def join(self) -> None:
        """Move the erasures of an earlier version, which wrote each to a file of its own, to the list."""
        if any(name != _LIST for name, *_ in self._files()):
            self.update(lambda entries: entries)

    def _files(self) -> list[tuple[str, int, int, int]]:
        """The list, and the files of an earlier version. A file that changes gets another inode, size or time."""
        while True:
            try:
                with os.scandir(self._folder) as there:
                    status = [(each.name, each.stat()) for each in there if each.name.endswith(".json")]
                found = [(name, at.st_ino, at.st_size, at.st_mtime_ns) for name, at in status]
                return sorted(found, key=lambda each: (each[0] != _LIST, each[0]))
            except FileNotFoundError:  # a file was joined or finished meanwhile
                if not self._folder.exists():
                    return []

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with exclusive(self._folder / _LOCK, _PATIENCE) as ours:
            if not ours:
                raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock", str(self._folder / _LOCK))
            yield


def _lines(file: Path) -> list[bytes]:
    """The lines of a file. The end of a list may be a line that is being added; other files end without newline."""
    lines = file.read_bytes().split(b"\n")
    return lines[:-1] if file.name == _LIST else [line for line in lines if line]


def _decoded(file: Path, lines: Sequence[bytes] | None = None) -> list[Erasure]:
    """The erasures in a file, or in these lines of it. Raises OSError, also if they cannot be decoded."""
    try:
        return [_ENTRY.decode(line) for line in (_lines(file) if lines is None else lines)]
    except UNDECODABLE as error:
        raise OSError(0, f"not written by riskd: {error}", str(file)) from error


def _cut_torn_line(file: BinaryIO) -> None:
    """Remove the end of a list that a crash left without newline. Nobody was told that it is there."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 1, 0))
    if file.read(1) not in (b"", b"\n"):
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
