"""What became of the lines of a log: how many of each kind, and where the first few are that are no records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from riskd.core.errors import Problem

NAMED: Final = 10
"""Of the lines that are no records, so many are told of one by one; the rest are counted."""

_NEW_WORDS: Final = ("Invalid enum value", "Invalid value")
"""How msgspec begins to tell of a word, or a type of line, that it does not know."""


class Counts(Counter[str]):
    """Lines by what was done with them. `first` tells of the first few of those that are `unreadable`."""

    first: tuple[Problem, ...] = ()

    def damaged(self, error: Exception, where: str, number: int | Callable[[int], int]) -> None:
        """Count a line that is no record. `number`: which one there it is, from 1, 0 where nobody knows; or what finds
        that out, behind the one that was told of last."""
        self["unreadable"] += 1
        remedy = "a newer riskd may have written it: read it with that one" if str(error).startswith(_NEW_WORDS) else ""
        if len(self.first) < NAMED:
            after = max((each.line for each in self.first if each.where == where), default=0)
            self.first += (Problem(where, str(error), remedy, line=number(after) if callable(number) else number),)

    def add(self, others: Counts) -> None:
        """Count those of another part, too; what both met is told once."""
        self.update(others)
        self.first = tuple(dict.fromkeys(self.first + others.first))[:NAMED]

    def __reduce__(self) -> tuple[object, ...]:
        """To another process."""
        return _again, (dict(self), self.first)


def _again(counts: Mapping[str, int], first: tuple[Problem, ...]) -> Counts:
    found = Counts(counts)
    found.first = first
    return found
