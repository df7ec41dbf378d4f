"""What a child process has of its supervisor: messages through a pipe, signals, and a board in shared memory."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from riskd.core.errors import Problem

BEAT_SECONDS: Final = 1.0
"""Time between two heartbeats of a process."""


class Serving(Struct, frozen=True, tag=True):
    """A child is ready and serves. `facts`: what `ProcessTree` passes to `ready`."""

    facts: dict[str, str] = {}


class Stopping(Struct, frozen=True, tag=True):
    """A child has begun to drain."""


class Refused(Struct, frozen=True, tag=True):
    """A child refuses the configuration and exits."""

    problems: tuple[Problem, ...]


_ENCODER: Final = msgspec.json.Encoder()
DECODER: Final = msgspec.json.Decoder(Serving | Stopping | Refused)
"""Of a message's line, without the newline."""


class Report:
    """A child's link to the supervisor: sends messages, and receives signals."""

    def __init__(self, descriptor: int, beat: Callable[[], None], *, restarted: bool = False) -> None:
        """`descriptor`: the child's end of the pipe. `beat`: records a heartbeat. `restarted`: this child replaces one
        that died after the service was ready.
        """
        self._descriptor = descriptor
        self._beat = beat
        self.restarted = restarted

    def send(self, message: Serving | Stopping | Refused) -> None:
        """Send a message to the supervisor. Does nothing if the supervisor has died."""
        line = _ENCODER.encode(message) + b"\n"
        with contextlib.suppress(BrokenPipeError):
            while line:
                line = line[os.write(self._descriptor, line) :]

    def reloads(self) -> Iterator[None]:
        """Yields at each SIGHUP, to reload, and ends at SIGTERM, to stop. Sends heartbeats meanwhile."""
        while True:
            self._beat()
            received = signal.sigtimedwait({signal.SIGTERM, signal.SIGHUP}, BEAT_SECONDS)
            if received is not None:
                if received.si_signo == signal.SIGTERM:
                    return
                yield


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
