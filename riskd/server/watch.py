"""Looks whether files have changed, and has what they say taken once they hold still."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from riskd.core.errors import RiskdError

LOOK_SECONDS: Final = 1.0
"""Time between two looks."""
_LOG: Final = logging.getLogger("riskd.watch")
State = tuple[tuple[int, int, int], ...]


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
        self._files = tuple(file for file in files if file)
        self._reload = reload
        self._meter = meter
        self._taken = self._seen = self._state()

    def look(self) -> None:
        """Reload what has changed and is the same as at the last look: a pair of files is replaced one by one."""
        before, self._seen = self._seen, self._state()
        if self._seen == before and self._seen != self._taken:
            self.take()

    def take(self) -> None:
        """Reload now. What is refused is told once, and tried again when the files change again."""
        self._taken = self._state()
        try:
            self._reload()
        except RiskdError as error:
            self._meter.failed(self._part)
            fields = {"part": self._part, "problems": [str(problem) for problem in error.problems]}
            _LOG.error("files_refused", extra={"fields": fields})
        else:
            _LOG.info("files_taken", extra={"fields": {"part": self._part}})

    def _state(self) -> State:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: str) -> tuple[int, int, int]:
    """Follows links: a mounted secret is replaced by pointing a link elsewhere."""
    try:
        found = os.stat(file)  # noqa: PTH116 - of each file once a second, as cheaply as it goes
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_ino, found.st_size)


@contextmanager
def watching(watched: Sequence[Watched], tell: Callable[[], None]) -> Iterator[None]:
    """A thread that looks every `LOOK_SECONDS`, and `tell`s; without files there is none."""
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(LOOK_SECONDS):
            for each in watched:
                each.look()
            tell()

    thread = threading.Thread(target=look, name="watch", daemon=True)
    if watched:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if watched:
            thread.join()
