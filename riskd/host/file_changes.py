"""Detects changed files by polling their sizes, inodes and modification times."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from riskd.host.files import visible

MAX_FILES: Final = 4096
"""Most files that are polled."""
Seen = tuple[tuple[str, int, int, int], ...]


class FileChanges:
    """Reports a change below some paths once the files have stopped changing, that is, are the same in two polls.

    Contents are not compared here: whoever loads a file can tell by its hash whether it is in use already. inotify
    would need a watch for each directory, misses changes on network file systems, and reports files half written.
    """

    def __init__(self, paths: Sequence[Path], seconds: float, now: float) -> None:
        """Poll every `seconds`, the first time that long after `now` (monotonic)."""
        self._paths = paths
        self._seconds = seconds
        self._reported = self._before = self._poll()
        self.due = now + seconds

    def changed(self, now: float) -> bool:
        """Whether a poll is due and finds a change since the last report, but none since the last poll."""
        if now < self.due:
            return False
        self.due = now + self._seconds
        before, self._before = self._before, self._poll()
        if self._before == self._reported or self._before != before:
            return False
        self._reported = self._before
        return True

    def settle(self) -> None:
        """Do not report the present state. Call this before reading the files for another reason."""
        self._reported = self._poll()

    def _poll(self) -> Seen:
        found = []
        for path in sorted(islice(_files(self._paths), MAX_FILES)):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """The visible files below the paths."""
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - `is_dir` raises where permission is missing
            yield from visible(path)
        else:
            yield path
