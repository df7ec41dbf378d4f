"""Moves the records of a store to new pseudonyms, with one more pepper layer, while the store is in use."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from threading import Event
from time import monotonic
from typing import Final

import msgspec
from msgspec import Struct

from riskd.core.errors import UNDECODABLE, Problem, Unavailable
from riskd.core.history import Delta, History
from riskd.core.pseudonym import Layer, Origins
from riskd.core.recall import ASIDE, NOTE, PROFILE, RECEIPT, SHARE
from riskd.core.rekey import DOCUMENTS, MARK, WHOLE, merged, moved, moved_key, referenced_keys, unmoved
from riskd.core.stored import NOBODY, PLACE, Change, Swap, document, pack
from riskd.ports import PATIENCE, HistoryStore
from riskd.transfer import arrived, transfer

STEP: Final = 500
"""Keys listed at a time."""
PASSES: Final = 10
"""Most passes over all keys. Usually the second pass finds nothing left to move."""
_DAMAGED: Final = (*UNDECODABLE, struct.error)
_ALWAYS: Final = float("-inf")
"""A time before every expiry: reads expired records, too."""


class Mark(Struct, frozen=True):
    """How many layers the records of a store have. `checks`: one value for each pepper, by which to recognise it."""

    layers: int = 0
    checks: tuple[str, ...] = ()


def read_mark(store: HistoryStore) -> Mark:
    """The mark of a store; `Mark()` if it was never moved. Raises Unavailable, also if it is damaged."""
    (record,) = store.load((MARK,))
    try:
        found = document(record, 0.0)
        return Mark() if found is None else msgspec.msgpack.decode(found, type=Mark)
    except _DAMAGED as error:
        what, remedy = f"is damaged: {error}", "restore a copy of the store, or begin with a new one"
        raise Unavailable([Problem("the store's note on its peppers", what, remedy)]) from error


def write_mark(store: HistoryStore, mark: Mark) -> None:
    """Write the mark into the store. Raises Unavailable."""
    (before,) = store.load((MARK,))
    store.replace([Change(MARK, before, _packed(mark))])


def restore_mark(store: HistoryStore, known: Mark, layers: int) -> Mark:
    """Read the mark. A store that had the mark `known`, and was emptied or replaced since, gets it again.

    `layers`: of the records that are written now. A store with other records, such as an old backup, is left alone.
    Raises Unavailable.
    """
    mark = read_mark(store)
    if mark.checks or not known.checks:
        return mark
    if not any(unmoved(key, known.layers % 2) and unmoved(key, layers % 2) for key in first_keys(store)):
        store.replace([Change(MARK, None, _packed(known))])
    return read_mark(store)


def first_keys(store: HistoryStore) -> list[bytes]:
    """Keys of some records; none if there is nothing but riskd's own notes. Raises Unavailable."""
    cursor = b""
    while True:
        keys, cursor = store.walk(cursor, STEP)
        found = [key for key in keys if not key.startswith(NOBODY)]
        if found or not cursor:
            return found


def _packed(mark: Mark) -> bytes:
    return pack(float("inf"), msgspec.msgpack.encode(mark))


def move(store: HistoryStore, key: bytes, layer: Layer, timeout: float = PATIENCE) -> int:
    """Move a record, and first the histories that it refers to, to their new keys. Returns how many were moved.

    If the new key has a record already, the two are merged. A record that cannot be decoded is deleted, because it
    would keep its old pseudonym for ever. Raises Unavailable.
    """
    count, deadline = 0, monotonic() + timeout

    def add(record: bytes, there: Sequence[bytes | None]) -> list[bytes | None]:
        nonlocal count
        for other in referenced_keys(key, record):
            count += move(store, other, layer, deadline - monotonic())
        if _taken_out(store, key, deadline - monotonic()):
            return list(there)
        return [_joined(key, there[0], moved(key, record, layer))]

    try:
        return transfer(store, key, (moved_key(key, layer),), add, timeout) + count
    except _DAMAGED:
        store.erase((key, key + ASIDE))
        return count


def _taken_out(store: HistoryStore, key: bytes, timeout: float) -> bool:
    """Whether an erasure that was interrupted has taken a share out of its device. Once the device has moved, none can
    any more."""
    device = key[PLACE:-1] + PROFILE
    return key[-1:] == SHARE and not store.atomic() and arrived(store, key, device, timeout)


