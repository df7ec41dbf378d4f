"""The definition of a feature: its name, unit, direction, purpose, sources and texts."""

from __future__ import annotations

import math

from msgspec import Struct

from riskd.core.features.span import SPANS, Span


class Feature(Struct, frozen=True, kw_only=True):
    """A named number that models and rules use.

    `missing` is its value if it cannot be computed (NaN, for which models have branches). `direction` is +1 if a
    larger value can only be riskier, -1 if it can only be safer, 0 if either. `sources` are names of
    `context.SOURCES`; if one of them is Missing, so is the feature, except that `reputation` may be missing in part.
    `reads` are the histories that its value depends on, by their names in `Remembered.unread`; if one could not be
    read, the feature is missing. `purpose` is one of `attempt.PURPOSES`; without consent to it the feature is missing.
    `reason` is a stable reason code. `why` explains the feature in the docs; `text` is the reason given to people.
    With direction +1, `text` is true of values above `true_above`.
    """

    name: str
    group: str
    unit: str
    direction: int
    reason: str
    why: str
    text: str
    sources: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    purpose: str = "security"
    missing: float = math.nan
    true_above: float = 0.0
    of_address: bool = False
    """Whether it says something about the address, other than its place and route. Then `egress` may discard it."""
    revision: int = 1
    """Raised when the meaning changes, so that models made for the old meaning are refused."""

    @property
    def definition(self) -> str:
        """What a model that reads this feature relies on: unit, missing value and revision."""
        return f"{self.unit}; missing {self.missing:g}; revision {self.revision}"

    @property
    def span(self) -> Span:
        """The values that it can have, if it is not missing."""
        return SPANS[self.unit]

    @property
    def unusual(self) -> float:
        """A value typical of a stranger; NaN if the direction is 0."""
        return self.span.unusual if self.direction > 0 else self.span.low if self.direction < 0 else math.nan
