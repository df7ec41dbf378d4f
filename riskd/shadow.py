"""A release in shadow: scored on the same facts after the answer has left, never on the caller's time.

One thread of low claims: it waits until an answer is on its way, takes at most a tenth of a worker's time, and what
does not fit into its queue is dropped and counted. It reads what the answer was made of, and writes to the log and
the metrics alone: no history, no receipt, no answer knows of it.
"""

from __future__ import annotations

import queue
import threading
from time import perf_counter, sleep
from typing import Final

from msgspec import Struct

from riskd.background import begun, surviving
from riskd.core import record
from riskd.core.assess import Release, assess
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt
from riskd.core.context import Context
from riskd.core.pseudonym import Keys
from riskd.core.requirement import Tier
from riskd.ports import DecisionLog, Meter

DEPTH: Final = 64
"""Attempts that may wait: some 50 KiB each at the worst, usually 5."""
AFTER: Final = 0.002
"""Seconds after which an answer has left."""
REST: Final = 9.0
"""Times as long as the work took, the thread rests."""


class Case(Struct, frozen=True):
    """An attempt that was answered, with all that the answer was made of, and the release to score it with."""

    attempt: Attempt
    context: Context
    keys: Keys
    release: Release
    answer: Assessment
    offered: float
    """`perf_counter` at the answer."""


class Shadow:
    """Scores cases on a thread of its own, begun with the first. Safe between threads."""

    def __init__(self, log: DecisionLog, meter: Meter) -> None:
        self._log = log
        self._meter = meter
        self._waiting: queue.Queue[Case | None] = queue.Queue(DEPTH)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def offer(self, case: Case) -> None:
        """Score it soon, or count it as dropped. Never blocks."""
        if not (self._begun() and self._took(case)):
            self._meter.shadowed(case.attempt.domain, "dropped")

    def close(self) -> None:
        """Score what waits, then end. Idempotent."""
        if self._thread is not None and not self._closing.is_set():
            self._closing.set()
            self._waiting.put(None)
            self._thread.join()

    def _begun(self) -> bool:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = begun(self._run, "shadow")
        return self._thread is not None

    def _took(self, case: Case) -> bool:
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
        there = decision.assessment
        self._meter.shadowed(attempt.domain, moved(answer.requirement.tier, there.requirement.tier))
        line = record.ShadowRecord(
            id=answer.id,
            time=case.context.now,
            tenant=attempt.tenant,
            domain=attempt.domain,
            journey=attempt.journey,
            log_odds=decision.log_odds,
            score=there.score,
            level=there.level,
            tier=there.requirement.tier.name,
            satisfied=there.requirement.satisfied,
            hits=tuple(hit.rule for hit in decision.hits if not hit.shadow),
            shadow_hits=tuple(hit.rule for hit in decision.hits if hit.shadow),
            causes=there.causes,
            release=there.release,
            model=there.model,
            beside=answer.release,
        )
        if not self._log.append(record.encode(line)):
            self._meter.failed("decision_log")


def moved(answered: Tier, there: Tier) -> str:
    """How a shadow release's tier compares with the one that was required: `same`, `stricter` or `looser`."""
    if there == answered:
        return "same"
    return "stricter" if there > answered else "looser"
