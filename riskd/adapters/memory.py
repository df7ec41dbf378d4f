"""A history store in memory, which is lost with its process."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from riskd.core import stored
from riskd.core.errors import Problem, Unavailable
from riskd.core.history import Delta, History
from riskd.core.stored import Change, Swap
from riskd.ports import PATIENCE


class MemoryStore:
    """The reference `HistoryStore`, for tests, replay, and single processes that need no persistence.

    Records are held encoded, as in every store, so that no object is shared with a caller.
    """

    def __init__(self) -> None:
        self._records: dict[bytes, bytes] = {}
        self._unswept: list[bytes] = []
        self._lock = Lock()
        self.swept = b""

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History], list[bytes | None]]:
        """See `HistoryStore`."""
        with self._locked(timeout):
            get = self._records.get
            records, contents = [get(key) for key in histories], [get(key) for key in documents]
        return stored.histories(records, now), [stored.document(content, now) for content in contents]

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        """See `HistoryStore`."""
        with self._locked(timeout):
            changed = stored.changes(self._records.get, deltas, swaps, now)
            for key, record in (changed or {}).items():
                if record is None:
                    self._records.pop(key, None)
                else:
                    self._records[key] = record
        return changed is not None

    def held(self, place: bytes, now: float, limit: int) -> list[bytes]:
        """See `HistoryStore`. Looks at every record."""
        with self._lock:
            found = [key for key, record in self._records.items() if key.startswith(place)]
            return sorted(key for key in found if not stored.expired(self._records[key], now))[:limit]

    def erase(self, keys: Sequence[bytes]) -> int:
        """See `HistoryStore`."""
        with self._lock:
            return sum(self._records.pop(key, None) is not None for key in keys)

    def walk(self, cursor: bytes, limit: int) -> tuple[list[bytes], bytes]:
        """See `HistoryStore`. In the order of the keys."""
        with self._lock:
            found = heapq.nsmallest(limit, [key for key in self._records if key > cursor])
        return found, found[-1] if len(found) == limit else b""

    def load(self, keys: Sequence[bytes], timeout: float = PATIENCE) -> list[bytes | None]:
        """See `HistoryStore`."""
        with self._locked(timeout):
            return [self._records.get(key) for key in keys]

    def replace(self, changes: Sequence[Change], timeout: float = PATIENCE) -> bool:
        """See `HistoryStore`."""
        with self._locked(timeout):
            if any(self._records.get(change.key) != change.expected for change in changes):
                return False
            for change in changes:
                if change.record is None:
                    self._records.pop(change.key, None)
                else:
                    self._records[change.key] = change.record
        return True

    def atomic(self) -> bool:
        """See `HistoryStore`."""
        return True

    def sweep(self, now: float, limit: int) -> int:
        """See `HistoryStore`. A pass covers the keys that existed when it began."""
        with self._lock:
            records = self._records
            if not self._unswept:
                self._unswept = list(records)
            rest = max(len(self._unswept) - limit, 0)
            gone = [key for key in self._unswept[rest:] if key in records and stored.expired(records[key], now)]
            del self._unswept[rest:]
            for key in gone:
                del records[key]
        return len(gone)

    def size(self) -> tuple[int, int]:
        """See `HistoryStore`. Bytes of keys and records, without the interpreter's overhead."""
        with self._lock:
            return len(self._records), sum(len(key) + len(record) for key, record in self._records.items())

    def close(self) -> None:
        """Nothing to do."""

    @contextmanager
    def _locked(self, timeout: float) -> Iterator[None]:
        if timeout <= 0 or not self._lock.acquire(timeout=timeout):
            raise Unavailable([Problem("store", "no answer in time", "allow the call more time")])
        try:
            yield
        finally:
            self._lock.release()
