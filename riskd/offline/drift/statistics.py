"""The statistics of drift: how likely a shift is by chance if rows are not independent, and when it began."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from riskd.core.drift import Histogram

ALPHA: Final = 0.01
"""The share of logs without drift in which a signal of a domain may be reported by mistake."""
BinCounts = NDArray[np.int64]


def distance(before: Sequence[int], now: Sequence[int]) -> float:
    """The largest difference of the cumulative shares, missing values left out."""
    old, new = (np.cumsum(counts[1:]) / max(sum(counts[1:]), 1) for counts in (before, now))
    return float(np.max(np.abs(old - new), initial=0.0))


def holm(chances: Mapping[str, float]) -> set[str]:
    """The names whose probabilities are significant at `ALPHA`, over all of them together (Holm 1979)."""
    significant: set[str] = set()
    for at, name in enumerate(sorted(chances, key=lambda each: chances[each])):
        if chances[name] > ALPHA / (len(chances) - at):
            break
        significant.add(name)
    return significant


def since(before: Sequence[int], days: Sequence[tuple[int, BinCounts]]) -> int:
    """The day from which rows are explained best by a distribution of their own, and those before it by `before`.

    The maximum-likelihood estimate of a single change point with a known distribution before it (Hinkley 1970).
    """
    usual = np.log((np.array(before) + 0.5) / (sum(before) + len(before) / 2))
    known = np.array([float(counts @ usual) for _, counts in days])
    later = np.cumsum(np.array([counts for _, counts in days])[::-1], axis=0)[::-1]
    likelihoods = [known[:at].sum() + _own(later[at]) for at in range(len(days))]
    return days[int(np.argmax(likelihoods))][0]


def _own(counts: BinCounts) -> float:
    """The log-likelihood of counts under their own shares."""
    filled = counts[counts > 0]
    return float((filled * np.log(filled / filled.sum())).sum())


def chance_of(index: float, before: Histogram, now: Histogram) -> tuple[float, float]:
    """The average of the stability index without drift, and the probability that it is then at least this large.

    The second-order correction of Rao and Scott (1981): the weighted sum of chi-squares is approximated by a scaled
    chi-square with the same mean and variance (Satterthwaite 1946).
    """
    degrees = sum(old + new > 0 for old, new in zip(before.counts, now.counts, strict=True)) - 1
    if degrees < 1:
        return 0.0, 1.0
    sizes = [max(sum(each.counts), 1) for each in (before, now)]
    mean, rms = (
        sum(getattr(each, name) / size for each, size in zip((before, now), sizes, strict=True))
        for name in ("effect", "effect_rms")
    )
    uneven = (rms / mean) ** 2
    return degrees * mean, chi_square_beyond(index / (mean * uneven), degrees / uneven)


def chi_square_beyond(value: float, degrees: float) -> float:
    """The probability that a chi-square variable is larger: the regularised incomplete gamma function Q(k/2, x/2)."""
    a, x = degrees / 2, value / 2
    if x <= 0:
        return 1.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    return 1 - scale * _series(a, x) if x < a + 1 else scale * _fraction(a, x)


def _series(a: float, x: float) -> float:
    """The power series of P(a, x) without its factor (DLMF 8.7.1)."""
    term = total = 1 / a
    while term > total * 1e-15:
        a += 1
        term *= x / a
        total += term
    return total


def _fraction(a: float, x: float) -> float:
    """The continued fraction of Q(a, x) without its factor (DLMF 8.9.2, even part), by Lentz's method."""
    b = x + 1 - a
    c, d = math.inf, 1 / b
    value, n = d, 0
    while True:
        n += 1
        term, b = -n * (n - a), b + 2
        d, c = 1 / (term * d + b), b + term / c
        value *= c * d
        if abs(c * d - 1) < 1e-14:
            return value
