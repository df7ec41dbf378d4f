"""Boosted trees, on their own or on top of an existing model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn._loss import HalfBinomialLoss
from sklearn.ensemble import HistGradientBoostingClassifier

from riskd.core.features import FEATURES
from riskd.offline.evaluation.operating import Floats
from riskd.offline.training.recipe import Recipe

_NEWTON_STEPS: Final = 50


class _OnTop(HalfBinomialLoss):  # type: ignore[misc] # published without types
    """The logistic loss of a sum with one fixed part: a given log-odds for each row, in the order of the rows."""

    def __init__(self, given: Floats) -> None:
        super().__init__()
        self._given = given

    def gradient_hessian(self, y_true: Floats, raw_prediction: Floats, **more: Any) -> tuple[Floats, Floats]:  # noqa: ANN401 - the estimator's own keywords
        """First and second derivatives at the given log-odds plus the trees so far."""
        whole = np.ascontiguousarray(raw_prediction.reshape(-1) + self._given)
        found: tuple[Floats, Floats] = super().gradient_hessian(y_true, whole, **more)
        return found

    def fit_intercept_only(self, y_true: Floats, sample_weight: Floats | None = None) -> NDArray[np.float64]:
        """The best constant on top of the given log-odds, by Newton's method."""
        share = np.ones(len(y_true)) if sample_weight is None else sample_weight
        constant = 0.0
        for _ in range(_NEWTON_STEPS):
            predicted = 1.0 / (1.0 + np.exp(-(self._given + constant)))
            step = float((share * (y_true - predicted)).sum() / (share * predicted * (1 - predicted)).sum())
            constant += min(max(step, -2.0), 2.0)
            if abs(step) < 1e-10:
                break
        return np.asarray(constant)


class _OnlyMore(_OnTop):
    """The same loss if only the positive leaf values of each tree count, and there is no constant."""

    def __init__(self, given: Floats) -> None:
        super().__init__(given)
        self._before = np.zeros(len(given))
        self._raised = np.zeros(len(given))

    def gradient_hessian(self, y_true: Floats, raw_prediction: Floats, **more: Any) -> tuple[Floats, Floats]:  # noqa: ANN401 - the estimator's own keywords
        """Called once per tree with the sum of all leaves so far; the difference is the latest tree."""
        leaf_sums = raw_prediction.reshape(-1)
        self._raised += np.maximum(leaf_sums - self._before, 0.0)
        self._before = leaf_sums.copy()
        return super().gradient_hessian(y_true, self._raised, **more)

    def fit_intercept_only(self, y_true: Floats, sample_weight: Floats | None = None) -> NDArray[np.float64]:
        """Zero: these trees have no constant."""
        return np.asarray(0.0)


def boost(
    vectors: Floats,
    fraud: NDArray[np.bool_],
    weights: Floats,
    *,
    names: Sequence[str],
    recipe: Recipe,
    given: Floats,
) -> HistGradientBoostingClassifier:
    """Fit the recipe's trees to rows with a positive weight, on top of the `given` log-odds.

    Features with a certain direction in the feature table are monotonic in it.
    """
    direction = {feature.name: feature.direction for feature in FEATURES}
    directions = [direction.get(name, 0) for name in names]
    estimator = _booster(recipe, _OnTop(given), max_iter=recipe.trees, monotonic_cst=directions)
    return estimator.fit(fillable(vectors), fraud, sample_weight=weights)


def boost_raising(
    vectors: Floats, fraud: NDArray[np.bool_], weights: Floats, *, recipe: Recipe, given: Floats
) -> HistGradientBoostingClassifier:
    """Fit the recipe's additional trees on top of the `given` log-odds: without directions, and only raising.

    Negative leaf values become zero, already while later trees are fitted. So an attempt that looks riskier may lose
    what these trees add, but never what `given` says.
    """
    estimator = _booster(recipe, _OnlyMore(given), max_iter=recipe.raising)
    estimator.fit(fillable(vectors), fraud, sample_weight=weights)
    for stage in estimator._predictors:  # noqa: SLF001 - no public form
        leaves = stage[0].nodes["value"]
        np.maximum(leaves, 0.0, out=leaves)
    return estimator


def _booster(recipe: Recipe, loss: _OnTop, **more: Any) -> HistGradientBoostingClassifier:  # noqa: ANN401 - the estimator's own keywords
    return HistGradientBoostingClassifier(
        loss=loss,
        max_leaf_nodes=recipe.leaves,
        learning_rate=recipe.learning_rate,
        l2_regularization=recipe.l2,
        min_samples_leaf=recipe.min_rows,
        early_stopping=False,
        random_state=recipe.seed,
        **more,
    )


def fillable(vectors: Floats) -> Floats:
    """The vectors with 0 in columns that have no value at all, because scikit-learn cannot bin those."""
    never = np.isnan(vectors).all(axis=0)
    return np.where(never, 0.0, vectors) if never.any() else vectors
