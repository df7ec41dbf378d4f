"""The stored form of histories and documents, and what a write makes of it: one meaning for every store.

A record is its expiry (epoch seconds, whole ones, 32 bits without a sign, big-endian) followed by its payload: an
encoded history or the bytes of a document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import ceil
from struct import Struct as Layout
from typing import Final

from msgspec import Struct

from riskd.core.history import EMPTY, Delta, History, decode, encode, fold

FORMAT: Final = 6
"""Which records these are; stores keep those of other formats apart. It rises when what is stored changes."""
PLACE: Final = 8
"""Bytes that every key begins with, and that all records of one entity share: its histories, receipts and replies
change together, and are found together."""
NOBODY: Final = bytes(PLACE)
"""Place of documents about the store itself. They are nobody's, expire never, and stay where they are."""
_EXPIRY: Final = Layout(">I")
_HEAD: Final = _EXPIRY.size
_NEVER: Final = 2**32 - 1
"""Seconds, in 2106: later than this nothing ends."""
_unpack: Final = _EXPIRY.unpack_from


class Swap(Struct, frozen=True):
    """A document to replace, if it still is what the caller read. `expected` None: if there is none.

    `expires`: epoch seconds from which the document is gone.
    """

    key: bytes
    expected: bytes | None
    document: bytes
    expires: float


class Change(Struct, frozen=True):
    """A whole record to put, or to delete where `record` is None, if it still is what the caller loaded."""

    key: bytes
    expected: bytes | None
    record: bytes | None


def pack(expires: float, payload: bytes) -> bytes:
    """A record. It ends with the second in which it is to: never early, and less than a second late."""
    return _EXPIRY.pack(ceil(min(expires, _NEVER))) + payload


def expiry(record: bytes) -> int:
    """Epoch seconds from which a record is gone. Raises struct.error on scraps."""
    expires: int = _unpack(record)[0]
    return expires


def payload(record: bytes) -> bytes:
    """What a record holds, expired or not."""
    return record[_HEAD:]


def expired(record: bytes, now: float) -> bool:
    """Whether a record is gone at `now`; at the very moment of its expiry it is. Raises struct.error on scraps."""
    return expiry(record) <= now


def document(record: bytes | None, now: float) -> bytes | None:
    """What a record holds; None where there is none or it has expired."""
    if record is None or _unpack(record)[0] <= now:
        return None
    return record[_HEAD:]


def history(record: bytes | None, now: float) -> History | None:
    """The history in a record; None where there is none or it has expired. Raises msgspec.DecodeError."""
    if record is None or _unpack(record)[0] <= now:
        return None
    return decode(record[_HEAD:])


def histories(records: Iterable[bytes | None], now: float) -> list[History | None]:
    """`history` of each."""
    return [None if record is None or _unpack(record)[0] <= now else decode(record[_HEAD:]) for record in records]


def folded(record: bytes | None, deltas: Iterable[Delta], now: float) -> bytes | None:
    """The record after deltas, one after another; None when nothing is left to keep."""
    remembered, expires = None, 0.0
    if record is not None:
        expires = _unpack(record)[0]
        if expires > now:
            remembered = decode(record[_HEAD:])
    for delta in deltas:
        if remembered is None:
            if delta.undo or delta.expires <= now:
                continue
            remembered, expires = History(), delta.expires
        expires = max(delta.expires, min(expires, now + delta.keep))
        fold(remembered, delta)
        if remembered == EMPTY:
            remembered = None
    return None if remembered is None else pack(expires, encode(remembered))


def changes(
    get: Callable[[bytes], bytes | None], deltas: Iterable[Delta], swaps: Sequence[Swap], now: float
) -> list[tuple[bytes, bytes | None]] | None:
    """What a write changes: keys in order with their new record, None to delete it.

    None instead of a list when a swap's document is not as expected: then nothing must change.
    """
    changed: dict[bytes, bytes | None] = {}
    for swap in swaps:
        if document(get(swap.key), now) != swap.expected:
            return None
        changed[swap.key] = pack(swap.expires, swap.document)
    together: dict[bytes, list[Delta]] = {}
    for delta in deltas:
        together.setdefault(delta.key, []).append(delta)
    for key, several in together.items():
        changed[key] = folded(get(key), several, now)
    return sorted(changed.items())
