"""What became of the lines of a log: how many of each kind, and where the first is that is no record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from riskd.core.errors import Problem


class Counts(Counter[str]):
    """Lines by what was done with them. `first` tells of the first of those that are `unreadable`."""

    first: Problem | None = None

    def damaged(self, error: Exception, where: str, number: Callable[[], int]) -> None:
        """Count a line that is no record. `number`: which one of those there it is, from 1; 0 where nobody knows."""
        self["unreadable"] += 1
        if self.first is None:
            self.first = Problem(where, str(error), line=number())

    def add(self, others: Counts) -> None:
        """Count those of another part, too."""
        self.update(others)
        self.first = self.first or others.first

    def __reduce__(self) -> tuple[object, ...]:
        """To another process."""
        return _again, (dict(self), self.first)


def _again(counts: Mapping[str, int], first: Problem | None) -> Counts:
    found = Counts(counts)
    found.first = first
    return found
