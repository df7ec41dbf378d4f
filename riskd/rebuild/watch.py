"""Rebuilds the histories of a damaged store automatically: the monitor checks whether one is due, and starts a process.

The process has a low priority and dies with the monitor. There is only one at a time. If it dies, it is started again
after a pause, and continues.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from msgspec.structs import asdict

from riskd.adapters.lmdb_store import due_until
from riskd.config import Settings
from riskd.host.background import every
from riskd.rebuild.messages import DECODER, Ended, Message, Progress, Refused, packed

LOOK_SECONDS: Final = 0.5
LOG_SECONDS: Final = 30.0
"""Shortest time between two log events about progress."""
BACKOFF_SECONDS: Final = (1.0, 600.0)
"""First and longest pause after a failure; it doubles each time."""
_CHUNK: Final = 65_536
_LOG: Final = logging.getLogger("riskd.rebuild")


class RebuildWatch:
    """Rebuilds the embedded store when it is due. One thread calls `look`; any thread may read `readings`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._path = Path(settings.store.path)
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._answer: Message | None = None
        self._pause = 0.0
        self._due = 0.0
        self._logged_at = 0.0
        self.readings: dict[str, dict[tuple[str, ...], float]] = {}

    def look(self, now: float) -> None:
        """Start a rebuild that is due, read its messages, and handle its end. `now`: monotonic seconds."""
        until = due_until(self._path)
        if self._process is not None:
            self._listen(now)
        elif until is not None and self._settings.store.rebuild and now >= self._due:
            self._begin(until, now)
        pending = float(until is not None or self._process is not None)
        self.readings = {**self.readings, "riskd_store_rebuild_pending": {(): pending}}

    def close(self) -> None:
        """End the process; finished work is kept."""
        if self._process is not None:
            with self._process as process:
                process.kill()

    def _begin(self, until: float, now: float) -> None:
        command = [sys.executable, "-m", "riskd.rebuild", str(os.getpid())]
        try:
            # In a group of its own, where the Ctrl-C of a terminal does not reach it.
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)
        except OSError as error:  # the limit of processes or memory is reached, which may pass
            self._failed(now, [str(error)])
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError), self._process.stdin as pipe:
            pipe.write(packed(self._settings))
        os.set_blocking(self._process.stdout.fileno(), False)
        self._buffer, self._answer, self._logged_at = b"", None, now
        _LOG.warning("store_rebuild_started", extra={"fields": {"until": until, "pid": self._process.pid}})

    def _listen(self, now: float) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while (more := self._process.stdout.read(_CHUNK)) is not None:
            *lines, self._buffer = (self._buffer + more).split(b"\n")
            for message in map(DECODER.decode, lines):
                if isinstance(message, Progress):
                    self._progress(now, message)
                else:
                    self._answer = message
            if not more:
                self._end(now)
                return

    def _progress(self, now: float, message: Progress) -> None:
        half, share = message.half, message.done / message.total if message.total else 1.0
        ratios = self.readings.get("riskd_store_rebuild_ratio", {})
        self.readings = {**self.readings, "riskd_store_rebuild_ratio": {**ratios, (half,): share}}
        if now >= self._logged_at + LOG_SECONDS:
            self._logged_at = now
            _LOG.info("store_rebuild_progress", extra={"fields": {"half": half, "share": round(share, 3)}})

    def _end(self, now: float) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        code = self._process.wait()
        answer, self._process = self._answer, None
        if isinstance(answer, Ended):
            self._pause = 0.0
            lines: dict[tuple[str, ...], float] = {
                (kind,): float(count) for kind, count in answer.summary.counts.items()
            }
            self.readings = {**self.readings, "riskd_store_rebuild_lines": lines}
            _LOG.warning("store_rebuild_finished", extra={"fields": asdict(answer.summary)})
            return
        refused = answer.problems if isinstance(answer, Refused) else ()
        self._failed(now, [str(problem) for problem in refused] or [f"its process ended with code {code}"])

    def _failed(self, now: float, problems: list[str]) -> None:
        first, most = BACKOFF_SECONDS
        self._pause = min(2 * self._pause, most) or first
        self._due = now + self._pause
        _LOG.error("store_rebuild_failed", extra={"fields": {"problems": problems, "again_in_s": self._pause}})


@contextmanager
def rebuilding(settings: Settings) -> Iterator[RebuildWatch]:
    """A watch that runs until the context exits. It looks only if the store is a file, and starts a rebuild only if
    `store.rebuild` is set."""
    watch = RebuildWatch(settings)
    seconds = LOOK_SECONDS if settings.store.kind == "lmdb" else 0.0
    with closing(watch), every(seconds, lambda _: watch.look(time.monotonic()), "rebuild"):
        yield watch
