"""Searches the decision log for a subject, erases subjects, and compacts segments.

Erasures are listed in the directory `erasures`, see `Erasure`. Compaction rewrites finished segments without erased
lines, and without lines older than the retention of their identity domain. If the log has a copy, such as a dataset,
finished erasures move to the list in its directory `done`, so that the copy hears of them. One process compacts at a
time. If it dies, every segment is still intact, and the next compaction continues.
"""

from __future__ import annotations

import shutil
import time
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from riskd.adapters.decision_log.erasure import Erasure, ErasureList, Erasures
from riskd.adapters.decision_log.files import (
    PACKED,
    UNREADABLE,
    finished,
    lines_of,
    opened,
    plain_name,
    segment_files,
    segment_names,
    segments,
    stamp,
    whole,
)
from riskd.adapters.decision_log.rewriting import RATE, UNKNOWN, head, rewrite
from riskd.core.errors import UNDECODABLE, Problem, Unavailable
from riskd.core.stored import PLACE
from riskd.host.clock import Clock, since_boot
from riskd.host.files import DRAFT, cause, put
from riskd.host.locks import exclusive

SCAN: Final = 64 << 20
"""Bytes that one step of a search reads, in less than half a second."""
SLACK: Final = 60.0
"""Seconds added to the promised end of an erasure, in case the machine is busy."""
ERASURES: Final = "erasures"
DONE: Final = "done"
_STATE: Final = "compaction.json"
LOCK: Final = "compaction.lock"


class State(Struct, frozen=True, kw_only=True):
    """The state of the log. `oldest`: name of the oldest segment, '' if there is none. `erasures`: erasures that are
    not done. `compacted`: when the last compaction ended (epoch seconds), 0 before the first."""

    segments: int
    size: int
    oldest: str
    erasures: int
    asked: float
    """When the oldest erasure that is not done was asked for (epoch seconds); 0 if there is none."""
    compacted: float


class Compacted(Struct, frozen=True):
    """The result of a compaction: segments rewritten, lines removed, and erasures left.

    `left`: erasures that still have lines in segments that are being written.
    """

    rewritten: int
    lines: int
    left: int


class _Kept(Struct, frozen=True):
    """The saved state of compaction: when it ended, and the age up to which each domain's lines were removed.

    `cutoffs`: by domain, in epoch seconds; segments last written before have no lines of the domain any more.
    """

    compacted: float = 0.0
    cutoffs: dict[str, float] = {}


_CURSOR: Final = msgspec.msgpack.Decoder(tuple[str, int, Annotated[int, Meta(ge=0, lt=1 << 62)]])


