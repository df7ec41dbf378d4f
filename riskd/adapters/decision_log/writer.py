"""Writes the decision log: JSON lines in segment files, with one writer a segment.

A record is passed to the kernel before its answer is sent, so it survives the death of the process. A power loss loses
at most the records of the last `SYNC_SECONDS`, and may tear the last line of a segment, which readers skip. No caller
waits for a disk sync.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from riskd.adapters.decision_log.files import SUFFIX, finished, segment_files, stamp
from riskd.core.errors import InvalidSettings, Problem
from riskd.host.background import surviving
from riskd.host.clock import Clock
from riskd.host.files import DRAFT
from riskd.ports import Meter

SYNC_SECONDS: Final = 1.0
"""Time between two disk syncs, and so the most that a power loss can lose."""
RETRY_SECONDS: Final = 0.1
"""Pause after a failed write. It doubles with each failure, up to `RETRY_MOST_SECONDS`."""
RETRY_MOST_SECONDS: Final = 5.0
PATIENCE_S: Final = 0.1
"""Longest wait for another thread's write, which takes some microseconds."""
PRUNE_SECONDS: Final = 600.0
"""Time between two deletions of old segments, unless a segment was finished."""


class Bounds(Struct, frozen=True, kw_only=True):
    """When a segment is finished, how many finished segments are kept, and when a write counts as slow."""

    segment_bytes: int = 64 << 20
    segment_seconds: float = 3600.0
    keep_bytes: int = 4096 << 20
    keep_seconds: float = 365 * 86400.0
    slow_seconds: float = 0.02
    patience_seconds: float = PATIENCE_S
    """Longest wait of a record while another is written."""


UNBOUNDED: Final = Bounds(
    segment_seconds=math.inf, keep_bytes=1 << 62, keep_seconds=math.inf, slow_seconds=math.inf, patience_seconds=60.0
)
"""For tools, in which no caller waits: nothing is deleted, segments end only by size, and a write may wait for long."""


