"""How records lie in the file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import lmdb

Transaction: TypeAlias = "lmdb.Transaction[bytes]"


def inside(key: bytes) -> bytes:
    """A key as the file has it: the kind of record first. What is tried lately then lies in a small part of the tree,
    and a commit writes an eighth fewer pages than where all of an entity lies together."""
    return key[-1:] + key[:-1]


def outside(key: bytes) -> bytes:
    """Back from `inside`."""
    return key[1:] + key[:1]


def begins(first: bytes, entry: tuple[bytes, bytes]) -> bool:
    """Whether the key of an entry of the file begins with `first`."""
    return entry[0].startswith(first)


def apply(transaction: Transaction, changed: Iterable[tuple[bytes, bytes | None]]) -> None:
    """Put records, and delete where there is None. Raises lmdb.Error."""
    for key, record in changed:
        if record is None:
            transaction.delete(inside(key))
        else:
            transaction.put(inside(key), record)
