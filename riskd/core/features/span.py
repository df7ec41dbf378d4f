"""What values a feature can have, by its unit: so that a condition which no attempt could meet is found out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from msgspec import Struct


class Span(Struct, frozen=True):
    """From `low` to `high`, both included; where `values` are given, only these."""

    low: float = -math.inf
    high: float = math.inf
    values: tuple[float, ...] = ()

    def __str__(self) -> str:
        if self.values:
            return " or ".join(f"{value:.1f}" for value in self.values)
        if self.low == -math.inf:
            return "any number"
        return f"{self.low:.1f} and up" if self.high == math.inf else f"{self.low:.1f} to {self.high:.1f}"


def _of(*values: float) -> Span:
    return Span(values[0], values[-1], values)


_COUNT: Final = Span(0.0)
SPANS: Final[Mapping[str, Span]] = {
    "0 or 1": _of(0.0, 1.0),
    "0 to 3": _of(0.0, 1.0, 2.0, 3.0),
    "0 none, 1 one factor, 2 two factors, 3 phishing-resistant": _of(0.0, 1.0, 2.0, 3.0),
    "0 low, 1 medium, 2 high": _of(0.0, 1.0, 2.0),
    "nats, -10 to 10": Span(-10.0, 10.0),
    "nats, 0 and up": _COUNT,
    "hours, 0 to 12": Span(0.0, 12.0),
    "hours, 720 for not lately": Span(-math.inf, 720.0),
    "share, 4 good attempts assumed": Span(0.0, 1.0),
    "weeks, at most 26": Span(-math.inf, 26.0),
    "standard deviations, at most 10": Span(0.0, 10.0),
    "s, at most 3600": Span(0.0, 3600.0),
    "accounts, estimated, at most 205": Span(0.0, 205.0),
    "attempts": _COUNT,
    "failures": _COUNT,
    "failures an account": _COUNT,
    "accounts, estimated": _COUNT,
    "addresses, estimated": _COUNT,
    "addresses": _COUNT,
    "tries": _COUNT,
    "sign-ins, decayed": _COUNT,
    "km": _COUNT,
    "km/h": _COUNT,
    "ms": _COUNT,
    "days": Span(),
    "hours": Span(),
    "minutes": Span(),
}
"""By unit. Times can be negative where clocks disagree, or where an attempt is told late."""
