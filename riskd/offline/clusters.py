"""Counts of decisions that resemble each other, and intervals of their shares.

Decisions of one account resemble each other, and so do those from one network and those of one day: an office, an
attack, an outage. They count as fewer: divided by the design effect of the share (Kish 1965), the largest of these
three kinds. It is estimated from random groups of accounts, of networks and of days (Wolter 2007, *Introduction to
Variance Estimation*).
"""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from riskd.core.history import DAY
from riskd.core.record import AssessmentRecord
from riskd.offline.intervals import LEVEL, Share, share

GROUPS: Final = 64
"""Random groups of each kind."""
KINDS: Final = 3
"""Groups of accounts, of networks and of days."""
SIZE: Final = KINDS * GROUPS
GroupCounts = NDArray[np.int64]
"""Decisions in each group, shape (`SIZE`,): of each kind, one after the other. Every kind counts every decision."""
Key = TypeVar("Key")


def group(name: str) -> int:
    """The random group of an account or a network."""
    return zlib.crc32(name.encode()) % GROUPS


def groups(record: AssessmentRecord) -> tuple[int, ...]:
    """The places of a decision in `GroupCounts`, one of each kind."""
    of_kind = group(record.subject), group(record.facts.network), int(record.time // DAY) % GROUPS
    return tuple([kind * GROUPS + one for kind, one in enumerate(of_kind)])


class Cells(dict[Key, "array[int]"]):
    """Counts by key. Those of several parts of a log can be added."""

    def count(self, key: Key, places: Iterable[int]) -> None:
        """Count one decision, given its places in `GroupCounts`."""
        cell = self.get(key)
        if cell is None:
            cell = self[key] = array("q", bytes(8 * SIZE))
        for place in places:
            cell[place] += 1

    def __iadd__(self, other: Mapping[Key, array[int]]) -> Cells[Key]:
        """Add the counts of another part."""
        for key, cell in other.items():
            mine = self.get(key)
            self[key] = cell[:] if mine is None else array("q", added((mine, cell)).tobytes())
        return self


def added(cells: Iterable[array[int]]) -> GroupCounts:
    """The counts of several cells together."""
    counts: GroupCounts = sum((np.frombuffer(cell, np.int64) for cell in cells), np.zeros(SIZE, np.int64))
    return counts


def total(counts: array[int] | GroupCounts) -> int:
    """The number of decisions."""
    return int(sum(counts[:GROUPS]))


def share_of(hits: GroupCounts, whole: GroupCounts, level: float = LEVEL) -> Share:
    """The share of the hits in the whole, with the interval of as many independent decisions as these are worth."""
    return share(total(hits), total(whole), level, effect(hits, whole))


def effect(hits: GroupCounts, whole: GroupCounts) -> float:
    """How many decisions count as one: the largest design effect of the share over the kinds of groups, at least 1."""
    both = np.stack([hits, whole - hits], axis=1).reshape(KINDS, GROUPS, 2)
    return max(design_effects(kind)[0] for kind in both)


def design_effects(counts: NDArray[np.int64]) -> tuple[float, float]:
    """Mean and root mean square of the design effects, from counts by random group, shape (groups, bins).

    The effects are the eigenvalues of the covariance of the shares, estimated from the groups, relative to that of
    independent rows (Rao and Scott 1981). Their mean is at least 1, and at most the root mean square.
    """
    filled = counts[counts.sum(axis=1) > 0]
    filled = filled[:, filled.sum(axis=0) > 0]
    size, bins = filled.shape
    if size < 2 or bins < 2:
        return 1.0, 1.0
    rows = float(filled.sum())
    shares = filled.sum(axis=0) / rows
    residuals = (filled - np.outer(filled.sum(axis=1), shares)) / np.sqrt(shares)
    covariance = size / (size - 1) * (residuals.T @ residuals) / rows
    whole = float(np.trace(covariance))
    # Corrects the upward bias that a finite number of groups gives the estimate of the squares.
    squares = float((covariance**2).sum()) - whole**2 / (size - 1)
    mean = max(1.0, whole / (bins - 1))
    return mean, max(mean, math.sqrt(max(squares, 0.0) / (bins - 1)))