class FileLogArchive:
    """A `LogArchive` over the segments in a directory. Safe between threads and processes of one machine."""

    def __init__(
        self,
        directory: Path,
        segment_seconds: float,
        every: float,
        wall: Callable[[], float] = time.time,
        since_boot: Callable[[], float] = since_boot,
    ) -> None:
        """`segment_seconds`: age at which writers finish a segment. `every`: seconds between two compactions. For
        the two clocks see `Clock`."""
        self._directory = directory
        self._segment_seconds = segment_seconds
        self._every = every
        self._wall = wall
        self._clock = Clock(wall, since_boot)
        self._asked = ErasureList(directory / ERASURES)
        self._done = ErasureList(directory / ERASURES / DONE)
        self._finished: dict[str, int] = {}
        """The size of each segment that was found finished, which no writer opens again."""

    def forget(self, subjects: Sequence[bytes]) -> float:
        """See `LogArchive`."""
        places = [subject[:PLACE].hex() for subject in subjects]
        return self._ask(lambda asked, written: [Erasure(place, asked, written) for place in places])

    def forget_tenant(self, tenant: str) -> float:
        """Like `forget`, of every record of a tenant."""
        return self._ask(lambda asked, written: [Erasure("", asked, written, tenant=tenant)])

    def _ask(self, erasures: Callable[[float, dict[str, int]], list[Erasure]]) -> float:
        """List the erasures that are made of the time and the size of each segment that is being written. Returns by
        when they will be done."""
        asked = self._wall()
        try:
            written, size = self._written(stamp(asked))
            self._asked.add(erasures(asked, written))
        except UNREADABLE as error:
            raise _unwritable(self._directory, error) from error
        # Until present segments are finished, the compaction that misses them has ended, and the next one, too.
        return asked + self._segment_seconds + self._every + 2 * size / RATE + SLACK

    def find(self, subjects: Sequence[bytes], cursor: bytes, limit: int) -> tuple[list[bytes], bytes]:
        """See `LogArchive`. Does not find lines that are to be erased."""
        places = [subject[:PLACE].hex() for subject in subjects]
        marks = [place.encode() for place in places]
        try:
            name, inode, offset = _CURSOR.decode(cursor) if cursor else ("", 0, 0)
            erasures = self._asked.read()
            found: list[bytes] = []
            left = SCAN
            for listed in segments(self._directory):
                if listed.name < name:
                    continue
                path = _as_named(listed)
                with suppress(FileNotFoundError), opened(path) as segment:
                    number = path.stat().st_ino
                    at = offset if (path.name, number) == (name, inode) else 0
                    segment.seek(at)
                    for line in lines_of(segment):
                        if len(found) == limit or left <= 0:
                            return found, msgspec.msgpack.encode((path.name, number, at))
                        ours = head(line) if any(mark in line for mark in marks) else None
                        if ours and ours.place in places and not erasures.due(ours.place, ours.tenant, path.name, at):
                            found.append(line[:-1])
                        at += len(line)
                        left -= len(line)
        except UNREADABLE as error:
            raise _unwritable(self._directory, error) from error
        return found, b""

    def lines(self, path: Path) -> Iterator[bytes]:
        """Like `files.read_segment`, but without lines that are to be erased."""
        for line, _ in self.lines_from(path, 0):
            yield line

    def lines_from(self, path: Path, start: int) -> Iterator[tuple[bytes, int]]:
        """Like `lines`, from the offset of a line. Each line comes with the offset of the next one."""
        erasures, at = self._asked.read(), start
        wanted = erasures.reach(path.name)
        with opened(path) as segment:
            segment.seek(start)
            for line in lines_of(segment):
                ours = head(line) if wanted else None
                gone = ours is not None and erasures.due(ours.place, ours.tenant, path.name, at)
                at += len(line)
                if whole(line) and not gone:
                    yield line[:-1], at

    def remember(self) -> None:
        """From now on, keep finished erasures as long as lines, because a copy of the log must apply them, too.

        Raises OSError.
        """
        folder = self._directory / ERASURES
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / DONE).mkdir(mode=0o700, exist_ok=True)

    def remember_no_more(self) -> None:
        """Delete finished erasures, and keep none from now on, because there is no copy. Raises OSError."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._directory / ERASURES / DONE)

    def erased(self) -> list[Erasure]:
        """Every erasure that a copy of the log may not have applied, finished ones included. Raises OSError."""
        return [*self._asked.read().entries, *self._done.read().entries]

    def compact(
        self,
        keep: Mapping[str, float],
        stop: Event,
        progress: Callable[[int, int], None] = lambda _done, _all: None,
        rate: float = RATE,
    ) -> Compacted | None:
        """Rewrite finished segments without lines that are to be erased or too old.

        `keep`: seconds to keep lines of each identity domain, counted from when their segment was last written. For an
        hour after the clock was set, no line counts as too old, in case the clock is wrong. `stop` ends the compaction
        early. `progress` gets the number of segments done, and of all. `rate`: most bytes to read in a second.

        Returns None if another process is compacting. Raises Unavailable if a file cannot be read or written; segments
        that were rewritten before stay so.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with exclusive(self._directory / LOCK) as ours:
                return self._compacted(keep, stop, progress, rate) if ours else None
        except UNREADABLE as error:
            raise _unwritable(self._directory, error) from error

    def state(self) -> State:
        """The state of the log. Raises Unavailable. Ignores a compaction that ended in the future, which means that the
        clock was wrong then."""
        try:
            sizes, (erasures, asked) = list(_sizes(self._directory)), self._asked.pending()
            compacted = self._kept().compacted
            return State(
                segments=len(sizes),
                size=sum(size for _, size in sizes),
                oldest=sizes[0][0].name if sizes else "",
                erasures=erasures,
                asked=asked,
                compacted=compacted if compacted <= self._wall() else 0.0,
            )
        except UNREADABLE as error:
            raise _unwritable(self._directory, error) from error

    def _compacted(
        self, keep: Mapping[str, float], stop: Event, progress: Callable[[int, int], None], rate: float
    ) -> Compacted:
        """1. Read the erasures. 2. Rewrite every finished segment that needs it. 3. Mark erasures that are done."""
        for erasures in (self._asked, self._done):
            erasures.join()
        asked = known = self._asked.read()  # (1)
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
                return Compacted(rewritten, lines, len(asked.entries))
            gone = 0
            with suppress(FileNotFoundError), finished(path) as ours:
                modified = path.stat().st_mtime
                if not ours:
                    writing.add(plain_name(path))
                    open_since = min(open_since, modified)
                    continue
                old = {domain for domain, cutoff in cutoffs.items() if before.get(domain, 0.0) <= modified < cutoff}
                known = self._asked.read()  # again, for erasures asked for while this segment was being written
                gone = rewrite(path, known, old, stop, rate)
                lines += gone
                rewritten += gone > 0
            packed = path.with_name(path.name + PACKED)
            if packed.exists() and packed not in paths:  # an operator has packed the segment meanwhile
                paths.append(packed)
            if gone:
                self._mark_rewritten(path, known)
        progress(len(paths), len(paths))
        left = self._settle(asked, writing)  # (3)
        oldest = now - max(keep.values()) if keep else 0.0
        if any(entry.asked < oldest for entry in self._done.read().entries):
            self._done.update(lambda entries: [entry for entry in entries if entry.asked >= oldest])
        cutoffs = {domain: min(cutoff, open_since) for domain, cutoff in cutoffs.items()}
        put(self._directory / _STATE, msgspec.json.encode(_Kept(self._wall(), before | cutoffs)))
        return Compacted(rewritten, lines, left)

    def _written(self, now: str) -> tuple[dict[str, int], int]:
        """The size of each segment that is being written, and of the whole log. `now`: its stamp.

        Of thousands of segments, almost all are known to be finished.
        """
        names, known, written = segment_names(self._directory), self._finished, dict[str, int]()
        finished = {name: known[name] for name in names if name in known}
        for name in names:
            if name not in finished:
                path = self._directory / name
                with suppress(FileNotFoundError):
                    sizes = written if _writing(path) else finished
                    sizes[name] = path.stat().st_size
        self._finished = finished
        # If the clock was set back, segments may have names in the future.
        future = {name: finished[name] for name in names[bisect(names, now) :] if name in finished}
        return written | future, sum((*written.values(), *finished.values()))

    def _mark_rewritten(self, path: Path, known: Erasures) -> None:
        """Note in the erasures that a rewritten segment has nothing left to erase, because its offsets have changed.

        `known`: those for which it was rewritten; others may have come meanwhile. A packed copy of the old segment
        keeps its entry. After a crash between the rewriting and this, the next compaction erases some later lines of
        the subject, too, rather than keep earlier ones.
        """
        if not known.named(path.name):
            return
        packed, ours = path.with_name(path.name + PACKED), {entry.key for entry in known.entries}

        def marked(entry: Erasure) -> Erasure:
            reach = entry.reach(path.name) if entry.key in ours else None
            there = {packed.name: reach} if reach and packed.exists() else {}
            return replace(entry, written={**entry.written, **there, path.name: 0}) if reach else entry

        if any(entry.reach(path.name) for entry in known.entries):
            self._asked.update(lambda entries: [marked(entry) for entry in entries])

    def _settle(self, asked: Erasures, writing: set[str]) -> int:
        """Note which segments still have lines of the erasures `asked`, and finish those that none has.

        `writing`: the segments that were being written. Returns how many of `asked` are left.
        """
        ours = {entry.key for entry in asked.entries}

        def after(entry: Erasure) -> Erasure | None:
            return _settled(entry, writing) if entry.key in ours else entry

        now = [entry for entry in self._asked.read().entries if entry.key in ours]
        done = [entry for entry in now if after(entry) is None]
        if done and (self._directory / ERASURES / DONE).is_dir():
            self._done.add(done)
        if any(after(entry) != entry for entry in now):
            self._asked.update(lambda entries: [left for entry in entries if (left := after(entry)) is not None])
        return len(now) - len(done)

    def _kept(self) -> _Kept:
        """Raises OSError, also if the file cannot be decoded."""
        file = self._directory / _STATE
        try:
            return msgspec.json.decode(file.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return _Kept()
        except UNDECODABLE as error:
            raise OSError(0, f"not written by riskd: {error}", str(file)) from error


def _settled(entry: Erasure, writing: set[str]) -> Erasure | None:
    """The erasure with the segments that still have lines of it; None if none has."""
    missed = any(entry.reach(name) is None for name in writing)
    left = {name: size for name, size in entry.written.items() if name in writing and size}
    return entry if missed else replace(entry, written=left, settled=True) if left else None


def _sizes(directory: Path) -> Iterator[tuple[Path, int]]:
    for path in segment_files(directory):
        with suppress(FileNotFoundError):
            yield path, path.stat().st_size


def _as_named(path: Path) -> Path:
    """The present path of a segment. An operator may have packed it since it was listed."""
    packed = path.with_name(path.name + PACKED)
    return packed if not path.exists() and packed.exists() else path


def _writing(path: Path) -> bool:
    try:
        with finished(path) as done:
            return not done
    except FileNotFoundError:
        return False


def _unwritable(directory: Path, error: Exception) -> Unavailable:
    remedy = "check that the disk has space and is healthy, and that this user may write there"
    what = f"{getattr(error, 'filename', None) or directory}: {cause(error)}"
    return Unavailable([Problem("log.dir", what, remedy)])
