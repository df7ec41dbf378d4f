"""Takes a record out of one place and adds it to records of another, exactly once.

On one machine that is one change. In a cluster nothing changes two places at once, and a process may die between two
changes. So there a transfer consists of changes of one place each:

1. Open a note beside the targets, unless there is one: a record with a random number.
2. Put the record aside, under a key of its own and with a new random number, so that nobody adds to it any more.
3. Change the targets, and write that number into the note: one change, only if the note is still as it was before (2).
4. Delete what was put aside.
5. Delete the note.

Any number of processes may work on the same transfer, and any of them may die: what was put aside is completed by the
next one. A note with the number shows that (3) was done. A note that is gone was deleted after (4), and its numbers
never come back. So a process that does not know yet what others did cannot do (3) a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from secrets import token_bytes
from time import monotonic
from typing import Final

from riskd.core.errors import Problem, Unavailable
from riskd.core.history import DAY
from riskd.core.recall import ASIDE, NOTE
from riskd.core.stored import PLACE, Change, expiry, pack, payload
from riskd.ports import PATIENCE, HistoryStore

TRIES: Final = 100
"""Most attempts at a record that others change at the same time."""
_NUMBER: Final = 8
"""Length in bytes of a random number."""
Add = Callable[[bytes, Sequence[bytes | None]], Sequence[bytes | None]]
"""The targets after a record was added to them."""


class _Timed:
    """A store each of whose calls ends at one deadline."""

    def __init__(self, store: HistoryStore, timeout: float) -> None:
        self._store = store
        self._deadline = monotonic() + timeout
        self.atomic = store.atomic

    def load(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._store.load(keys, self._deadline - monotonic())

    def replace(self, changes: Sequence[Change]) -> bool:
        return self._store.replace(changes, self._deadline - monotonic())


def transfer(store: HistoryStore, source: bytes, targets: Sequence[bytes], add: Add, timeout: float = PATIENCE) -> int:
    """Transfer the record with the key `source` to the `targets`, which share a place.

    Returns 1, or 2 if an earlier record was still on its way; 0 if there was nothing. `add` may be called several
    times, and what it raises ends the transfer before the record was put aside. Raises Unavailable; a record that is on
    its way then stays so until the next call.
    """
    count, timed = 0, _Timed(store, timeout)
    for _ in range(TRIES):
        record, aside = timed.load((source, source + ASIDE))
        if record is None and aside is None:
            return count
        if _transferred(timed, source, targets, (record, aside), add):
            count += 1
            if aside is None:
                return count
    raise Unavailable([Problem("store", "a record kept changing while it was moved", "try it again")])


def arrived(store: HistoryStore, source: bytes, target: bytes, timeout: float = PATIENCE) -> bool:
    """Whether what was put aside of the record with the key `source` is in the target already: a transfer there has
    done (3), and not (4). Raises Unavailable."""
    aside, done = store.load((source + ASIDE, note_key(target, source)), timeout)
    return aside is not None and done is not None and payload(done) == payload(aside)[:_NUMBER]


def note_key(target: bytes, source: bytes) -> bytes:
    """The key of the note, in the place of `target`, about what comes from `source`."""
    return target[:PLACE] + blake2b(source, digest_size=PLACE).digest() + NOTE


def note(record: bytes, number: bytes) -> bytes:
    """A note about a record. It outlives the record, and not by much, because it keeps its place alive."""
    return pack(expiry(record) + DAY, number)


def _transferred(
    store: _Timed, source: bytes, targets: Sequence[bytes], found: tuple[bytes | None, bytes | None], add: Add
) -> bool:
    """One attempt with what was found: the record, and what was put aside earlier. False if something changed."""
    record, aside = found
    moving = record if aside is None else pack(expiry(aside), payload(aside)[_NUMBER:])
    assert moving is not None
    key = note_key(targets[0], source)
    *there, before = store.load((*targets, key))
    after = add(moving, there)
    changes = [Change(*change) for change in zip(targets, there, after, strict=True)]
    if aside is None and store.atomic():
        return store.replace([Change(source, record, None), *changes])
    opened = note(moving, token_bytes(_NUMBER)) if before is None else before
    if before is None and not store.replace([Change(key, None, opened)]):  # (1)
        return False
    if aside is None:
        aside = pack(expiry(moving), token_bytes(_NUMBER) + payload(moving))
        put_aside = store.replace([Change(source, record, None), Change(source + ASIDE, None, aside)])  # (2)
    else:
        put_aside = store.load((source + ASIDE,)) == [aside]
    if not put_aside:
        if before is None:
            store.replace([Change(key, opened, None)])
        return False
    done = note(aside, payload(aside)[:_NUMBER])
    if opened != done and not store.replace([*changes, Change(key, opened, done)]):  # (3)
        return False
    store.replace([Change(source + ASIDE, aside, None)])  # (4), then (5)
    store.replace([Change(key, done, None)])
    return True
