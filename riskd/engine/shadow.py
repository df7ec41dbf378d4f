"""Scores attempts with a release in shadow, after the answer has left, on the facts that the answer was based on.

One thread does this. It takes at most a tenth of a worker's time; cases that do not fit into its queue are dropped
and counted. It writes only to the log and the metrics: answers, histories and receipts are not affected.
"""

from __future__ import annotations

import queue
import threading
from time import perf_counter, sleep
from typing import Final

from msgspec import Struct

from riskd.core.assess import Release, assess
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt
from riskd.core.context import Context
from riskd.core.logged import shadow_record
from riskd.core.pseudonym import Keys
from riskd.core.requirement import Tier
from riskd.host.background import start_thread, surviving
from riskd.ports import Parts

DEPTH: Final = 64
"""Longest queue of attempts; one takes about 5 KiB, at most 50."""
AFTER: Final = 0.002
"""Seconds to wait until an answer has been sent."""
REST: Final = 9.0
"""After each attempt the thread sleeps this many times as long as scoring it took."""


class Case(Struct, frozen=True):
    """An answered attempt with its facts and keys, and the release to score it with."""

    attempt: Attempt
    context: Context
    keys: Keys
    release: Release
    answer: Assessment
    offered: float
    """`perf_counter` when it was answered."""


class Shadow:
    """Scores cases on a background thread, which starts with the first case. Thread-safe."""

    def __init__(self, parts: Parts) -> None:
        """Of the parts it uses the log and the meter."""
        self._parts = parts
        self._meter = parts.meter
        self._waiting: queue.Queue[Case | None] = queue.Queue(DEPTH)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def offer(self, case: Case) -> None:
        """Queue a case for scoring, or count it as dropped if the queue is full. Never blocks."""
        if not (self._started() and self._enqueued(case)):
            self._meter.shadowed(case.attempt.domain, "dropped")

    def close(self) -> None:
        """Score what is queued, then stop the thread. Idempotent."""
        if self._thread is not None and not self._closing.is_set():
            self._closing.set()
            self._waiting.put(None)
            self._thread.join()

    def _started(self) -> bool:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = start_thread(self._run, "shadow")
        return self._thread is not None

    def _enqueued(self, case: Case) -> bool:
        try:
            self._waiting.put_nowait(case)
        except queue.Full:
            return False
        return True

    def _run(self) -> None:
        while (case := self._waiting.get()) is not None:
            if not self._closing.is_set():
                sleep(max(0.0, case.offered + AFTER - perf_counter()))
            begun = perf_counter()
            with surviving("shadow"):
                self._score(case)
            took = perf_counter() - begun
            self._meter.stage("shadow", took)
            if not self._closing.is_set():
                sleep(REST * took)

    def _score(self, case: Case) -> None:
        attempt, answer = case.attempt, case.answer
        decision = assess(attempt, case.context, case.keys, case.release, answer.id, suggest=False)
        tier = decision.assessment.requirement.tier
        self._meter.shadowed(attempt.domain, compared(answer.requirement.tier, tier))
        self._parts.log_line(shadow_record(attempt, case.context, decision, answer))


def compared(required: Tier, shadow: Tier) -> str:
    """How the shadow release's tier compares with the required one: `same`, `stricter` or `looser`."""
    if shadow == required:
        return "same"
    return "stricter" if shadow > required else "looser"
