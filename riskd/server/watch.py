"""Has callers and certificates read again in a worker when their files have changed and come to rest."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final, Protocol

from riskd.background import every
from riskd.core.errors import RiskdError
from riskd.server.file_changes import FileChanges

LOOK_SECONDS: Final = 1.0
"""Time between two looks."""
_LOG: Final = logging.getLogger("riskd.watch")


class FailureMeter(Protocol):
    """Counts what was refused."""

    def failed(self, part: str) -> None:
        """One more of this part."""
        ...


class Watched:
    """Some files, and who reads them again. `part` names them in metrics and events."""

    def __init__(self, part: str, files: Sequence[str], reload: Callable[[], None], meter: FailureMeter) -> None:
        """`reload` raises RiskdError when it refuses what it finds; what there was then goes on."""
        self._part = part
        self._changes = FileChanges([Path(file) for file in files if file], 0.0, monotonic())
        self._reload = reload
        self._meter = meter
        self._lock = threading.Lock()

    def look(self) -> None:
        """Reload what has changed and is the same as at the last look: a pair of files is replaced one by one."""
        if self._changes.changed(monotonic()):
            self.take()

    def take(self) -> None:
        """Reload now. What is refused is told once, and tried again when the files change again."""
        with self._lock:  # an order to reload comes in another thread than looks do
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
def watching(watched: Sequence[Watched], tell: Callable[[], None]) -> Iterator[None]:
    """A thread that looks every `LOOK_SECONDS`, and `tell`s; without files there is none."""

    def look(_: threading.Event) -> None:
        for each in watched:
            each.look()
        tell()

    with every(LOOK_SECONDS if watched else 0.0, look, "watch"):
        yield
