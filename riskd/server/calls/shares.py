"""How far each caller is ahead of its share of a lane during an overload, so that none pays for the flood of another.

Each of n callers has an n-th of the time (the virtual time of fair queueing: A. Demers, S. Keshav and S. Shenker,
SIGCOMM 1989). Only callers of the callers file have names, so there are never more of them than it lists.
"""

from __future__ import annotations


class Shares:
    """The work that was admitted of each caller, in virtual time, which passes more slowly the more callers there are.
    Callers that do not come any more, and are not ahead of their shares, are forgotten."""

    def __init__(self) -> None:
        self._time = 0.0
        self._until: dict[str, float] = {}
        """By caller, the virtual time at which its share suffices for what was admitted of it."""
        self._came, self._came_before = set[str](), set[str]()
        """The callers of this period, and of the one before."""
        self._period = 0.0

    def __len__(self) -> int:
        return len(self._came)

    def clear(self) -> None:
        """Forget everything: the overload is over."""
        for remembered in (self._until, self._came, self._came_before):
            remembered.clear()

    def came(self, caller: str, since: float, period: float) -> None:
        """A call of a caller has arrived, `since` seconds after the one before it. Forgets others at most once every
        `period` seconds: there may be thousands."""
        self._time += since / max(len(self._until), 1)
        self._period += since
        if self._period > period:
            self._period = 0.0
            self._came, self._came_before = set(), self._came
            self._until = {each: until for each, until in self._until.items() if until > self._time}
        self._came.add(caller)

    def alone(self, caller: str) -> bool:
        """Whether no other caller has come lately."""
        return len(self._came) == 1 and len(self._came_before) == (caller in self._came_before)

    def ahead(self, caller: str) -> float:
        """By how many seconds a caller is ahead of its share."""
        return max(self._until.get(caller, 0.0) - self._time, 0.0)

    def charge(self, caller: str, seconds: float, most: float) -> None:
        """Work of a caller was admitted. It is at most `most` seconds ahead."""
        self._until[caller] = self._time + min(self.ahead(caller) + seconds, most)
