"""What a feature is."""

from __future__ import annotations

import math

from msgspec import Struct

from riskd.core.features.span import SPANS, Span


class Feature(Struct, frozen=True, kw_only=True):
    """A named number, and all that is to be said of it.

    `missing` is its value when it cannot be known (NaN: models have a branch for it). `direction` is +1
    when a larger value can only be riskier, -1 when it can only be safer, 0 when either. `sources` are
    names of `context.SOURCES`: if one of them is Missing, so is the feature. `purpose` is one of
    `attempt.PURPOSES`: without it the feature is missing. `reason` is the stable code of the answer,
    `why` says what it is good for, `text` is what people read when it raised the score; of a feature that can
    only be riskier the larger it is true above `true_above`.
    """

    name: str
    group: str
    unit: str
    direction: int
    reason: str
    why: str
    text: str
    sources: tuple[str, ...] = ()
    purpose: str = "security"
    missing: float = math.nan
    true_above: float = 0.0
    revision: int = 1
    """Raised when the same name comes to mean something else: models made for the old one are refused."""

    @property
    def definition(self) -> str:
        """What a model that reads this feature relies on."""
        return f"{self.unit}; missing {self.missing:g}; revision {self.revision}"

    @property
    def span(self) -> Span:
        """What values it can have, when it is known."""
        return SPANS[self.unit]

    @property
    def unusual(self) -> float:
        """What a stranger's value would be like; NaN where either direction may be the owner's."""
        return self.span.unusual if self.direction > 0 else self.span.low if self.direction < 0 else math.nan
