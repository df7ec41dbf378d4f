"""Exports a fitted boosted forest to a forest document, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskd.core.errors import InvalidModel, Problem
from riskd.core.forest import Forest
from riskd.core.model import ForestDocument, Split, Tree
from riskd.offline.rows import log_odds_of

TOLERANCE = 1e-9
"""The largest difference, in log-odds, between an export and its estimator: rounding from the order of a sum."""


def export_forest(
    estimator: object,
    feature_names: Sequence[str],
    references: Mapping[str, float | None],
    rows: NDArray[np.float64],
    *,
    base: ForestDocument | None = None,
) -> ForestDocument:
    """The document of a fitted binary `HistGradientBoostingClassifier` (scikit-learn 1.7 to 1.9).

    `feature_names` are the columns it was fitted on; `references` has the usual value of each (None: usually missing).
    `rows` are inputs, best held out and with missing values, on which the export must reproduce the estimator's
    `decision_function` on top of the log-odds of `base`: the forest that the estimator was boosted on, whose step
    functions, trees and references it keeps.

    Raises InvalidModel for other estimators, categorical splits, and an export that does not agree.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - only the export needs it

    if not isinstance(estimator, HistGradientBoostingClassifier) or len(getattr(estimator, "classes_", ())) != 2:
        raise _refusal("not a fitted HistGradientBoostingClassifier with two classes", "fit one on labels 0 and 1")
    if estimator.n_features_in_ != len(feature_names):
        what = f"fitted on {estimator.n_features_in_} columns, {len(feature_names)} names given"
        raise _refusal(what, "name each column of the training matrix once, in order")
    if estimator.is_categorical_ is not None:
        raise _refusal("has categorical splits", "encode categories as numbers, such as familiarity or rarity")
    trees = tuple(_tree(stage[0].nodes, feature_names) for stage in estimator._predictors)  # noqa: SLF001 - no public form
    under = ForestDocument(baseline=0.0, references={}) if base is None else base
    used = {node.feature for tree in trees for node in tree if isinstance(node, Split)} - set(under.references)
    document = ForestDocument(
        baseline=under.baseline + estimator._baseline_prediction.item(),  # noqa: SLF001 - no public form
        references={**under.references, **{name: references.get(name) for name in feature_names if name in used}},
        steps=under.steps,
        trees=(*under.trees, *trees),
    )
    _check(document, feature_names, rows, log_odds(under, feature_names, rows) + estimator.decision_function(rows))
    return document


def log_odds(document: ForestDocument, feature_names: Sequence[str], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The log-odds of each row by the served forest of a document, before calibration."""
    return log_odds_of(Forest(document, feature_names), rows)


def _tree(nodes: NDArray[Any], feature_names: Sequence[str]) -> Tree:
    """One tree from scikit-learn's node records. Both formats list parents before children."""
    return tuple(float(node["value"]) if node["is_leaf"] else _split(node, feature_names) for node in nodes)


def _split(node: Any, feature_names: Sequence[str]) -> Split:  # noqa: ANN401 - a structured numpy record
    threshold = float(node["num_threshold"])
    return Split(
        feature=feature_names[int(node["feature_idx"])],
        threshold=None if threshold == np.inf else threshold,
        missing_left=bool(node["missing_go_to_left"]),
        left=int(node["left"]),
        right=int(node["right"]),
    )


def _check(
    document: ForestDocument,
    feature_names: Sequence[str],
    rows: NDArray[np.float64],
    expected: NDArray[np.float64],
) -> None:
    apart = float(np.max(np.abs(log_odds(document, feature_names, rows) - expected), initial=0.0))
    if not apart <= TOLERANCE:
        raise _refusal(f"the export differs from the estimator by {apart:g} log-odds", "use scikit-learn 1.7 to 1.9")


def _refusal(what: str, remedy: str) -> InvalidModel:
    return InvalidModel([Problem("estimator", what, remedy)])
