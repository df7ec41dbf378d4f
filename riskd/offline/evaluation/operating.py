"""Operating points: the threshold that gives a false-positive rate or a recall, and which rows lie above it.

A row counts as often as a bootstrap drew it. Rows exactly at the threshold are challenged by lot, with the probability
that makes the rate exact. So a model with few distinct scores, such as a count of rules, is judged at the same rate as
one with many.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from riskd.offline.evaluation.document import Reauthentication as Cost

Floats = NDArray[np.float64]


class Threshold(Struct, frozen=True):
    """Rows with a score above `score` are challenged; those at it with probability `at`."""

    score: float
    at: float

    def challenged(self, scores: Floats) -> Floats:
        """The probability of each row to be challenged: 0, 1, or `at` for a score at the threshold."""
        chances = (scores > self.score).astype(np.float64)
        if self.at:
            chances[scores == self.score] = self.at
        return chances


class Ranked:
    """Scores of one kind of rows, sorted once, the highest first."""

    __slots__ = ("_ends", "_order", "_scores", "_starts")

    def __init__(self, scores: Floats) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._scores = scores[self._order]
        changes = np.flatnonzero(self._scores[1:] != self._scores[:-1]) + 1
        self._starts = np.concatenate([np.zeros(min(1, len(scores)), dtype=np.intp), changes])
        self._ends = np.concatenate([changes, np.full(min(1, len(scores)), len(scores), dtype=np.intp)])

    def threshold(self, share: float, weights: Floats) -> Threshold:
        """The threshold above which `share` of these rows lies, by weight; above all scores if no row has a weight."""
        reached = np.concatenate([[0.0], np.cumsum(weights[self._order])])
        wanted = share * reached[-1]
        if wanted <= 0.0:
            return Threshold(np.inf, 0.0)
        tie = int(np.searchsorted(reached[self._ends], wanted * (1 - 1e-12)))
        above, within = reached[self._starts[tie]], reached[self._ends[tie]]
        return Threshold(float(self._scores[self._starts[tie]]), float(min(1.0, (wanted - above) / (within - above))))


def shares(chances: Floats, weights: Floats, groups: Floats) -> Floats:
    """The weighted share of each group that is challenged; NaN for a group without weight.

    `groups` has shape (groups, rows): 1 for a row in the group, else 0.
    """
    sums = groups @ np.stack([weights * chances, weights], axis=1)
    with np.errstate(invalid="ignore"):
        quotients: Floats = sums[:, 0] / sums[:, 1]
    return quotients


def cost(good: Floats, fraud: Floats, subjects: NDArray[np.intp], recall: float) -> Cost:
    """How often honest people are challenged if `recall` of the attacks is to be found."""
    chances = Ranked(fraud).threshold(recall, np.ones(len(fraud))).challenged(good)
    _, compact = np.unique(subjects, return_inverse=True)
    each = np.bincount(compact, chances)
    return Cost(
        recall=recall,
        median=round(float(np.median(each)), 6),
        mean=round(float(each.mean()), 6),
        share=round(float(chances.mean()), 6),
    )
