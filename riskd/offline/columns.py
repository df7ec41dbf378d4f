"""Makes rows of columns that were read in any order: their order, their labels and their truth."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from riskd.offline.labels import CONFIRMED, PASSED
from riskd.offline.rows import FRAUD, GOOD, HONEST, UNKNOWN
from riskd.offline.truth import truths

Ids = NDArray[np.bytes_]
"""Hexadecimal ids, one byte per digit."""
_COLUMNS: Final = 8
"""How many columns are put in order at a time: those that share a line of the processor's cache."""


def order_of(ids: Ids, times: NDArray[np.float64]) -> NDArray[np.intp]:
    """Positions in order of time and id, without those of lines that were written twice: these have the same time."""
    order = np.lexsort((ids, times))
    ids, times = ids[order], times[order]
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (ids[1:] != ids[:-1]) | (times[1:] != times[:-1])
    return order[first]


class Vectors:
    """Vectors of unknown number, of which there is never a second copy: they are most of the memory of rows."""

    def __init__(self, width: int) -> None:
        self._held = np.empty((0, width))
        self._size = 0

    def extend(self, vectors: NDArray[np.float64]) -> None:
        """Add some vectors."""
        end = self._size + len(vectors)
        if end > len(self._held):
            self._held.resize((end + end // 8, self._held.shape[1]), refcheck=False)
        self._held[self._size : end] = vectors
        self._size = end

    def taken(self, order: NDArray[np.intp]) -> NDArray[np.float64]:
        """The vectors at these positions, in this order. The others are lost."""
        held = self._held
        for at in range(0, held.shape[1], _COLUMNS):
            held[: len(order), at : at + _COLUMNS] = held[order, at : at + _COLUMNS]
        held.resize((len(order), held.shape[1]), refcheck=False)
        return held


def labelled(
    total: int, rows: NDArray[np.intp], times: NDArray[np.float64], kinds: NDArray[np.str_]
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """The label of each of `total` rows, and when it became known (epoch seconds; infinite for `UNKNOWN`), from the
    outcomes: the row of each, its time and its kind. `labels.label` is the same rule without times."""
    fraud, good = np.full(total, math.inf), np.full(total, math.inf)
    for found, chosen in ((fraud, kinds == CONFIRMED), (good, np.isin(kinds, PASSED))):
        np.minimum.at(found, rows[chosen], times[chosen])
    labels = np.where(fraud < math.inf, FRAUD, np.where(good < math.inf, GOOD, UNKNOWN)).astype(np.int8)
    return labels, np.where(fraud < math.inf, fraud, good)


def labels_by_id(
    ids: Ids, about: Ids, times: NDArray[np.float64], kinds: NDArray[np.str_]
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """`labelled` for the rows with these ids. Each outcome has the id of its assessment, its time and its kind."""
    if not len(ids):
        return labelled(0, np.empty(0, dtype=np.intp), times[:0], kinds[:0])
    order = np.argsort(ids)
    found = np.searchsorted(ids, about, sorter=order)
    found[found == len(ids)] = 0
    rows = order[found]
    ours = ids[rows] == about
    return labelled(len(ids), rows[ours], times[ours], kinds[ours])


def truth_by_id(path: Path | None, ids: Ids) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Attack and segments of each row, from a file of truth if there is one. Raises InvalidFile."""
    if path is None:
        return np.full(len(ids), HONEST, dtype="U1"), np.full(len(ids), "", dtype="U1")
    known = truths(path, [one.decode() for one in ids])
    return (
        np.array([one.attack for one in known], dtype=np.str_),
        np.array([" ".join(one.segments) for one in known], dtype=np.str_),
    )
