"""Counts the lines of a log by what was done with them, and remembers the first unreadable ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from riskd.core.errors import Problem

NAMED: Final = 10
"""Number of unreadable lines that are described. The rest are only counted."""
_NEW_WORDS: Final = ("Invalid enum value", "Invalid value")
"""How messages of msgspec begin about an unknown word or type of line."""


class Counts(Counter[str]):
    """Number of lines by what was done with them. `first` describes the first `unreadable` lines, up to `NAMED`."""

    first: tuple[Problem, ...] = ()

    def damaged(self, error: Exception, where: str, number: int | Callable[[int], int]) -> None:
        """Count an unreadable line in `where`. `number`: its 1-based line number, 0 if unknown; or what finds it, given
        the number of the unreadable line before it."""
        self["unreadable"] += 1
        remedy = "a newer riskd may have written it: use that version" if str(error).startswith(_NEW_WORDS) else ""
        if len(self.first) < NAMED:
            after = max((each.line for each in self.first if each.where == where), default=0)
            self.first += (Problem(where, str(error), remedy, line=number(after) if callable(number) else number),)

    def add(self, others: Counts) -> None:
        """Add the counts of another part of the log, which comes after this one. A line in both is named once."""
        self.update(others)
        self.first = tuple(dict.fromkeys(self.first + others.first))[:NAMED]

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle `first` too, which Counter would drop."""
        return _unpickle, (dict(self), self.first)


def _unpickle(counts: Mapping[str, int], first: tuple[Problem, ...]) -> Counts:
    found = Counts(counts)
    found.first = first
    return found
