"""Tells whether rows were trained on, from a sample of ids that is small enough for a bundle.

The sample has the smallest hashes of all ids (bottom-k: Cohen and Kaplan 2007). So for every row whose hash is small
enough to be in it, the sample says whether the row was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

from riskd.offline.rows import UNKNOWN, Rows

KEPT: Final = 1_000
"""The largest number of hashes in a sample."""
_DIGITS: Final = 12


def sample(parts: Sequence[Rows]) -> str:
    """The smallest hashes of the ids of all labelled rows, in ascending order: 12 hexadecimal digits each."""
    return "".join(sorted(_hash(each) for rows in parts for each in _ids(rows))[:KEPT])


def share(sample: str, rows: Rows) -> float:
    """The share of the labelled rows that are among those of a sample: exact if these were at most `KEPT`, else an
    estimate. If it is above 0, some certainly are."""
    known = {sample[at : at + _DIGITS] for at in range(0, len(sample), _DIGITS)}
    last = max(known) if len(known) == KEPT else "g"  # beyond every hash
    found = [each in known for each in map(_hash, _ids(rows)) if each <= last]
    return sum(found) / len(found) if found else 0.0


def _ids(rows: Rows) -> Iterable[str]:
    ids: list[str] = rows.ids[rows.labels != UNKNOWN].tolist()
    return ids


def _hash(name: str) -> str:
    return sha256(name.encode()).hexdigest()[:_DIGITS]
