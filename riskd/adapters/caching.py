"""A cache in front of a history store, for the histories that many attempts share."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import repeat
from time import monotonic
from typing import Final

from riskd.core.errors import Unavailable
from riskd.core.history import Delta, History
from riskd.core.recall import COMMON
from riskd.core.stored import Change, Swap
from riskd.ports import PATIENCE, HistoryStore, IncompleteRead, Meter

SECONDS: Final = 5.0
"""Lifetime of the cache, and so the longest staleness. Common values are counts in the thousands, which one more
attempt hardly changes."""
_UNKNOWN: Final = History()
BOUND: Final = 65_536
"""Most histories in the cache, of about 100 bytes each."""
QUIET_SECONDS: Final = 10.0
"""Least time between two `store_failed` events: while a store fails, every call does."""
_LOG: Final = logging.getLogger("riskd.stores")


class CachingStore:
    """A `HistoryStore` that caches the histories of common values in front of another store.

    Common values (`recall.COMMON`) are how often a country, a browser, an ASN or a whole domain was seen. The cache is
    emptied every `seconds`. A write invalidates its keys, but a concurrent read may put the old state back until then.

    A common value that cannot be read is as it was when it was last in the cache.

    It logs why reads and writes fail, for whoever operates the store: callers only learn that they did.
    """

    def __init__(self, store: HistoryStore, meter: Meter, seconds: float = SECONDS, bound: int = BOUND) -> None:
        self._store = store
        self._meter = meter
        self._seconds = seconds
        self._bound = bound
        self._cache: dict[bytes, History] = {}
        self._before: dict[bytes, History] = {}
        self._filled_since = 0.0
        self._quiet_until = -math.inf

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History], list[bytes | None]]:
        """See `HistoryStore`. Common values may be up to `seconds` older than the rest of the snapshot."""
        if not self._filled_since <= now < self._filled_since + self._seconds:
            self._start_again(now)
        cache = self._cache
        answer = list(map(cache.get, histories, repeat(_UNKNOWN)))
        unknown = [at for at, history in enumerate(answer) if history is _UNKNOWN]
        asked = [histories[at] for at in unknown]
        failure: IncompleteRead | None = None
        unread: frozenset[bytes] = frozenset()
        try:
            found, contents = self._store.read(asked, documents, now, timeout)
        except IncompleteRead as error:
            failure, found, contents, unread = error, error.histories, error.documents, error.unread
        except Unavailable as error:
            self._report(error)
            raise
        common = {}
        for at, key, history in zip(unknown, asked, found, strict=True):
            answer[at] = history
            if key[-1:] == COMMON:
                common[key] = history
        if unread:
            earlier = {key: self._before[key] for key in unread if key in self._before}
            answer = [earlier.get(key, history) for key, history in zip(histories, answer, strict=True)]
            common = {key: history for key, history in common.items() if key not in unread} | earlier
            unread -= earlier.keys()
        if len(cache) + len(common) > self._bound:
            cache.clear()
        cache.update(common)
        self._meter.recalled(len(histories) - len(asked), len(common))
        if failure is not None and unread:
            self._report(failure)
            raise IncompleteRead(failure.problems, answer, contents, unread)
        return answer, contents

    def _report(self, error: Unavailable) -> None:
        if (moment := monotonic()) >= self._quiet_until:
            self._quiet_until = moment + QUIET_SECONDS
            _LOG.error("store_failed: %s", error, extra={"fields": {"problems": error.problems}})

    def _start_again(self, now: float) -> None:
        """Empty the cache."""
        if len(self._before) + len(self._cache) > self._bound:
            self._before = {}
        self._before.update(self._cache)
        self._cache, self._filled_since = {}, now

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        """See `HistoryStore`."""
        try:
            return self._store.write(deltas, swaps, now, timeout)
        except Unavailable as error:
            self._report(error)
            raise
        finally:
            for delta in deltas:
                self._cache.pop(delta.key, None)

    def held(self, place: bytes, now: float, limit: int) -> list[bytes]:
        """See `HistoryStore`."""
        return self._store.held(place, now, limit)

    def erase(self, keys: Sequence[bytes]) -> int:
        """See `HistoryStore`."""
        for key in keys:
            self._cache.pop(key, None)
            self._before.pop(key, None)
        return self._store.erase(keys)

    def walk(self, cursor: bytes, limit: int) -> tuple[list[bytes], bytes]:
        """See `HistoryStore`."""
        return self._store.walk(cursor, limit)

    def load(self, keys: Sequence[bytes], timeout: float = PATIENCE) -> list[bytes | None]:
        """See `HistoryStore`. Not cached."""
        return self._store.load(keys, timeout)

    def replace(self, changes: Sequence[Change], timeout: float = PATIENCE) -> bool:
        """See `HistoryStore`."""
        done = self._store.replace(changes, timeout)
        for change in changes:
            self._cache.pop(change.key, None)
        return done

    def atomic(self) -> bool:
        """See `HistoryStore`."""
        return self._store.atomic()

    @property
    def swept(self) -> bytes:
        """See `HistoryStore`."""
        return self._store.swept

    @swept.setter
    def swept(self, cursor: bytes) -> None:
        self._store.swept = cursor

    def sweep(self, now: float, limit: int) -> int:
        """See `HistoryStore`."""
        return self._store.sweep(now, limit)

    def size(self) -> tuple[int, int]:
        """See `HistoryStore`."""
        return self._store.size()

    def close(self) -> None:
        """See `HistoryStore`."""
        self._cache.clear()
        self._before.clear()
        self._store.close()
