"""What was made of a log, into the store that serves: record by record, each once.

A step is one write of the store: some records, and the document that says how far it has come. So whoever dies in the
middle goes on where it was, and nothing counts twice. What was written to a record meanwhile is added to it: all that
histories hold are sums, sets and unions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from riskd.core.errors import Problem, Unavailable
from riskd.core.recall import ACTIVITY, COMMON, KINDS, PROFILE, SHARE
from riskd.core.rekey import merged
from riskd.core.stored import NOBODY, Change, document, expired, pack
from riskd.ports import HistoryStore

KEY: Final = NOBODY + b"rebuilt"
"""Of the document that says which lines of a log are in a store."""
STEP: Final = 64
"""Records of a write: some milliseconds, and sign-ins get their turn."""
TRIES: Final = 1000
"""Attempts at a single record that others change at the same moment."""
_HISTORIES: Final = (PROFILE, COMMON, ACTIVITY, SHARE)


class Rebuilt(Struct, frozen=True, kw_only=True):
    """A log until `until` (epoch seconds), as far as it is in a store. `origin` tells what it was made of; `cursor` is
    where the next step begins; once `ended` there is none, and once `complete` nobody who was erased meanwhile is in
    it."""

    until: float
    origin: str
    cursor: bytes = b""
    records: int = 0
    ended: bool = False
    complete: bool = False


def read_rebuilt(store: HistoryStore) -> Rebuilt | None:
    """What a store says of it. Raises Unavailable."""
    (record,) = store.load((KEY,))
    found = document(record, 0.0)
    return None if found is None else msgspec.msgpack.decode(found, type=Rebuilt)


def merge(
    staging: HistoryStore, store: HistoryStore, so_far: Rebuilt, now: float, told: Callable[[int], None]
) -> Rebuilt:
    """Everything of `staging` that has not expired at `now`, from where it is on; how far it is then. `told` hears,
    after each step, how many records more are done. Raises Unavailable; what was done is kept."""
    limit = STEP
    while not so_far.ended:
        keys, cursor = staging.walk(so_far.cursor, limit)
        then = replace(so_far, cursor=cursor, ended=not cursor, records=so_far.records + len(keys))
        for _ in range(TRIES if limit == 1 else 1):
            if _step(staging, store, keys, (so_far, then), now):
                so_far, limit = then, min(2 * limit, STEP)
                told(len(keys))
                break
        else:
            if limit == 1:
                what = "its records keep changing, or another store lies there now"
                raise Unavailable([Problem("store", what, "run it again")])
            limit = max(limit // 4, 1)
    return so_far


def _step(
    staging: HistoryStore, store: HistoryStore, keys: list[bytes], states: tuple[Rebuilt, Rebuilt], now: float
) -> bool:
    before, after = states
    ours = {
        key: record
        for key, record in zip(keys, staging.load(keys), strict=True)
        if record is not None and key[-1:] in KINDS and not expired(record, now)
    }
    if read_rebuilt(store) != (before if before.records else None):
        return False
    there = store.load(list(ours))
    changes = [
        Change(key, other, _joined(key, record, other, now))
        for (key, record), other in zip(ours.items(), there, strict=True)
    ]
    return store.replace([*changes, _said(before if before.records else None, after)])


def conclude(store: HistoryStore, so_far: Rebuilt) -> None:
    """Say that it is complete. Raises Unavailable."""
    if not store.replace([_said(so_far, replace(so_far, complete=True))]):
        raise Unavailable([Problem("store", "another store lies there now", "run it again")])


def _said(before: Rebuilt | None, after: Rebuilt) -> Change:
    return Change(KEY, None if before is None else _packed(before), _packed(after))


def _packed(rebuilt: Rebuilt) -> bytes:
    return pack(float("inf"), msgspec.msgpack.encode(rebuilt))


def _joined(key: bytes, ours: bytes, there: bytes | None, now: float) -> bytes:
    """One record of what was and what is. Of documents the one that is there."""
    if there is None or expired(there, now):
        return ours
    return merged(ours, there) if key[-1:] in _HISTORIES else there