class FileDecisionLog:
    """A `DecisionLog` in files. Thread-safe. Each process opens its own, in the same directory.

    A segment is named by its start, worker and process, `20260102T030405.678901-w0-4711.jsonl`, so names sort by time.
    Its writer holds a lock on it. A process that finishes a segment deletes the oldest unlocked segments beyond the
    bounds.

    A failed write is undone, and `append` returns False. The next try comes after a back-off, so the log recovers
    without a restart once a full disk has space. While a write hangs in a disk that does not answer, records of other
    threads are refused: the first after `patience_seconds`, the others at once. The caller counts refused records; this
    class counts slow writes and failed syncs.
    """

    def __init__(
        self, directory: Path, worker: int, meter: Meter, bounds: Bounds, wall: Callable[[], float] = time.time
    ) -> None:
        """Creates the directory (0700) and the first segment (0600). Raises InvalidSettings if it cannot."""
        self._directory = directory
        self._worker = worker
        self._meter = meter
        self._bounds = bounds
        self._clock = Clock(wall)
        self._lock = threading.Lock()
        self._moves = True
        self._path = directory
        self._descriptor = -1
        self._size = 0
        self._born = 0.0
        self._retry_at = 0.0
        self._pause = RETRY_SECONDS
        self._dirty = False
        self._finished: list[int] = []
        self._stop = threading.Event()
        self._closed = False
        try:
            self._open()
        except OSError as error:
            remedy = "let riskd write there, or choose another directory"
            raise InvalidSettings([Problem("log.dir", f"{directory}: {error.strerror}", remedy)]) from error
        self._keeper = threading.Thread(target=self._keep, name="decision-log", daemon=True)
        self._keeper.start()

    def append(self, record: bytes) -> bool:
        """Write a JSON line (passed without newline) to the operating system. False if that failed."""
        line = record + b"\n"
        if not self._lock.acquire(timeout=self._bounds.patience_seconds if self._moves else 0.0):
            self._moves = False
            return False
        try:
            started = time.monotonic()
            if self._closed or started < self._retry_at:
                return False
            try:
                if self._descriptor < 0 or self._full(len(line), started):
                    self._open()
                self._write(line)
            except OSError:
                self._retry_at = started + self._pause
                self._pause = min(self._pause * 2, RETRY_MOST_SECONDS)
                return False
            self._pause, self._dirty, self._moves = RETRY_SECONDS, True, True
            slow = time.monotonic() - started > self._bounds.slow_seconds
        finally:
            self._lock.release()
        if slow:
            self._meter.failed("decision_log_slow")
        return True

    def close(self) -> None:
        """Sync everything to disk and close. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._finish()
        self._stop.set()
        self._keeper.join()
        self._sync()

    def _full(self, more: int, now: float) -> bool:
        return self._size > 0 and (self._size + more > self._bounds.segment_bytes or self._aged(now))

    def _aged(self, now: float) -> bool:
        return now - self._born > self._bounds.segment_seconds

    def _open(self) -> None:
        """Start the next segment. The keeper thread syncs and closes the old one, so that no caller waits for it."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"{stamp(self._clock.wall())}-w{self._worker}-{os.getpid()}{SUFFIX}"
        if path.exists():  # our own, if the clock was set back; renaming would replace it
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        draft = path.with_name(path.name + DRAFT)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.rename(path)  # Renamed once it is locked, because a segment without a lock counts as finished.
        except OSError:
            os.close(descriptor)
            raise
        self._finish()
        self._path, self._descriptor, self._size, self._born = path, descriptor, 0, time.monotonic()

    def _lost(self) -> bool:
        """Whether the segment is no longer at its path: it was deleted, or its file system is gone."""
        try:
            return self._descriptor >= 0 and not os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except OSError:
            return True

    def _finish(self) -> None:
        if self._descriptor >= 0:
            self._finished.append(self._descriptor)
            self._descriptor = -1

    def _write(self, line: bytes) -> None:
        written = 0
        try:
            while written < len(line):
                written += os.write(self._descriptor, line[written:] if written else line)
        except OSError:
            if written:
                self._undo()
            if self._lost():
                self._finish()
            raise
        self._size += written

    def _undo(self) -> None:
        """Remove an incomplete line. If that fails, too, finish the segment with its torn end."""
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            self._finish()

    def _keep(self) -> None:
        prune_at = 0.0
        while not self._stop.is_set():
            with surviving("decision-log"):
                if time.monotonic() >= prune_at:
                    prune_at = time.monotonic() + PRUNE_SECONDS
                    self._prune()
            self._stop.wait(SYNC_SECONDS)
            with surviving("decision-log"):
                if self._sync():
                    prune_at = 0.0

    def _sync(self) -> bool:
        """Sync what was written, and finish a segment that is old or was deleted. True if one was finished."""
        with self._lock:
            if self._size and self._aged(time.monotonic()):
                self._finish()
            done, self._finished = self._finished, []
            current = self._current()
            if current >= 0 and self._lost():
                self._finish()
        for descriptor in (*done, current):
            if descriptor >= 0:
                try:
                    os.fsync(descriptor)
                except OSError:
                    self._meter.failed("decision_log_sync")
                if descriptor in done:
                    fcntl.flock(descriptor, fcntl.LOCK_UN)  # which closing does not, if a forked process has it, too
                os.close(descriptor)
        return bool(done)

    def _current(self) -> int:
        """A duplicate descriptor to sync; -1 if there is nothing to sync, or no descriptor left (retried later)."""
        try:
            current = os.dup(self._descriptor) if self._dirty and self._descriptor >= 0 else -1
        except OSError:
            self._meter.failed("decision_log_sync")
            return -1
        self._dirty = False
        return current

    def _prune(self) -> None:
        """Delete finished segments that are empty, and the oldest beyond the bounds. Other processes do the same."""
        now = self._clock.wall()
        oldest = now - self._bounds.keep_seconds if self._clock.trusted(now) else -math.inf
        with contextlib.suppress(OSError):
            found = [(path, path.stat()) for path in segment_files(self._directory)]
            total = sum(status.st_size for _, status in found)
            for path, status in found:
                beyond = total > self._bounds.keep_bytes or status.st_mtime < oldest
                if (beyond or not status.st_size) and _unlink_finished(path, status.st_size):
                    total -= status.st_size


def _unlink_finished(path: Path, size: int) -> bool:
    """Delete a segment if it is finished and still has this size. Returns whether it was deleted."""
    with finished(path) as done:
        goes = done and path.stat().st_size == size
        if goes:
            path.unlink()
        return goes
