"""What becomes of the decision log after it was written: a subject is found in it, and what may no longer be kept goes.

An erasure is a file in `erasures`: whose lines, and how far they go. Compaction rewrites finished segments without
those lines, and without lines older than their identity domain keeps them. Where the log is copied, what is done with
moves to `done`. One process compacts at a time; one that dies leaves each segment whole, and its work to the next.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from riskd.adapters.decision_log.erasure import Erasure
from riskd.adapters.decision_log.files import (
    PACKED,
    UNREADABLE,
    finished,
    lines_of,
    opened,
    segment_files,
    segments,
    stamp,
    whole,
)
from riskd.adapters.decision_log.rewriting import RATE, UNKNOWN, concerning, due, head, rewrite
from riskd.clock import Clock, since_boot
from riskd.core.errors import UNDECODABLE, Problem, Unavailable
from riskd.core.stored import PLACE
from riskd.files import DRAFT, put, sync
from riskd.locks import exclusive

SCAN: Final = 64 << 20
"""Bytes that one step of a search reads: less than half a second."""
SLACK: Final = 60.0
"""Seconds added to what is promised, for a machine that is busy."""
ERASURES: Final = "erasures"
DONE: Final = "done"
_STATE: Final = "compaction.json"
LOCK: Final = "compaction.lock"


class State(Struct, frozen=True, kw_only=True):
    """How the log stands. `compacted`: Unix time at which the last compaction ended, 0 before the first."""

    segments: int
    size: int
    oldest: str
    erasures: int
    asked: float
    """When the oldest erasure was asked for that is not done; 0 where none is."""
    compacted: float


class Compacted(Struct, frozen=True):
    """What a compaction did. `left`: erasures whose last lines lie in segments that are still being written."""

    rewritten: int
    lines: int
    left: int


class _Kept(Struct, frozen=True):
    """What compaction remembers: when it ended, and of each domain up to which time of writing lines are gone."""

    compacted: float = 0.0
    cutoffs: dict[str, float] = {}


_Document = TypeVar("_Document", Erasure, _Kept)
_CURSOR: Final = msgspec.msgpack.Decoder(tuple[str, int, Annotated[int, Meta(ge=0, lt=1 << 62)]])


class FileLogArchive:
    """A `LogArchive` of the segments in a directory. Safe between threads and processes of one machine."""

    def __init__(
        self,
        directory: Path,
        segment_seconds: float,
        every: float,
        wall: Callable[[], float] = time.time,
        since_boot: Callable[[], float] = since_boot,
    ) -> None:
        """`segment_seconds`: age at which writers finish a segment; `every`: seconds between two compactions. Two
        clocks: see `Clock`."""
        self._directory = directory
        self._segment_seconds = segment_seconds
        self._every = every
        self._wall = wall
        self._clock = Clock(wall, since_boot)

    def forget(self, subjects: Sequence[bytes]) -> float:
        """See `LogArchive`."""
        asked = self._wall()
        try:
            # A clock that was set back has left segments whose names lie ahead of it.
            written = {
                path.name: size
                for path, size in _sizes(self._directory)
                if not size or path.name > stamp(asked) or _writing(path)
            }
            folder = self._directory / ERASURES
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for subject in subjects:
                entry = Erasure(subject[:PLACE].hex(), asked, written)
                put(folder / f"{stamp(asked)}-{secrets.token_hex(4)}.json", msgspec.json.encode(entry))
            size = sum(size for _, size in _sizes(self._directory))
        except UNREADABLE as error:
            raise _unwritable(self._directory, error) from error
        # The segments under way are finished, the compaction that misses them ends, and the next one comes.
        return asked + self._segment_seconds + self._every + 2 * size / RATE + SLACK

    def find(self, subjects: Sequence[bytes], cursor: bytes, limit: int) -> tuple[list[bytes], bytes]:
        """See `LogArchive`. Lines that are to be erased are not found any more."""
        places = [subject[:PLACE].hex() for subject in subjects]
        marks = [place.encode() for place in places]
        try:
            name, inode, offset = _CURSOR.decode(cursor) if cursor else ("", 0, 0)
            erasures = {place: [entry for _, entry in self._erasures() if entry.place == place] for place in places}
            found: list[bytes] = []
            left = SCAN
            for path in map(_as_named, segments(self._directory)):
                if path.name < name:
                    continue
                with suppress(FileNotFoundError), opened(path) as segment:
                    number = path.stat().st_ino
                    at = offset if (path.name, number) == (name, inode) else 0
                    segment.seek(at)
                    for line in lines_of(segment):
                        if len(found) == limit or left <= 0:
                            return found, msgspec.msgpack.encode((path.name, number, at))
                        ours = head(line) if any(mark in line for mark in marks) else None
                        asked = erasures.get(ours.place) if ours is not None else None
                        if asked is not None and not due(asked, path.name, at):
                            found.append(line[:-1])
                        at += len(line)
                        left -= len(line)
        except UNREADABLE as error:
            raise _unwritable(self._directory, error) from error
        return found, b""

    def lines(self, path: Path) -> Iterator[bytes]:
        """As `files.read_segment`, but without what is to be erased."""
        for line, _ in self.lines_from(path, 0):
            yield line

    def lines_from(self, path: Path, start: int) -> Iterator[tuple[bytes, int]]:
        """As `lines`, from an offset at which a line begins; each with the offset at which the next one does."""
        wanted, at = concerning((entry for _, entry in self._erasures()), path.name), start
        with opened(path) as segment:
            segment.seek(start)
            for line in lines_of(segment):
                ours = head(line) if wanted else None
                gone = ours is not None and due(wanted.get(ours.place, []), path.name, at)
                at += len(line)
                if whole(line) and not gone:
                    yield line[:-1], at

    def remember(self) -> bool:
        """Keep erasures that are done with from now on, as long as lines: a copy must hear of them. Whether that was
        not so before. Raises OSError."""
        folder = self._directory / ERASURES
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            (folder / DONE).mkdir(mode=0o700)
        except FileExistsError:
            return False
        return True

    def remember_no_more(self) -> None:
        """Forget those that are done with, and keep none from now on: there is no copy. Raises OSError."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._directory / ERASURES / DONE)

    def erased(self) -> list[Erasure]:
        """Every erasure that a copy of the log may not have seen, those that are done with included. Raises OSError."""
        return [entry for _, entry in (*self._erasures(), *self._erasures(DONE))]

    def compact(
        self, keep: Mapping[str, float], stop: Event, progress: Callable[[int, int], None] = lambda _done, _all: None
    ) -> Compacted | None:
        """Rewrite finished segments without what is to be erased, and without lines that are older than `keep`, the
        seconds of their domain; age counts from when a segment was last written. For an hour after the clock was set
        no line is too old: it may be set right yet.

        None when another process is at it. Raises Unavailable when a file cannot be read or written; what was done
        is kept, and nothing else has changed.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with exclusive(self._directory / LOCK) as ours:
                return self._compacted(keep, stop, progress) if ours else None
        except UNREADABLE as error:
            raise _unwritable(self._directory, error) from error

    def state(self) -> State:
        """How the log stands. Raises Unavailable. A compaction that ended in the future, by a clock that was set right
        since, is none."""
        try:
            sizes, erasures = list(_sizes(self._directory)), [entry for _, entry in self._erasures()]
            compacted = self._kept().compacted
            return State(
                segments=len(sizes),
                size=sum(size for _, size in sizes),
                oldest=sizes[0][0].name if sizes else "",
                erasures=len(erasures),
                asked=min((entry.asked for entry in erasures), default=0.0),
                compacted=compacted if compacted <= self._wall() else 0.0,
            )
        except UNREADABLE as error:
            raise _unwritable(self._directory, error) from error

    def _compacted(self, keep: Mapping[str, float], stop: Event, progress: Callable[[int, int], None]) -> Compacted:
        """1. Learn what is asked. 2. Rewrite each finished segment that concerns. 3. Remember what is done with."""
        asked = self._erasures()  # (1)
        now, before = self._wall(), self._kept().cutoffs
        for draft in self._directory.rglob(f"*{DRAFT}"):
            with suppress(FileNotFoundError):
                if draft.stat().st_mtime < now - SLACK:
                    draft.unlink()
        if not self._clock.trusted(now):
            keep = {}
        cutoffs = {domain: now - seconds for domain, seconds in keep.items()}
        cutoffs |= {UNKNOWN: min(cutoffs.values())} if cutoffs else {}
        paths, rewritten, lines = [path for path, size in _sizes(self._directory) if size], 0, 0
        open_since, writing = now, set[str]()
        for done, path in enumerate(paths):  # (2)
            progress(done, len(paths))
            if stop.is_set():
                return Compacted(rewritten, lines, len(asked))
            gone, erasures = 0, asked
            with suppress(FileNotFoundError), finished(path) as ours:
                modified = path.stat().st_mtime
                if not ours:
                    writing.add(path.name.removesuffix(PACKED))
                    open_since = min(open_since, modified)
                    continue
                old = {domain for domain, cutoff in cutoffs.items() if before.get(domain, 0.0) <= modified < cutoff}
                erasures = self._erasures()  # again: whoever asked while this one was being written named it
                gone = rewrite(path, [entry for _, entry in erasures], old, stop)
                lines += gone
                rewritten += gone > 0
            packed = path.with_name(path.name + PACKED)
            if packed.exists() and packed not in paths:  # by somebody, before its turn or in the middle of it
                paths.append(packed)
            if gone:
                _moved(erasures, path)
        progress(len(paths), len(paths))
        left = sum([not _settled(file, entry, writing) for file, entry in asked])  # (3)
        for file, entry in self._erasures(DONE) if keep else ():
            if entry.asked < now - max(keep.values()):
                file.unlink(missing_ok=True)
        cutoffs = {domain: min(cutoff, open_since) for domain, cutoff in cutoffs.items()}
        put(self._directory / _STATE, msgspec.json.encode(_Kept(self._wall(), before | cutoffs)))
        return Compacted(rewritten, lines, left)

    def _erasures(self, folder: str = "") -> list[tuple[Path, Erasure]]:
        found = []
        for file in sorted((self._directory / ERASURES / folder).glob("*.json")):
            with suppress(FileNotFoundError):
                found.append((file, _decoded(file, Erasure)))
        return found

    def _kept(self) -> _Kept:
        try:
            return _decoded(self._directory / _STATE, _Kept)
        except FileNotFoundError:
            return _Kept()


def _moved(erasures: list[tuple[Path, Erasure]], path: Path) -> None:
    """Note of a segment that was rewritten that nothing is left to erase in it: its lines lie elsewhere than they did
    when they were counted; not so in what was packed of it before. Whoever dies in between erases some that came later,
    rather than keep some of before."""
    packed = path.with_name(path.name + PACKED)
    for file, entry in erasures:
        reach = entry.reach(path.name)
        if reach:
            there = {packed.name: reach} if packed.exists() else {}
            put(file, msgspec.json.encode(replace(entry, written={**entry.written, **there, path.name: 0})))


def _settled(file: Path, entry: Erasure, writing: set[str]) -> bool:
    """Note what is left of an erasure in segments that were being written, or put it aside; whether it is done with."""
    missed = any(entry.reach(name) is None for name in writing)
    left = {name: size for name, size in entry.written.items() if name in writing and size}
    if left and not missed:
        put(file, msgspec.json.encode(replace(entry, written=left, settled=True)))
    elif not missed:
        done = file.parent / DONE
        file.replace(done / file.name) if done.is_dir() else file.unlink()
        sync(file.parent)
    return not (left or missed)


def _sizes(directory: Path) -> Iterator[tuple[Path, int]]:
    for path in segment_files(directory):
        with suppress(FileNotFoundError):
            yield path, path.stat().st_size


def _as_named(path: Path) -> Path:
    """A segment by the name that it has now: somebody may have packed it since it was listed."""
    packed = path.with_name(path.name + PACKED)
    return packed if not path.exists() and packed.exists() else path


def _writing(path: Path) -> bool:
    try:
        with finished(path) as done:
            return not done
    except FileNotFoundError:
        return False


def _decoded(file: Path, kind: type[_Document]) -> _Document:
    """A file that `put` wrote. Raises OSError, also for what it did not write."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except UNDECODABLE as error:
        raise OSError(0, f"not written by riskd: {error}", str(file)) from error


def _unwritable(directory: Path, error: Exception) -> Unavailable:
    remedy = "see that the disk has room, is healthy, and lets this user write"
    what = f"{error.filename or directory}: {error.strerror}" if isinstance(error, OSError) else f"{directory}: {error}"
    return Unavailable([Problem("log.dir", what, remedy)])
