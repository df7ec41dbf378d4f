"""The metrics of a receiver. `docs/metrics.md` is generated from this table, too."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from riskd.metrics.metric import Metric
from riskd.shared_signals.stream import Poll, Stream

METRICS: Final = (
    Metric(
        "riskd_events_received_total",
        "counter",
        "Security event tokens received, by stream, event (`other` for those that riskd does not use)"
        " and result: `recorded` by riskd, `not_used`, `of_the_stream` itself (a verification, an "
        "update), or `refused`. A token that is sent again counts again.",
        ("stream", "event", "result"),
        merge="live",
    ),
    Metric(
        "riskd_events_failures_total",
        "counter",
        "Times that events of a stream could not be fetched or recorded: the `transmitter` does not "
        "answer, its `keys` cannot be fetched, `riskd` does not answer, riskd does not accept the "
        "receiver as `caller`, or more arrived in a minute than the `pace` of the stream allows. The "
        "transmitter sends them again.",
        ("stream", "part"),
        merge="live",
    ),
    Metric(
        "riskd_events_heard_timestamp_seconds",
        "gauge",
        "Unix time at which a stream was last heard, in seconds: the transmitter answered a `poll`, "
        "or the receiver accepted a `push`. Before the first time, the start of the receiver.",
        ("stream", "delivery"),
        merge="live",
    ),
)
"""Every metric of a receiver. The streams are those of its file, so labels stay bounded."""


class StreamMetrics:
    """The counters of one receiver. Thread-safe."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._lock = threading.Lock()
        self._received: Counter[tuple[str, ...]] = Counter()
        self._failures: Counter[tuple[str, ...]] = Counter()
        began = time.time()
        self._heard: dict[tuple[str, ...], float] = {(each.name, delivery(each)): began for each in streams}

    def received(self, stream: Stream, event: str, result: str) -> None:
        """Count a token."""
        with self._lock:
            self._received[stream.name, event, result] += 1

    def failed(self, stream: Stream, part: str) -> None:
        """Count a failure of one part."""
        with self._lock:
            self._failures[stream.name, part] += 1

    def heard(self, stream: Stream) -> None:
        """Note that the transmitter was heard from."""
        with self._lock:
            self._heard[stream.name, delivery(stream)] = time.time()

    def readings(self) -> dict[str, dict[tuple[str, ...], float]]:
        """The current values of every series: by metric name, then by label values."""
        with self._lock:
            tables: list[dict[tuple[str, ...], float]] = [{**self._received}, {**self._failures}, {**self._heard}]
        return {metric.name: table for metric, table in zip(METRICS, tables, strict=True)}


def delivery(stream: Stream) -> str:
    """How a stream is delivered: `poll` or `push`."""
    return "poll" if isinstance(stream.delivery, Poll) else "push"
