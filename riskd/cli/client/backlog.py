"""What `riskd assess --stream` has not been answered yet."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from riskd._proto.riskd.v1 import risk_pb2
from riskd.core.errors import InvalidAttempt, Problem

WINDOW: Final = 256
"""Attempts that are under way at a time."""


class Backlog:
    """Attempts that have no answer yet: those that are ready to be sent, and those that were, the oldest first."""

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
        """Whether all that the source had has come."""

    def fill(self, source: Iterator[risk_pb2.AssessRequest]) -> None:
        """Have ready what the source gives, `WINDOW` at most. It may wait for it, so in a thread of its own."""
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
        """Whether there is, or comes to be, something to send."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended)
            return bool(self._ready)

    def requests(self) -> Iterator[risk_pb2.StreamAssessRequest]:
        """What is to be sent on one stream, `WINDOW` of them without an answer at most."""
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
        """Note answers."""
        with self._changed:
            for result in results:
                self._sent.popleft()
                self.answered += 1
                self.refused += result.HasField("error")
            self._heard = time.monotonic()
            self._changed.notify_all()

    def rewind(self) -> None:
        """The stream is over: what has no answer is ready to be sent again, in the same order."""
        with self._changed:
            self._stream += 1
            self._ready.extendleft(reversed(self._sent))
            self._sent.clear()
            self._changed.notify_all()

    def waits(self) -> float:
        """Seconds for which nothing was heard of what was sent."""
        with self._changed:
            return time.monotonic() - self._heard if self._sent else 0.0

    def _sendable(self) -> bool:
        return bool(self._ready and len(self._sent) < WINDOW) or (self._ended and not self._ready)
