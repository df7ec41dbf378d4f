"""A store with a memory: what many attempts share is read once in a while, not for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Final

from riskd.core.history import Delta, History
from riskd.core.recall import COMMON
from riskd.core.stored import Change, Swap
from riskd.ports import HistoryStore, Meter

SECONDS: Final = 5.0
"""Staleness: how long other workers' changes to common values may go unseen. They move by one in thousands."""
_UNKNOWN: Final = History()
BOUND: Final = 65_536
"""Histories remembered: some 100 bytes each."""


class CachingStore:
    """A `HistoryStore` in front of another. Histories of common values (`recall.COMMON`: how often a country, a
    browser, an ASN, a whole domain was seen) are remembered until `SECONDS` after the first of them was, and then all
    forgotten at once. What a thread writes it sees at once; one that was reading meanwhile may remember the older state
    for as long.
    """

    def __init__(self, store: HistoryStore, meter: Meter, seconds: float = SECONDS, bound: int = BOUND) -> None:
        self._store = store
        self._meter = meter
        self._seconds = seconds
        self._bound = bound
        self._remembered: dict[bytes, History | None] = {}
        self._begun = 0.0

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History | None], list[bytes | None]]:
        """See `HistoryStore`. Common values may be `seconds` old, and older than the rest of the snapshot."""
        if not self._begun <= now < self._begun + self._seconds:
            self._remembered, self._begun = {}, now
        remembered = self._remembered
        answer = list(map(remembered.get, histories, repeat(_UNKNOWN)))
        unknown = [at for at, history in enumerate(answer) if history is _UNKNOWN]
        asked = [histories[at] for at in unknown]
        found, papers = self._store.read(asked, documents, now, timeout)
        common = {}
        for at, key, history in zip(unknown, asked, found, strict=True):
            answer[at] = history
            if key[-1:] == COMMON:
                common[key] = history
        if len(remembered) + len(common) > self._bound:
            remembered.clear()
        remembered.update(common)
        self._meter.recalled(len(histories) - len(asked), len(common))
        return answer, papers

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        """See `HistoryStore`."""
        done = self._store.write(deltas, swaps, now, timeout)
        for delta in deltas:
            self._remembered.pop(delta.key, None)
        return done

    def held(self, place: bytes, now: float, limit: int) -> list[bytes]:
        """See `HistoryStore`."""
        return self._store.held(place, now, limit)

    def erase(self, keys: Sequence[bytes]) -> int:
        """See `HistoryStore`."""
        for key in keys:
            self._remembered.pop(key, None)
        return self._store.erase(keys)

    def walk(self, cursor: bytes, limit: int) -> tuple[list[bytes], bytes]:
        """See `HistoryStore`."""
        return self._store.walk(cursor, limit)

    def load(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `HistoryStore`. Never from memory."""
        return self._store.load(keys)

    def replace(self, changes: Sequence[Change]) -> bool:
        """See `HistoryStore`."""
        done = self._store.replace(changes)
        for change in changes:
            self._remembered.pop(change.key, None)
        return done

    def sweep(self, now: float, limit: int) -> int:
        """See `HistoryStore`."""
        return self._store.sweep(now, limit)

    def size(self) -> tuple[int, int]:
        """See `HistoryStore`."""
        return self._store.size()

    def close(self) -> None:
        """See `HistoryStore`."""
        self._remembered.clear()
        self._store.close()
