"""Exact confidence intervals of a proportion.

Clopper and Pearson (1934): the proportions that a two-sided binomial test would not reject. They are quantiles of the
beta distribution, computed from its distribution function, the regularised incomplete beta function, which is evaluated
with Lentz's continued fraction (DLMF 8.17.22).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from msgspec import Struct

LEVEL: Final = 0.95
_TINY: Final = 1e-300


class Share(Struct, frozen=True):
    """`hits` out of `total`, with the proportion and its interval. `share` is None if `total` is 0."""

    hits: int
    total: int
    share: float | None
    low: float
    high: float

    def __str__(self) -> str:
        if self.share is None:
            return "-"
        return f"{_percent(self.share)} ({_percent(self.low)} to {_percent(self.high)})"


@lru_cache(4096)
def share(hits: int, total: int, level: float = LEVEL, effect: float = 1.0) -> Share:
    """A proportion with its two-sided Clopper-Pearson interval.

    `effect`: the design effect (Kish 1965), by which the variance exceeds that of independent trials. The interval is
    that of so many times fewer trials (Korn and Graubard 1998).
    """
    tail, trials = (1 - level) / 2, (hits / effect, total / effect)
    return Share(hits, total, hits / total if total else None, lower(*trials, tail), upper(*trials, tail))


def upper(hits: float, total: float, tail: float) -> float:
    """The largest proportion with which this few hits have at least the probability `tail`; 1 if all are hits."""
    return 1.0 if hits >= total else _beta_quantile(1 - tail, hits + 1, total - hits)


def lower(hits: float, total: float, tail: float) -> float:
    """The smallest proportion with which this many hits have at least the probability `tail`; 0 if there are no
    hits."""
    return 0.0 if hits <= 0 else _beta_quantile(tail, hits, total - hits + 1)


def most_hits(total: int, limit: float, tail: float, effect: float = 1.0) -> int:
    """The largest number of hits out of `total` whose upper bound is at most `limit`; -1 if there is none.

    `effect` as in `share`.
    """
    if upper(0, total / effect, tail) > limit:
        return -1
    low, high = 0, total
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if upper(middle / effect, total / effect, tail) <= limit else (low, middle)
    return low


def enough(hits: float, limit: float, tail: float) -> int | None:
    """The smallest total at which this proportion of hits (0 to 1) has an upper bound of at most `limit`, or None.

    Accurate to within one hit: because hits are whole numbers, the bound rises and falls as the total grows.
    """

    def fits(total: int) -> bool:
        return upper(math.ceil(hits * total), total, tail) <= limit

    if hits >= limit:
        return None
    total = 1
    while not fits(total):
        total *= 2
    low, high = total // 2, total
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _beta_quantile(probability: float, a: float, b: float) -> float:
    """Newton's method, kept inside a bracket that every step narrows."""
    low, high, x = 0.0, 1.0, a / (a + b)
    constant = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    for _ in range(100):
        excess = incomplete_beta(x, a, b) - probability
        low, high = (low, x) if excess > 0 else (x, high)
        density = math.exp(constant + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x))
        better = x - excess / density if density > 0 else -1.0
        before, x = x, better if low < better < high else (low + high) / 2
        if abs(x - before) <= 1e-12 * x:
            break
    return x


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b): the distribution function of the beta distribution."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return math.exp(scale) * _fraction(x, a, b) / a
    return 1 - math.exp(scale) * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of I_x(a, b), with Lentz's method as modified by Thompson and Barnett (1986)."""
    c, d = 1.0, 1 / _kept(1 - (a + b) * x / (a + 1))
    value, m = d, 0
    while True:
        m += 1
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d, c = 1 / _kept(1 + term * d), _kept(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < 1e-14 or m > 100_000:
            return value


def _kept(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _percent(value: float) -> str:
    return f"{value * 100:.3g} %"
