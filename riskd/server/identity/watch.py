"""Reloads the callers file and the TLS certificate of a worker when their files change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final

from riskd.core.errors import RiskdError
from riskd.host.background import every
from riskd.host.file_changes import FileChanges
from riskd.ports import Meter

POLL_SECONDS: Final = 1.0
"""Time between two polls of the files."""
_LOG: Final = logging.getLogger("riskd.watch")


class Watched:
    """Some files and the function that reloads them."""

    def __init__(self, part: str, files: Sequence[str], reload: Callable[[], None], meter: Meter) -> None:
        """`part`: the files' name in metrics and events. `reload` raises RiskdError if it refuses the files, and then
        keeps the previous version."""
        self._part = part
        self._changes = FileChanges([Path(file) for file in files if file], 0.0, monotonic())
        self._reload = reload
        self._meter = meter
        self._lock = threading.Lock()

    def poll(self) -> None:
        """Reload if the files have changed, and not since the last poll: a certificate and its key are replaced one
        after the other."""
        if self._changes.changed(monotonic()):
            self.reload()

    def reload(self) -> None:
        """Reload now. Files that are refused are logged once, and tried again when they change again."""
        with self._lock:  # SIGHUP is handled on another thread than polls
            self._changes.settle()
            try:
                self._reload()
            except RiskdError as error:
                self._meter.failed(self._part)
                fields = {"part": self._part, "problems": error.problems}
                _LOG.error("files_refused", extra={"fields": fields})
            else:
                _LOG.info("files_taken", extra={"fields": {"part": self._part}})


@contextmanager
def watching(watched: Sequence[Watched], also: Callable[[], None]) -> Iterator[None]:
    """Run a thread that polls the files and calls `also` every `POLL_SECONDS`; none if no files are watched."""

    def poll(_: threading.Event) -> None:
        for each in watched:
            each.poll()
        also()

    with every(POLL_SECONDS if watched else 0.0, poll, "watch"):
        yield
