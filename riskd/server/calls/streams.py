"""The open streams of a worker: their threads, their number, and when the server ends them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic, sleep
from typing import Final

from riskd.host.background import log_no_thread
from riskd.server.calls.inbox import TIMED_OUT, Inbox

GROUP: Final = 16
"""Most attempts answered in one message. The first is answered with the last, and each takes about 0.4 ms."""
STOPPING: Final = "the service is stopping"
POLL_SECONDS: Final = 0.01
NOTICE_SECONDS: Final = 0.3
"""Time for clients to notice that their streams have ended, and to stop sending."""


class Streams(ThreadPoolExecutor):
    """The streams of a worker, each with a thread, which mostly waits for its client. `turn` is held while computing,
    so that one stream computes at a time."""

    def __init__(self, most: int, *, silent_s: float, age_s: float) -> None:
        """`most`: streams open at the same time. A stream ends after `silent_s` seconds without a message, and
        receives none once it is `age_s` seconds old."""
        super().__init__(max(most, 1), thread_name_prefix="stream")
        self._most = most
        self._silent_s = silent_s
        self._age_s = age_s
        self._open: dict[Inbox, float] = {}
        self.turn = threading.Lock()

    def admits(self, _caller: str = "") -> bool:
        """Whether another stream may be opened. If not, cancels streams that should long have ended.

        Those are of clients that do not read their answers, so their threads cannot finish.
        """
        if len(self._open) < self._most:
            return True
        overdue = monotonic() - 2 * self._age_s
        for inbox, since in list(self._open.items()):
            if since < overdue:
                inbox.cancel()
        return False

    def submit(self, fn: Callable[..., object], /, *args: object, **_: object) -> Future[object]:  # type: ignore[override]  # as gRPC calls it
        """Start a stream. Called on gRPC's thread, with the arguments of `grpc._server`. Raises RuntimeError if no
        thread can be started for it."""
        finish, event, state, behaviour, _requests, *codecs = args
        inbox = Inbox(event.call, state)  # type: ignore[attr-defined]  # of cygrpc, published without types
        self._open[inbox] = monotonic()
        try:
            done = super().submit(self._run, inbox, fn, finish, event, state, behaviour, lambda: inbox, *codecs)
        except RuntimeError:
            log_no_thread("stream")
            del self._open[inbox]
            raise
        done.add_done_callback(lambda _: self._open.pop(inbox))
        return done

    def _run(self, inbox: Inbox, fn: Callable[..., object], *args: object) -> object:
        """Run a stream, unless it was refused: the pool keeps what it could start no thread for, and gives it to a
        later one."""
        return fn(*args) if inbox in self._open else None

    def groups(self, inbox: Inbox) -> Iterator[list[bytes]]:
        """The stream's messages, in groups of those that waited, until its client ends it or cancels.

        Raises StreamOver when the server ends it.
        """
        old_at = monotonic() + self._age_s
        while True:
            now = monotonic()
            if now >= old_at:
                inbox.close(TIMED_OUT)
            messages = inbox.take(GROUP, min(now + self._silent_s, old_at))
            if not messages:
                return
            yield messages

    def end(self, timeout_s: float) -> None:
        """End all streams: receive nothing more, and answer what was received, within `timeout_s` seconds.

        Then waits a moment for the clients to notice: if their connection were closed while they still send, they
        would lose the last answer.
        """
        self._most = 0
        ending = list(self._open)
        for inbox in ending:
            inbox.close(STOPPING)
        until = monotonic() + timeout_s
        while self._open and monotonic() < until:
            sleep(POLL_SECONDS)
        if ending:
            sleep(NOTICE_SECONDS)
