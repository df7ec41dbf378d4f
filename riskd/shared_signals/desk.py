"""Where tokens of one stream arrive, by poll or by push: each is taken, counted, and a mishap is told once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from riskd.core.attempt import SecurityEvent
from riskd.shared_signals.counts import Counts
from riskd.shared_signals.intake import REFUSED, Taken, take, understand
from riskd.shared_signals.keys import Keys
from riskd.shared_signals.stream import Away, Stream

_LOG: Final = logging.getLogger("riskd.events")


class Desk:
    """Takes the tokens of a stream. For many threads."""

    def __init__(self, stream: Stream, keys: Keys, tell: Callable[[SecurityEvent], None], counts: Counts) -> None:
        """`tell` raises Refused for what riskd never takes, and Away while it cannot."""
        self.stream = stream
        self.counts = counts
        self._keys = keys
        self._tell = tell
        self._lock = threading.Lock()
        self._failing = ""

    def take(self, token: str, jti: str = "") -> Taken:
        """What became of a token; once this returns, riskd has it. Raises Away: it has to come again."""
        taken = take(understand(token, self.stream, self._keys, time.time(), jti), self._tell)
        self.counts.received(self.stream, taken.event, taken.result)
        told: dict[str, object] = {"stream": self.stream.name, "event_name": taken.event}
        if taken.result == REFUSED:
            _LOG.warning("event_refused", extra={"fields": {**told, "err": taken.err, "why": taken.why}})
        elif taken.of is not None:
            odd = taken.of.status not in ("", "enabled")
            fields = {**told, "status": taken.of.status or "verified"}
            _LOG.log(logging.WARNING if odd else logging.INFO, "stream_told_of_itself", extra={"fields": fields})
        return taken

    def failed(self, error: Away) -> None:
        """Note that somebody was away: each time in the counts, and in the log when it begins or is another."""
        self.counts.failed(self.stream, error.part)
        with self._lock:
            news, self._failing = str(error) != self._failing, str(error)
        if news:
            fields = {"stream": self.stream.name, "part": error.part, "why": error.why}
            _LOG.warning("stream_fails", extra={"fields": fields})

    def heard(self) -> None:
        """Note that the transmitter is there."""
        self.counts.heard(self.stream)

    def well(self) -> None:
        """Note that nobody was away."""
        with self._lock:
            news, self._failing = bool(self._failing), ""
        if news:
            _LOG.warning("stream_is_back", extra={"fields": {"stream": self.stream.name}})
