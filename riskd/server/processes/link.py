"""What a process of the tree and its supervisor tell each other: messages through a pipe, and signals."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
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
"""Reads a message, one line without its end."""


class Link:
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
