"""A damaged store's histories come back by themselves: the monitor looks for one, and has a process rebuild it.

The process has the lowest priority but one, is alone, and dies with the monitor. One that dies goes on after a while.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import asdict

from riskd.adapters.lmdb_store import is_due
from riskd.config import Settings
from riskd.core.errors import Problem, RiskdError

if TYPE_CHECKING:
    from riskd.rebuild.run import Summary

LOOK_SECONDS: Final = 0.5
TOLD_SECONDS: Final = 30.0
"""Between two events of progress."""
BACKOFF_SECONDS: Final = (1.0, 600.0)
"""Before the next try after one that failed, doubling."""
NICE: Final = 15
_SET_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG, prctl(2)
_LOG: Final = logging.getLogger("riskd.rebuild")


class RebuildWatch:
    """Rebuilds the embedded store when it is due. One thread looks; any may read what it found."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._path = Path(settings.store.path)
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._answer: Summary | tuple[Problem, ...] | None = None
        self._failures = 0
        self._due = 0.0
        self._told = 0.0
        self.readings: dict[str, dict[tuple[str, ...], float]] = {}

    def look(self, now: float) -> None:
        """Begin what is due, hear what is told, end what has ended, at `now` (seconds that never go back)."""
        until = is_due(self._path)
        if self._process is not None:
            self._listen(now)
        elif until is not None and now >= self._due:
            self._begin(until, now)
        pending = float(until is not None or self._process is not None)
        self.readings = {**self.readings, "riskd_store_rebuild_pending": {(): pending}}

    def close(self) -> None:
        """End the process; what it has done is kept."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def _begin(self, until: float, now: float) -> None:
        context = get_context("spawn")
        self._pipe, tell = context.Pipe(duplex=False)
        self._process = context.Process(target=_rebuild, args=(self._settings, os.getpid(), tell), daemon=True)
        self._process.start()
        tell.close()
        self._answer, self._told = None, now
        _LOG.warning("store_rebuild_started", extra={"fields": {"until": until, "pid": self._process.pid}})

    def _listen(self, now: float) -> None:
        assert self._pipe is not None
        try:
            while self._pipe.poll():
                said = self._pipe.recv()
                if isinstance(said, tuple) and said and isinstance(said[0], str):
                    self._progress(now, *said)
                else:
                    self._answer = said
        except EOFError:
            self._end(now)

    def _progress(self, now: float, half: str, done: int, total: int) -> None:
        share = done / total if total else 1.0
        ratios = self.readings.get("riskd_store_rebuild_ratio", {})
        self.readings = {**self.readings, "riskd_store_rebuild_ratio": {**ratios, (half,): share}}
        if now >= self._told + TOLD_SECONDS:
            self._told = now
            _LOG.info("store_rebuild_progress", extra={"fields": {"half": half, "share": round(share, 3)}})

    def _end(self, now: float) -> None:
        assert self._process is not None
        assert self._pipe is not None
        self._pipe.close()
        self._process.join()
        answer, code, self._process = self._answer, self._process.exitcode, None
        if answer is not None and not isinstance(answer, tuple):
            self._failures = 0
            lines: dict[tuple[str, ...], float] = {(kind,): float(count) for kind, count in answer.counts.items()}
            self.readings = {**self.readings, "riskd_store_rebuild_lines": lines}
            _LOG.warning("store_rebuild_finished", extra={"fields": asdict(answer)})
            return
        first, most = BACKOFF_SECONDS
        pause = min(first * 2**self._failures, most)
        self._failures, self._due = self._failures + 1, now + pause
        problems = [str(problem) for problem in answer] if answer else [f"its process ended with code {code}"]
        _LOG.error("store_rebuild_failed", extra={"fields": {"problems": problems, "again_in_s": pause}})


def _rebuild(settings: Settings, parent: int, tell: Connection) -> None:
    """The life of the process."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        return
    os.nice(NICE)
    from riskd.rebuild.order import LogSource
    from riskd.rebuild.run import rebuild

    told = 0.0

    def report(half: str, done: int, total: int) -> None:
        nonlocal told
        if done >= total or time.monotonic() >= told + LOOK_SECONDS:
            told = time.monotonic()
            tell.send((half, done, total))

    try:
        tell.send(rebuild(settings, LogSource(settings), None, report))
    except RiskdError as error:
        tell.send(error.problems)


@contextmanager
def rebuilding(settings: Settings) -> Iterator[RebuildWatch]:
    """A watch that looks until this is left; never, unless `store.rebuild` asks for it and the store is a file."""
    watch = RebuildWatch(settings)
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(LOOK_SECONDS):
            watch.look(time.monotonic())
        watch.close()

    thread = threading.Thread(target=run, name="rebuild", daemon=True)
    wanted = settings.store.rebuild and settings.store.kind == "lmdb"
    if wanted:
        thread.start()
    try:
        yield watch
    finally:
        stop.set()
        if wanted:
            thread.join()
