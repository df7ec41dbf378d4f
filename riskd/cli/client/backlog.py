"""The attempts of `riskd assess --stream` that have no answer yet."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from riskd._proto.riskd.v1 import risk_pb2
from riskd.core.errors import InvalidAttempt, Problem

WINDOW: Final = 256
"""How many attempts may wait for an answer at a time."""


class Backlog:
    """Attempts without an answer, oldest first: those that are ready to be sent, and those that were sent."""

    def __init__(self) -> None:
        self._ready: deque[risk_pb2.AssessRequest] = deque()
        self._sent: deque[risk_pb2.AssessRequest] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._stream = 0
        self._heard = 0.0
        self.answered = 0
        self.refused = 0
        self.problems: list[Problem] = []
        self.whole = False
        """Whether the source was read to its end without an error."""

    def fill(self, source: Iterator[risk_pb2.AssessRequest]) -> None:
        """Read attempts from the source, at most `WINDOW` ahead. It blocks, so run it in a thread of its own."""
        try:
            for request in source:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._ready) < WINDOW)
                    self._ready.append(request)
                    self._changed.notify_all()
            self.whole = True
        except InvalidAttempt as error:
            self.problems += error.problems
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def more(self) -> bool:
        """Wait until there is an attempt to send or the source has ended. Returns whether there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended)
            return bool(self._ready)

    def requests(self) -> Iterator[risk_pb2.StreamAssessRequest]:
        """The requests to send on one stream. It blocks while `WINDOW` of them have no answer."""
        own = self._stream
        while True:
            with self._changed:
                self._changed.wait_for(lambda: own != self._stream or self._sendable())
                if own != self._stream or not self._ready:
                    return
                request = self._ready.popleft()
                self._heard = self._heard if self._sent else time.monotonic()
                self._sent.append(request)
                self._changed.notify_all()
            yield risk_pb2.StreamAssessRequest(request=request)

    def take(self, results: Iterable[risk_pb2.StreamAssessResult]) -> None:
        """Record the answers to the oldest attempts that were sent."""
        with self._changed:
            for result in results:
                self._sent.popleft()
                self.answered += 1
                self.refused += result.HasField("error")
            self._heard = time.monotonic()
            self._changed.notify_all()

    def rewind(self) -> None:
        """The stream has ended: attempts without an answer are to be sent again, in the same order."""
        with self._changed:
            self._stream += 1
            self._ready.extendleft(reversed(self._sent))
            self._sent.clear()
            self._changed.notify_all()

    def waits(self) -> float:
        """Seconds since the last answer while attempts wait for one, else 0."""
        with self._changed:
            return time.monotonic() - self._heard if self._sent else 0.0

    def _sendable(self) -> bool:
        return bool(self._ready and len(self._sent) < WINDOW) or (self._ended and not self._ready)
