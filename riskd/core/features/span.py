"""The values that features can have, by unit, so that rule conditions that can never be true are detected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from msgspec import Struct


class Span(Struct, frozen=True):
    """The range from `low` to `high`, both included; or, if `values` is not empty, only these values.

    `unusual` is a value typical of a stranger, for features of which larger values are riskier.
    """

    low: float = -math.inf
    high: float = math.inf
    values: tuple[float, ...] = ()
    unusual: float = math.nan

    def __str__(self) -> str:
        if self.values:
            return " or ".join(f"{value:.1f}" for value in self.values)
        if self.low == -math.inf:
            return "any number"
        return f"{self.low:.1f} and up" if self.high == math.inf else f"{self.low:.1f} to {self.high:.1f}"


def _of(*values: float, unusual: float = math.nan) -> Span:
    return Span(values[0], values[-1], values, unusual)


def _count(unusual: float = math.nan) -> Span:
    return Span(0.0, unusual=unusual)


SPANS: Final[Mapping[str, Span]] = {
    "0 or 1": _of(0.0, 1.0, unusual=1.0),
    "0 to 3": _of(0.0, 1.0, 2.0, 3.0),
    "0 to 4": _of(0.0, 1.0, 2.0, 3.0, 4.0, unusual=2.0),
    "0 none, 1 one factor, 2 two factors, 3 phishing-resistant": _of(0.0, 1.0, 2.0, 3.0),
    "0 low, 1 medium, 2 high": _of(0.0, 1.0, 2.0),
    "challenges, at most 4": _of(0.0, 1.0, 2.0, 3.0, 4.0),
    "nats, -10 to 10": Span(-10.0, 10.0, unusual=3.0),  # twenty times likelier for a stranger
    "nats, 0 and up": _count(5.0),  # fewer than one in a hundred have it
    "hours, 0 to 12": Span(0.0, 12.0, unusual=6.0),
    "hours, 720 for not lately": Span(-math.inf, 720.0),
    "share, 4 good attempts assumed": Span(0.0, 1.0),
    "weeks, at most 26": Span(-math.inf, 26.0),
    "standard deviations, at most 10": Span(0.0, 10.0, unusual=4.0),
    "s, at most 3600": Span(0.0, 3600.0),
    "accounts, estimated, at most 205": Span(0.0, 205.0),
    "attempts": _count(10.0),
    "failures": _count(),
    "failures an account": _count(),
    "accounts, estimated": _count(4.0),
    "addresses, estimated": _count(),
    "addresses": _count(),
    "tries": _count(3.0),
    "sign-ins, decayed": _count(),
    "km": _count(5000.0),
    "km/h": _count(),
    "ms": _count(),
    "days": Span(),
    "hours": Span(),
    "minutes": Span(),
}
"""By unit. Times can be negative if clocks disagree, or in a backfill."""
