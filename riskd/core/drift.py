"""The distribution of features and scores when a model was trained, and the measure of how far it has moved since."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import isnan, log
from typing import Literal

from msgspec import Struct


class Histogram(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often each range of values occurred.

    `counts` has first the number of missing values, then of those up to and including each of the ascending `cuts`,
    then of those above the last. `effect` is the design effect (Kish 1965), as one subject's values resemble each
    other: the variance of the bins' shares divided by what it would be if all rows were independent, averaged over
    the bins; 1 or more. `effect_rms` is its root mean square (the eigenvalues of Rao and Scott 1981).
    """

    cuts: tuple[float, ...]
    counts: tuple[int, ...]
    effect: float = 1.0
    effect_rms: float = 1.0

    def bin_of(self, value: float) -> int:
        """The index of a value's bin in `counts`; NaN is a missing value."""
        return 0 if isnan(value) else bisect_left(self.cuts, value) + 1


class Reference(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Histograms of the rows that a model was trained on, stored as `reference.json` in its bundle.

    `since` and `until` are epoch seconds. `score` is the histogram of the model's log-odds.
    """

    format: Literal["riskd.reference/1"] = "riskd.reference/1"
    domain: str
    rows: int
    since: float
    until: float
    features: dict[str, Histogram]
    score: Histogram


def stability_index(before: Sequence[float], now: Sequence[float]) -> float:
    """The population stability index of two histograms with the same bins; 0 if their shares are equal.

    This is the symmetric Kullback-Leibler divergence of the shares (Jeffreys 1946; in credit scoring since Lewis
    1994). Half a count is added to each bin, so that an empty one does not make it infinite. By convention, 0.1 or
    more is worth a look, and 0.25 or more is a large shift.
    """
    bins = len(before)
    whole, present = sum(before) + bins / 2, sum(now) + bins / 2
    total = 0.0
    for old, new in zip(before, now, strict=True):
        expected, found = (old + 0.5) / whole, (new + 0.5) / present
        total += (found - expected) * log(found / expected)
    return total
