"""Counts the lines of a log by what was done with them, and remembers the first unreadable one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from riskd.core.errors import Problem


class Counts(Counter[str]):
    """Number of lines by what was done with them. `first` describes the first `unreadable` line."""

    first: Problem | None = None

    def damaged(self, error: Exception, where: str, number: Callable[[], int]) -> None:
        """Count an unreadable line in `where`. `number` returns its 1-based line number, 0 if unknown."""
        self["unreadable"] += 1
        if self.first is None:
            self.first = Problem(where, str(error), line=number())

    def add(self, others: Counts) -> None:
        """Add the counts of another part of the log, which comes after this one."""
        self.update(others)
        self.first = self.first or others.first

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle `first` too, which Counter would drop."""
        return _unpickle, (dict(self), self.first)


def _unpickle(counts: Mapping[str, int], first: Problem | None) -> Counts:
    found = Counts(counts)
    found.first = first
    return found
