"""Adds rebuilt records to the store in service, each record exactly once.

A step adds some records, each in one change with a note beside it; then it writes the document that says how far the
merge has come, and deletes the notes. So an interrupted merge continues where it stopped, and nothing counts twice,
though a cluster adds the records of a step one place at a time. What the service wrote to a record meanwhile is kept
and added up: histories hold only sums, sets and unions.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.lmdb_store import beside, due_until
from riskd.adapters.lmdb_store import note as stamp
from riskd.config import Settings
from riskd.core.errors import InvalidSettings, Problem, Unavailable
from riskd.core.recall import ACTIVITY, COMMON, KINDS, OWN, PROFILE, SHARE
from riskd.core.rekey import merged
from riskd.core.stored import NOBODY, Change, document, expired, pack
from riskd.ports import HistoryStore
from riskd.transfer import note, note_key

KEY: Final = NOBODY + b"rebuilt"
"""Key of the document that says which lines of a log are in a store."""
STEP: Final = 64
"""Records per step: each of its writes takes some milliseconds, so that sign-ins get their turn."""
TRIES: Final = 1000
"""Attempts at a single record that others keep changing at the same moment."""
_HISTORIES: Final = (PROFILE, COMMON, ACTIVITY, SHARE, OWN)


class Rebuilt(Struct, frozen=True, kw_only=True):
    """How much of a log, up to `until` (epoch seconds), is in a store. `origin`: identifies the staging store.

    `cursor`: where the next step begins. `ended`: all records are merged. `complete`: subjects that were erased
    meanwhile have been removed, too.
    """

    until: float
    origin: str
    cursor: bytes = b""
    records: int = 0
    ended: bool = False
    complete: bool = False


def read_rebuilt(store: HistoryStore) -> Rebuilt | None:
    """How much is in a store, None if nothing was rebuilt into it. Raises Unavailable."""
    (record,) = store.load((KEY,))
    content = document(record, 0.0)
    return None if content is None else msgspec.msgpack.decode(content, type=Rebuilt)


def unless_rebuilt(settings: Settings, store: HistoryStore) -> None:
    """Raise InvalidSettings during a rebuild from the log, whose records have the pseudonyms of when it began.

    Of one by another machine, a store that both share knows while records are merged. Before that nothing is in the
    store, and the rebuild itself looks whether the pepper was rotated.
    """
    path = Path(settings.store.path)
    directory, what = beside(path), "its histories are being rebuilt from the decision log"
    if due_until(path) is not None or directory.exists():
        remedy = f"wait until it is done; or, to abandon it, remove {stamp(path)} and {directory}"
        raise InvalidSettings([Problem("store", what, remedy)])
    known = read_rebuilt(store) if settings.store.kind == "redis" else None
    if known is not None and not known.complete:
        remedy = "wait until it is done; if it was interrupted, run `riskd import decision-log` again where it began"
        raise InvalidSettings([Problem("store", f"{what} of another machine", remedy)])


def merge(
    staging: HistoryStore, store: HistoryStore, so_far: Rebuilt, now: float, progress: Callable[[int], None]
) -> Rebuilt:
    """Merge all records of `staging` that have not expired at `now`, continuing after an earlier run.

    Returns the new state. `progress` is called after each step with the number of records done. Raises Unavailable;
    finished steps are kept.
    """
    limit = STEP
    if not so_far.records and read_rebuilt(store) is None:
        store.replace([_state_change(None, so_far)])
    while not so_far.ended:
        keys, cursor = staging.walk(so_far.cursor, limit)
        then = replace(so_far, cursor=cursor, ended=not cursor, records=so_far.records + len(keys))
        for _ in range(TRIES if limit == 1 else 1):
            if _step(staging, store, keys, (so_far, then), now):
                so_far, limit = then, min(2 * limit, STEP)
                progress(len(keys))
                break
        else:
            if limit == 1:
                what = "its records keep changing, or it was replaced by another store"
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
    if read_rebuilt(store) != before:
        return False
    notes = {key: note_key(key, KEY + key) for key in ours}
    asked = [*ours, *notes.values()]
    found = dict(zip(asked, store.load(asked), strict=True))
    changes: list[Change] = []
    for key, record in ours.items():
        there, noted, added = found[key], found[notes[key]], note(record, before.origin.encode())
        if noted != added:
            changes += (Change(key, there, _joined(key, record, there, now)), Change(notes[key], noted, added))
    done = store.replace(changes) and store.replace([_state_change(before, after)])
    if done:
        store.erase(list(notes.values()))
    return done


def conclude(store: HistoryStore, so_far: Rebuilt) -> None:
    """Record that the rebuild is complete. Raises Unavailable."""
    if not store.replace([_state_change(so_far, replace(so_far, complete=True))]):
        raise Unavailable([Problem("store", "was replaced by another store", "run it again")])


def _state_change(before: Rebuilt | None, after: Rebuilt) -> Change:
    return Change(KEY, None if before is None else _packed(before), _packed(after))


def _packed(rebuilt: Rebuilt) -> bytes:
    return pack(float("inf"), msgspec.msgpack.encode(rebuilt))


def _joined(key: bytes, ours: bytes, existing: bytes | None, now: float) -> bytes:
    """One record from the rebuilt and the existing one. Histories are merged; of documents, the existing one is
    kept."""
    if existing is None or expired(existing, now):
        return ours
    return merged(ours, existing) if key[-1:] in _HISTORIES else existing
