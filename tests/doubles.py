"""Test doubles for the engine's ports that record what they get, or fail on demand."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from riskd.adapters.memory import MemoryStore
from riskd.adapters.null import NullMeter
from riskd.core.assess import Decision
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt, Outcome, SecurityEvent
from riskd.core.context import Missing
from riskd.core.errors import Problem, Unavailable
from riskd.core.history import EMPTY, Delta, History
from riskd.core.learn import Receipt
from riskd.core.record import Record, decode
from riskd.core.stored import PLACE, Swap
from riskd.ports import IncompleteRead, IncompleteWrite


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


class PartialStore(MemoryStore):
    """A store that does not reach some places, like a cluster that lacks a master."""

    def __init__(self) -> None:
        super().__init__()
        self.unread: Callable[[bytes], bool] = lambda _: False
        """Whether a place cannot be read."""
        self.unwritten: Callable[[bytes], bool] = lambda _: False

    @contextmanager
    def losing(self, place: bytes) -> Iterator[None]:
        """One place cannot be reached for a while."""
        self.unread = self.unwritten = lambda other: other == place
        try:
            yield
        finally:
            self.unread = self.unwritten = lambda _: False

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History], list[bytes | None]]:
        """As `MemoryStore`, or what is in the other places."""
        lost = frozenset(key for key in (*histories, *documents) if self.unread(key[:PLACE]))
        found, contents = super().read(histories, documents, now, timeout)
        if not lost:
            return found, contents
        if len(lost) == len({*histories, *documents}):
            raise Unavailable([Problem("store", "down", "wait")])
        known = [EMPTY if key in lost else history for key, history in zip(histories, found, strict=True)]
        papers = [None if key in lost else content for key, content in zip(documents, contents, strict=True)]
        raise IncompleteRead([Problem("store", "partly down", "wait")], known, papers, lost)

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        """As `MemoryStore`, but only in the other places."""
        reached = [delta for delta in deltas if not self.unwritten(delta.key[:PLACE])]
        if any(self.unwritten(swap.key[:PLACE]) for swap in swaps):
            super().write(reached, (), now, timeout)
            raise Unavailable([Problem("store", "partly down", "wait")])
        done = super().write(reached, swaps, now, timeout)
        if done and len(reached) < len(deltas):
            raise IncompleteWrite([Problem("store", "partly down", "wait")])
        return done


class ForgetfulStore(PartialStore):
    """A `PartialStore` on which outcomes, which read only documents, meet no fault."""

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History], list[bytes | None]]:
        """As `PartialStore` if histories are read."""
        if not histories:
            return MemoryStore.read(self, (), documents, now, timeout)
        return super().read(histories, documents, now, timeout)


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
