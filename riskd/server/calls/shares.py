"""How far each caller is ahead of its share of a lane during an overload, so that none pays for the flood of another.

Each of n callers has an n-th of the time (the virtual time of fair queueing: A. Demers, S. Keshav and S. Shenker,
SIGCOMM 1989). Only callers of the callers file have names, so there are never more of them than it lists.
"""

from __future__ import annotations


class Shares:
    """The work of each caller in virtual time, which passes more slowly the more callers there are. Without callers
    that are behind it, nothing is remembered."""

    def __init__(self) -> None:
        self._time = 0.0
        self._until: dict[str, float] = {}
        """By caller, the virtual time at which its share suffices for all that it has offered."""
        self._pruned = 0.0

    def __len__(self) -> int:
        return len(self._until)

    def clear(self) -> None:
        """Forget everything: the overload is over."""
        self._until.clear()

    def passed(self, seconds: float, memory: float) -> None:
        """So much time has passed. Forgets callers that are behind their shares, at most once every `memory` seconds,
        because there may be thousands."""
        self._time += seconds / max(len(self._until), 1)
        self._pruned += seconds
        if self._pruned > memory:
            self._pruned = 0.0
            self._until = {caller: until for caller, until in self._until.items() if until > self._time}

    def offer(self, caller: str, seconds: float, most: float) -> float:
        """Count work of a caller. Returns by how many seconds it was ahead of its share before. It is at most `most`
        seconds ahead."""
        ahead = max(self._until.get(caller, 0.0) - self._time, 0.0)
        self._until[caller] = self._time + min(ahead + seconds, most)
        return ahead
