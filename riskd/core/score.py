"""What a model returns: `Score`, the `Scorer` protocol, and the calibration from log-odds to probabilities."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import exp
from typing import Protocol

from msgspec import Struct


class Score(Struct, frozen=True):
    """The score of one vector.

    `probability` is calibrated, 0..1. `log_odds` is the model's raw sum, before calibration. `contributions` runs
    parallel to the scorer's `feature_names`, in raw log-odds; None if it was not asked for.
    """

    probability: float
    log_odds: float
    contributions: tuple[float, ...] | None = None


class Scorer(Protocol):
    """A served model. Immutable and thread-safe.

    A vector holds one float per name in `feature_names`, in that order; NaN is a missing value.
    """

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features of a vector, in order."""

    @property
    def schema(self) -> str:
        """The hash (`schema_of`) of the definitions of the features that the model reads."""

    @property
    def version(self) -> str:
        """The version of the model."""

    @property
    def references(self) -> tuple[float, ...]:
        """The usual value of each feature; NaN if it is usually missing, or not read."""

    def score(self, vector: Sequence[float]) -> tuple[float, float]:
        """The raw log-odds and the calibrated probability."""

    def explain(self, vector: Sequence[float], reference: Sequence[float] | None = None) -> Score:
        """`score` and `contributions` together, which is cheaper than calling both."""

    def contributions(self, vector: Sequence[float], reference: Sequence[float] | None = None) -> tuple[float, ...]:
        """For each feature, how much lower the log-odds would be if only it had its reference value.

        `reference` replaces the model's own references, for instance with what is usual for this subject.
        """


Knots = tuple[tuple[float, float], ...]


class Calibration(Struct, frozen=True):
    """A monotone map from log-odds to probability: linear between knots, constant beyond them.

    Without knots it is the logistic function.
    """

    log_odds: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()

    @classmethod
    def through(cls, knots: Knots) -> Calibration:
        """The calibration through `(log_odds, probability)` knots. Log-odds must rise, probabilities must not fall."""
        return cls(tuple(x for x, _ in knots), tuple(y for _, y in knots))

    def probability(self, log_odds: float) -> float:
        """The calibrated probability, 0..1."""
        xs, ys = self.log_odds, self.probabilities
        if not xs:
            return logistic(log_odds)
        upper = bisect_right(xs, log_odds)
        if upper == 0:
            return ys[0]
        if upper == len(xs):
            return ys[-1]
        x0, x1, y0, y1 = xs[upper - 1], xs[upper], ys[upper - 1], ys[upper]
        # Rounding may take the result past the upper knot by one ulp, and so break monotonicity.
        return min(y1, y0 + (y1 - y0) * ((log_odds - x0) / (x1 - x0)))


def logistic(log_odds: float) -> float:
    """1 / (1 + e^-x), without overflow at either end."""
    if log_odds >= 0.0:
        return 1.0 / (1.0 + exp(-log_odds))
    odds = exp(log_odds)
    return odds / (1.0 + odds)


def schema_of(features: Mapping[str, str]) -> str:
    """A hash of feature definitions by name, independent of their order: 16 hex digits."""
    meaning = repr(sorted(features.items())).encode()
    return hashlib.blake2b(meaning, digest_size=8).hexdigest()
