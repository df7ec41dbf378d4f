"""The streams that are open in a worker: how many may be, and how they end by themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic, sleep
from typing import Final

from riskd.background import missed
from riskd.server.calls.inbox import LONG, Inbox

GROUP: Final = 16
"""Attempts answered by one message, at most: the first waits for the last, some 0.4 ms for each."""
STOPPING: Final = "the service stops"
LOOK_SECONDS: Final = 0.01
HEARD_SECONDS: Final = 0.3
"""For clients to hear that their streams are over, and to stop sending."""


class Streams(ThreadPoolExecutor):
    """The streams of a worker. Each has a thread, for it waits for its client; who computes has the `turn`."""

    def __init__(self, most: int, *, silent_s: float, age_s: float) -> None:
        """At most `most` are open. One ends after `silent_s` without a message, and takes none after `age_s`."""
        super().__init__(max(most, 1), thread_name_prefix="stream")
        self._most = most
        self._silent_s = silent_s
        self._age_s = age_s
        self._open: dict[Inbox, float] = {}
        self.turn = threading.Lock()

    def admits(self) -> bool:
        """Whether one more may be opened. If not, those end that should have: their clients do not read."""
        if len(self._open) < self._most:
            return True
        overdue = monotonic() - 2 * self._age_s
        for inbox, since in list(self._open.items()):
            if since < overdue:
                inbox.cancel()
        return False

    def submit(self, fn: Callable[..., object], /, *args: object, **_: object) -> Future[object]:  # type: ignore[override]  # as gRPC calls it
        """Take a stream as `grpc._server` gives it, in the thread that then receives its messages. Raises RuntimeError
        where it can have no thread."""
        finish, event, state, behaviour, _requests, *codecs = args
        inbox = Inbox(event.call, state)  # type: ignore[attr-defined]  # of cygrpc, published without types
        self._open[inbox] = monotonic()
        try:
            done = super().submit(fn, finish, event, state, behaviour, lambda: inbox, *codecs)
        except RuntimeError:
            missed("stream")
            del self._open[inbox]
            raise
        done.add_done_callback(lambda _: self._open.pop(inbox))
        return done

    def groups(self, inbox: Inbox) -> Iterator[list[bytes]]:
        """What has come, again and again, until its sender ends or is gone. Raises StreamOver."""
        old_at = monotonic() + self._age_s
        while True:
            now = monotonic()
            if now >= old_at:
                inbox.close(LONG)
            messages = inbox.take(GROUP, min(now + self._silent_s, old_at))
            if not messages:
                return
            yield messages

    def end(self, patience_s: float) -> None:
        """Receive no more in any of them; what was received is answered yet, for so long at most. Then their clients
        have a moment to hear of it: a connection that is closed while they still send takes the last answer with it."""
        self._most = 0
        told = list(self._open)
        for inbox in told:
            inbox.close(STOPPING)
        until = monotonic() + patience_s
        while self._open and monotonic() < until:
            sleep(LOOK_SECONDS)
        if told:
            sleep(HEARD_SECONDS)
