"""How values were distributed when a model was trained, and how far they have moved since."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import isnan, log
from typing import Literal

from msgspec import Struct


class Histogram(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often each range of values occurred.

    `counts` has the missing values first, then those up to and including each of the `cuts`, which rise, then those
    beyond the last. `effect` is by how much values of one subject resemble each other: the variance of the shares
    divided by what it would be if all rows were independent (the design effect of Kish 1965), 1 or more, on average
    over the bins; `effect_rms` is its root mean square (the eigenvalues of Rao and Scott 1981).
    """

    cuts: tuple[float, ...]
    counts: tuple[int, ...]
    effect: float = 1.0
    effect_rms: float = 1.0

    def place(self, value: float) -> int:
        """The index in `counts` of a value; NaN is missing."""
        return 0 if isnan(value) else bisect_left(self.cuts, value) + 1


class Reference(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rows that a model was trained on, as histograms: `reference.json` of its bundle.

    `since` and `until` are epoch seconds. `score` is of the model's log-odds.
    """

    format: Literal["riskd.reference/1"] = "riskd.reference/1"
    domain: str
    rows: int
    since: float
    until: float
    features: dict[str, Histogram]
    score: Histogram


def stability_index(before: Sequence[float], now: Sequence[float]) -> float:
    """The population stability index of two rows of counts, 0 for equal shares.

    The symmetric Kullback-Leibler divergence (Jeffreys 1946; in credit scoring since Lewis 1994) of the shares, half a
    count added to each so that an empty bin is not infinitely surprising. By custom from 0.1 on a shift is worth a
    look, and from 0.25 on it is large.
    """
    bins = len(before)
    whole, present = sum(before) + bins / 2, sum(now) + bins / 2
    total = 0.0
    for old, new in zip(before, now, strict=True):
        expected, found = (old + 0.5) / whole, (new + 0.5) / present
        total += (found - expected) * log(found / expected)
    return total