def _joined(key: bytes, there: bytes | None, again: bytes) -> bytes:
    """One record from those under the new and the old key. A damaged one under the new key is replaced."""
    if there is None:
        return again
    try:
        return there if key[-1:] in DOCUMENTS else merged(there, again)
    except _DAMAGED:
        return again


def move_all(store: HistoryStore, layer: Layer, parity: int, stop: Event, progress: Callable[[int], None]) -> int:
    """Move every record to `layer`. Returns how many were moved.

    `parity`: number of layers after the move, modulo 2, by which a key shows whether it was moved. `stop` interrupts
    the move, `progress` gets the number of moved records. Histories are moved first, then the records that refer to
    them, in passes until none is left. After an interruption or a crash the next call continues. Raises Unavailable.
    """
    count = 0
    for _ in range(PASSES):
        before = count
        for last in (False, True):
            cursor, first = b"", True
            while (first or cursor) and not stop.is_set():
                keys, cursor = store.walk(cursor, STEP)
                first = False
                for key in keys:
                    own = key.removesuffix(ASIDE)
                    if unmoved(key, parity) and (own[-1:] in DOCUMENTS) == last:
                        count += move(store, own, layer)
                progress(count)
        if count == before:
            break
    return count


class RekeyingStore:
    """A `HistoryStore` in front of one whose records are being moved.

    Callers use new keys only. Before a record is read or written, it is moved from its old key if it is still there.
    `origins` remembers the old pseudonym of each new one that this process has made.
    """

    def __init__(self, store: HistoryStore, origins: Origins, layer: Layer) -> None:
        self._store = store
        self._origins = origins
        self._layer = layer

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History], list[bytes | None]]:
        """See `HistoryStore`."""
        left = self._move((*histories, *documents), timeout)
        return self._store.read(histories, documents, now, left)

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        """See `HistoryStore`."""
        left = self._move([*(delta.key for delta in deltas), *(swap.key for swap in swaps)], timeout)
        return self._store.write(deltas, swaps, now, left)

    def held(self, place: bytes, now: float, limit: int) -> list[bytes]:
        """See `HistoryStore`."""
        before = self._origins.before(place)
        if before is not None:
            while keys := [key for key in self._store.held(before, _ALWAYS, STEP) if key[-1:] != NOTE]:
                for key in keys:
                    move(self._store, key.removesuffix(ASIDE), self._layer)
        return self._store.held(place, now, limit)

    def load(self, keys: Sequence[bytes], timeout: float = PATIENCE) -> list[bytes | None]:
        """See `HistoryStore`."""
        return self._store.load(keys, self._move(keys, timeout))

    def erase(self, keys: Sequence[bytes]) -> int:
        """See `HistoryStore`."""
        self._move(keys, PATIENCE)
        return self._store.erase(keys)

    def replace(self, changes: Sequence[Change], timeout: float = PATIENCE) -> bool:
        """See `HistoryStore`."""
        return self._store.replace(changes, timeout)

    def walk(self, cursor: bytes, limit: int) -> tuple[list[bytes], bytes]:
        """See `HistoryStore`."""
        return self._store.walk(cursor, limit)

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
        self._store.close()

    def _move(self, keys: Iterable[bytes], timeout: float) -> float:
        """Move the records of these new keys that are still under their old keys. One read finds them. Returns the
        seconds that are left of the timeout."""
        deadline = monotonic() + timeout
        old = [before for key in keys if (before := self._old_key(key)) is not None]
        found = self._store.load([*old, *(key + ASIDE for key in old)], timeout)
        for key, record, aside in zip(old, found[: len(old)], found[len(old) :], strict=True):
            if record is not None or aside is not None:
                move(self._store, key, self._layer, deadline - monotonic())
        return deadline - monotonic()

    def _old_key(self, key: bytes) -> bytes | None:
        """The key before the move; None if its pseudonyms are not known."""
        body, kind = key[:-1], key[-1:]
        if kind in WHOLE:
            before = self._origins.before(body)
            return None if before is None else before + kind
        place, rest = self._origins.before(body[:PLACE]), body[PLACE:]
        if kind == RECEIPT:
            earlier: bytes | None = rest[:-1] if len(rest) > PLACE else rest + b"\0"
        else:
            earlier = self._origins.before(rest)
        return None if place is None or earlier is None else place + earlier + kind
