"""The state of all processes of the tree, which each of them can read."""

from __future__ import annotations

import mmap
import time
from collections.abc import Sequence


class Board:
    """The processes' pids, states, heartbeats and restarts in shared memory. Children write only their heartbeats."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._cells = memoryview(mmap.mmap(-1, 8 * (3 * len(names) + 2))).cast("q")

    def post(self, index: int, pid: int, serving: bool) -> None:
        """Set the state of a process. `pid`: 0 when it is dead."""
        self._cells[3 * index] = pid
        self._cells[3 * index + 1] = serving
        self.beat(index)

    def beat(self, index: int) -> None:
        """Record a heartbeat: the main thread of a process still responds."""
        self._cells[3 * index + 2] = round(time.monotonic())

    def silent(self, index: int) -> float:
        """Seconds since the last heartbeat of a process."""
        return time.monotonic() - self._cells[3 * index + 2]

    def open(self, *, takes_calls: bool) -> None:
        """Set whether the service takes calls: from when all processes serve until the stop begins."""
        self._cells[-2] = takes_calls

    @property
    def opened(self) -> bool:
        """Whether the service takes calls, provided that a worker serves."""
        return bool(self._cells[-2])

    def count_restart(self) -> None:
        """Count the restart of a process."""
        self._cells[-1] += 1

    @property
    def restarts(self) -> int:
        """Restarts of processes since the start."""
        return int(self._cells[-1])

    def pids(self) -> dict[str, int]:
        """The pid of each live process, by name."""
        return {name: self._cells[3 * i] for i, name in enumerate(self.names) if self._cells[3 * i]}

    def serving(self, name: str) -> bool:
        """Whether this process serves."""
        return bool(self._cells[3 * self.names.index(name) + 1])
