"""Test doubles for the engine's ports that record what they get, or fail on demand."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from riskd.adapters.memory import MemoryStore, NullMeter
from riskd.core.assess import Decision
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt, Outcome, SecurityEvent
from riskd.core.context import Missing
from riskd.core.errors import Problem, Unavailable
from riskd.core.history import Delta, History
from riskd.core.learn import Receipt
from riskd.core.record import Record, decode
from riskd.core.stored import Swap


class ListLog:
    """A decision log in a list; while `full`, it accepts nothing."""

    def __init__(self, *, full: bool = False) -> None:
        self.lines: list[bytes] = []
        self.full = full

    def append(self, record: bytes) -> bool:
        """Keep the line."""
        if not self.full:
            self.lines.append(record)
        return not self.full

    def records(self) -> list[Record]:
        """The decoded lines."""
        return [decode(line) for line in self.lines]

    def close(self) -> None:
        """Nothing to close."""


class CountingMeter(NullMeter):
    """Counts what the engine tells it, by kind and labels."""

    def __init__(self) -> None:
        self.told: Counter[tuple[str, ...]] = Counter()

    def assessed(
        self, attempt: Attempt, missing: Sequence[Missing], decision: Decision, answer: Assessment, now: float
    ) -> None:
        """Count an answer, its gaps, and its withheld tier."""
        domain, journey = attempt.domain, attempt.journey
        self.told["assessed", domain, journey, answer.requirement.tier.name] += 1
        if decision.withheld is not None:
            self.told["withheld", domain, journey, decision.withheld.name] += 1
        for gap in answer.gaps:
            self.told["gap", gap.source, gap.why] += 1

    def outcome(self, before: Receipt, kept: Receipt, outcome: Outcome, achieved: str) -> None:
        """Count an outcome, and a completed sign-in."""
        self.told["outcome", kept.domain, outcome.kind] += 1
        if achieved:
            self.told["through", kept.tier.name, achieved] += 1

    def event(self, event: SecurityEvent) -> None:
        """Count a security event."""
        self.told["event", event.domain, event.kind] += 1

    def recalled(self, remembered: int, fetched: int) -> None:
        """Count cached and loaded common values."""
        self.told["recalled", "memory"] += remembered
        self.told["recalled", "store"] += fetched

    def failed(self, part: str) -> None:
        """Count a failure by part."""
        self.told["failed", part] += 1


class SlowStore(MemoryStore):
    """A slow store: it takes at most the timeout, and then raises Unavailable."""

    def __init__(self, *, reads: float = 0.0, writes: float = 0.0) -> None:
        """`reads`, `writes`: seconds that each takes."""
        super().__init__()
        self.reads, self.writes = reads, writes

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History], list[bytes | None]]:
        """As `MemoryStore`, but later."""
        self._take(self.reads, timeout)
        return super().read(histories, documents, now, timeout)

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        """As `MemoryStore`, but later."""
        self._take(self.writes, timeout)
        return super().write(deltas, swaps, now, timeout)

    @staticmethod
    def _take(seconds: float, timeout: float) -> None:
        time.sleep(max(min(seconds, timeout), 0.0))
        if seconds >= timeout:
            raise Unavailable([Problem("store", "slow", "wait")])


class FailingStore(MemoryStore):
    """A store whose reads or writes fail."""

    def __init__(self, *, reads: bool = False, writes: bool = False) -> None:
        """`reads`, `writes`: whether each still works."""
        super().__init__()
        self.reads, self.writes = reads, writes

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History], list[bytes | None]]:
        """As `MemoryStore`, or Unavailable."""
        if not self.reads:
            raise Unavailable([Problem("store", "down", "wait")])
        return super().read(histories, documents, now, timeout)

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        """As `MemoryStore`, or Unavailable."""
        if not self.writes:
            raise Unavailable([Problem("store", "down", "wait")])
        return super().write(deltas, swaps, now, timeout)
