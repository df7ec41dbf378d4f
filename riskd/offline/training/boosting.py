"""Boosted trees, alone or on top of a model that is there already."""

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
    """The logistic loss of a sum of which one part is given: a log-odds for each row, in the order of the rows."""

    def __init__(self, given: Floats) -> None:
        super().__init__()
        self._given = given

    def gradient_hessian(self, y_true: Floats, raw_prediction: Floats, **more: Any) -> tuple[Floats, Floats]:  # noqa: ANN401 - the estimator's own keywords
        """First and second derivatives at the given part plus what the trees say so far."""
        whole = np.ascontiguousarray(raw_prediction.reshape(-1) + self._given)
        found: tuple[Floats, Floats] = super().gradient_hessian(y_true, whole, **more)
        return found

    def fit_intercept_only(self, y_true: Floats, sample_weight: Floats | None = None) -> NDArray[np.float64]:
        """The constant that fits best on top of the given part, by Newton's method."""
        share = np.ones(len(y_true)) if sample_weight is None else sample_weight
        constant = 0.0
        for _ in range(_NEWTON_STEPS):
            said = 1.0 / (1.0 + np.exp(-(self._given + constant)))
            step = float((share * (y_true - said)).sum() / (share * said * (1 - said)).sum())
            constant += min(max(step, -2.0), 2.0)
            if abs(step) < 1e-10:
                break
        return np.asarray(constant)


def boost(
    vectors: Floats,
    fraud: NDArray[np.bool_],
    weights: Floats,
    *,
    names: Sequence[str],
    recipe: Recipe,
    given: Floats,
) -> HistGradientBoostingClassifier:
    """Fit the trees of a recipe to rows that weigh something, on top of `given` log-odds.

    A feature whose direction the feature table is sure of moves the log-odds in no other.
    """
    direction = {feature.name: feature.direction for feature in FEATURES}
    estimator = HistGradientBoostingClassifier(
        loss=_OnTop(given),
        max_iter=recipe.trees,
        max_leaf_nodes=recipe.leaves,
        learning_rate=recipe.learning_rate,
        l2_regularization=recipe.l2,
        min_samples_leaf=recipe.min_rows,
        monotonic_cst=[direction.get(name, 0) for name in names],
        early_stopping=False,
        random_state=recipe.seed,
    )
    return estimator.fit(told(vectors), fraud, sample_weight=weights)


def told(vectors: Floats) -> Floats:
    """The rows with 0 throughout each column that has no value at all, which scikit-learn cannot cut into bins."""
    never = np.isnan(vectors).all(axis=0)
    return np.where(never, 0.0, vectors) if never.any() else vectors
