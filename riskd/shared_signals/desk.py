"""Handles and counts the tokens of one stream, polled or pushed, and logs each failure once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from riskd.core.attempt import SecurityEvent
from riskd.shared_signals.intake import REFUSED, Taken, take, understand
from riskd.shared_signals.keys import Keys
from riskd.shared_signals.metrics import StreamMetrics
from riskd.shared_signals.stream import PACE, Away, Stream

MINUTE: Final = 60.0
QUIET_SECONDS: Final = 10.0
"""At least this long between two log lines about tokens refused with the same code."""
_LOG: Final = logging.getLogger("riskd.events")


class Pace:
    """At most `most` events a minute, so that whoever has a transmitter's key cannot flood the decision log. A minute
    begins with the first event after the previous one ended. Thread-safe."""

    def __init__(self, most: int, now: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._now = now
        self._lock = threading.Lock()
        self._began = -MINUTE
        self._count = 0

    def admits(self) -> bool:
        """Whether one more event may be reported now. It counts."""
        with self._lock:
            if self._now() - self._began >= MINUTE:
                self._began, self._count = self._now(), 0
            self._count += 1
            return self._count <= self._most


class Desk:
    """Handles the tokens of one stream. Thread-safe."""

    def __init__(
        self, stream: Stream, keys: Keys, send: Callable[[SecurityEvent], None], metrics: StreamMetrics
    ) -> None:
        """`send` reports an event. It raises Refused for what riskd never accepts, and Away while it cannot report."""
        self.stream = stream
        self.metrics = metrics
        self._keys = keys
        self._send = send
        self._pace = Pace(stream.most)
        self._lock = threading.Lock()
        self._failing = ""
        self._refusals: dict[str, tuple[float, int]] = {}

    def take(self, token: str, jti: str = "") -> Taken:
        """Handle a token; when this returns, riskd has recorded it. Raises Away if it must be delivered again."""
        taken = take(understand(token, self.stream, self._keys, time.time(), jti), self._report)
        self.metrics.received(self.stream, taken.event, taken.result)
        if taken.result == REFUSED:
            self._refused(taken)
        elif taken.of is not None:
            odd = taken.of.status not in ("", "enabled")
            fields = {"stream": self.stream.name, "event_name": taken.event, "status": taken.of.status or "verified"}
            _LOG.log(logging.WARNING if odd else logging.INFO, "stream_told_of_itself", extra={"fields": fields})
        return taken

    def _report(self, event: SecurityEvent) -> None:
        if not self._pace.admits():
            raise Away(PACE, f"more than {self.stream.most} events came within a minute; the rest waits")
        self._send(event)

    def _refused(self, taken: Taken) -> None:
        """Log the first refusal with a code, then at most one in `QUIET_SECONDS`, with the number of tokens since."""
        now = time.monotonic()
        with self._lock:
            logged_at, held = self._refusals.get(taken.err, (-QUIET_SECONDS, 0))
            quiet = now - logged_at < QUIET_SECONDS
            self._refusals[taken.err] = (logged_at, held + 1) if quiet else (now, 0)
        if not quiet:
            fields = {"stream": self.stream.name, "event_name": taken.event, "err": taken.err, "why": taken.why}
            _LOG.warning("event_refused", extra={"fields": {**fields, "tokens": held + 1}})

    def failed(self, error: Away) -> None:
        """Count an unavailable part. Log it when the failure begins or changes."""
        self.metrics.failed(self.stream, error.part)
        with self._lock:
            news, self._failing = str(error) != self._failing, str(error)
        if news:
            fields = {"stream": self.stream.name, "part": error.part, "why": error.why}
            _LOG.warning("stream_fails", extra={"fields": fields})

    def heard(self) -> None:
        """Note that the transmitter was heard from."""
        self.metrics.heard(self.stream)

    def recovered(self) -> None:
        """Note that no part is unavailable any more, and log it if one was."""
        with self._lock:
            news, self._failing = bool(self._failing), ""
        if news:
            _LOG.warning("stream_is_back", extra={"fields": {"stream": self.stream.name}})
