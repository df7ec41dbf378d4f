"""Whether files changed since the last look: their sizes, inodes and times, looked at every few seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

MOST: Final = 4096
"""Files that are looked at."""
Seen = tuple[tuple[str, int, int, int], ...]


class FileChanges:
    """Notices that something below some paths has changed, once it has come to rest.

    What a file holds is read by whoever loads it, and told from what is in use by its hash. inotify would need a
    watch for each directory, sees nothing of network file systems, and says too early that a file is being written.
    """

    def __init__(self, paths: Sequence[Path], seconds: float, now: float) -> None:
        """Look every `seconds`; the first time that long after `now` (monotonic)."""
        self._paths = paths
        self._seconds = seconds
        self._told = self._before = self._look()
        self.due = now + seconds

    def changed(self, now: float) -> bool:
        """Whether it is time to look, and something has changed, and did not change any more since the last look."""
        if now < self.due:
            return False
        self.due = now + self._seconds
        before, self._before = self._before, self._look()
        if self._before == self._told or self._before != before:
            return False
        self._told = self._before
        return True

    def settle(self) -> None:
        """What is there now is known: somebody reads it anyway."""
        self._told = self._look()

    def _look(self) -> Seen:
        found = []
        for path in sorted(islice(_files(self._paths), MOST)):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Hidden ones are drafts, or what Kubernetes mounts behind links that are seen."""
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - of what cannot be looked at, `is_dir` raises
            for folder, folders, names in os.walk(path, followlinks=True):
                folders[:] = [name for name in folders if not name.startswith(".")]
                yield from (Path(folder, name) for name in names if not name.startswith("."))
        else:
            yield path
