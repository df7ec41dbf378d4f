"""The stored form of records, and the effect of a write on them. All stores share this definition.

A record is its expiry (whole epoch seconds, unsigned 32 bits, big-endian) followed by its payload: an encoded history
or the bytes of a document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import ceil
from struct import Struct as Layout
from typing import Final

from msgspec import DecodeError, Struct

from riskd.core.history import EMPTY, Delta, History, decode, encode, fold

FORMAT: Final = 6
"""The version of the stored form, raised whenever it changes. Stores keep records of different formats apart."""
PLACE: Final = 8
"""Length in bytes of a place: the prefix shared by the keys of one entity's records, such as a subject's histories,
receipts and replies. Records of one place can be changed atomically, and listed."""
NOBODY: Final = bytes(PLACE)
"""Place of documents about the store itself, which never expire or move."""
_EXPIRY: Final = Layout(">I")
_HEAD: Final = _EXPIRY.size
_NEVER: Final = 2**32 - 1
"""The latest expiry, in 2106, in epoch seconds; it means never."""
_unpack: Final = _EXPIRY.unpack_from


class Swap(Struct, frozen=True):
    """A document to put, on condition that the present one is still `expected`; None: that there is none.

    `expires`: when the document expires, in epoch seconds.
    """

    key: bytes
    expected: bytes | None
    document: bytes
    expires: float


class Change(Struct, frozen=True):
    """A record to put, or to delete if `record` is None, on condition that the present one is still `expected`."""

    key: bytes
    expected: bytes | None
    record: bytes | None


def pack(expires: float, payload: bytes) -> bytes:
    """Make a record. `expires` is rounded up to a whole second."""
    return _EXPIRY.pack(_NEVER if expires > _NEVER else ceil(expires)) + payload


def expiry(record: bytes) -> int:
    """When a record expires, in epoch seconds. Raises struct.error if the record is too short to say."""
    expires: int = _unpack(record)[0]
    return expires


def payload(record: bytes) -> bytes:
    """The payload of a record, expired or not."""
    return record[_HEAD:]


def expired(record: bytes, now: float) -> bool:
    """Whether a record has expired at `now`; it has at the moment of its expiry. Raises struct.error as `expiry`."""
    return expiry(record) <= now


def document(record: bytes | None, now: float) -> bytes | None:
    """The payload of a record; None if there is no record or it has expired."""
    if record is None or _unpack(record)[0] <= now:
        return None
    return record[_HEAD:]


def history(record: bytes | None, now: float) -> History:
    """The history in a record; `EMPTY` if there is no record or it has expired. Raises msgspec.DecodeError."""
    return EMPTY if record is None or _unpack(record)[0] <= now else decode(record[_HEAD:])


def histories(records: Iterable[bytes | None], now: float) -> list[History]:
    """`history` of each record."""
    return [EMPTY if record is None or _unpack(record)[0] <= now else decode(record[_HEAD:]) for record in records]


def folded(record: bytes | None, deltas: Iterable[Delta], now: float) -> bytes | None:
    """The record after applying deltas in order; None if nothing is left."""
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
) -> dict[bytes, bytes | None] | None:
    """The effect of a write: the new record of each key, or None to delete it.

    Returns None if a swap's document is not as expected; then nothing may be changed. Raises msgspec.DecodeError.
    """
    changed: dict[bytes, bytes | None] = {}
    for swap in swaps:
        if document(get(swap.key), now) != swap.expected:
            return None
        changed[swap.key] = pack(swap.expires, swap.document)
    together: dict[bytes, list[Delta]] = {}
    for delta in deltas:
        together.setdefault(delta.key, []).append(delta)
    try:
        for key, several in together.items():
            changed[key] = folded(get(key), several, now)
    except (IndexError, OverflowError) as error:  # `[]` without a tally of `sign_in`, or numbers beyond 64 bits
        raise DecodeError(f"no history: {error}") from error
    return changed
