"""The served forest against scikit-learn, which trained it, on unseen rows."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, nan, nextafter

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from riskd.core.errors import InvalidModel
from riskd.core.forest import Forest
from riskd.core.model import ForestDocument, Split
from riskd.offline.training.export import export_forest

COLUMNS = 24
NAMES = tuple(f"f{index:02}" for index in range(COLUMNS))
REFERENCES = {name: None if index % 6 == 0 else (index % 5) / 4 - 0.5 for index, name in enumerate(NAMES)}


def world(rows: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows with interactions, counts, and missing values that depend on the label."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, COLUMNS))
    x[:, ::4] = np.floor(3 * x[:, ::4])
    risk = 1.5 * (x[:, 0] > 1) * x[:, 1] + x[:, 2] * x[:, 3] - np.abs(x[:, 5]) + 0.5 * x[:, 6]
    x[random.random(x.shape) < 0.15] = nan
    x[risk > 1.5, 7] = nan
    return x, (risk + random.normal(size=rows) > 0.8).astype(np.int64)


@pytest.fixture(scope="module")
def estimator() -> HistGradientBoostingClassifier:
    boosting = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=32, min_samples_leaf=5, early_stopping=False, random_state=0
    )
    return boosting.fit(*world(4000, seed=1))


@pytest.fixture(scope="module")
def document(estimator: HistGradientBoostingClassifier) -> ForestDocument:
    return export_forest(estimator, NAMES, REFERENCES, world(200, seed=2)[0])


def splits(document: ForestDocument) -> Iterator[Split]:
    return (node for tree in document.trees for node in tree if isinstance(node, Split))


def at_thresholds(document: ForestDocument) -> NDArray[np.float64]:
    """Rows that consist of thresholds and their nearest neighbours above and below."""
    random = np.random.default_rng(3)
    rows = np.full((300, COLUMNS), nan)
    for column, name in enumerate(NAMES):
        cuts = [node.threshold for node in splits(document) if node.feature == name and node.threshold is not None]
        near = np.array([nextafter(cut, direction) for cut in cuts for direction in (cut, inf, -inf)])
        rows[:, column] = random.choice(near, 300)
    return rows


def test_the_forest_is_worth_the_test(document: ForestDocument) -> None:
    """The forest has 60 trees of 32 leaves that use every column, with splits on missing values."""
    assert len(document.trees) == 60
    assert {len(tree) for tree in document.trees} == {63}
    assert set(document.references) == set(NAMES)
    assert any(node.threshold is None for node in splits(document))


def test_scores_equal_the_decision_function(
    estimator: HistGradientBoostingClassifier, document: ForestDocument
) -> None:
    """Log-odds equal those of scikit-learn to 1e-9 on unseen rows, missing values and values at thresholds."""
    forest = Forest(document, NAMES)
    rows = np.vstack([world(500, seed=4)[0], at_thresholds(document), np.full((1, COLUMNS), nan)])
    served = [forest.score(row) for row in rows.tolist()]

    np.testing.assert_allclose([score for score, _ in served], estimator.decision_function(rows), rtol=0, atol=1e-9)
    np.testing.assert_allclose([p for _, p in served], estimator.predict_proba(rows)[:, 1], rtol=0, atol=1e-9)


def test_contributions_equal_replacing_one_feature_at_a_time(
    estimator: HistGradientBoostingClassifier, document: ForestDocument
) -> None:
    """Each contribution equals the change of scikit-learn's log-odds when that column is set to its reference."""
    forest = Forest(document, NAMES)
    for row in np.vstack([world(30, seed=5)[0], at_thresholds(document)[:10]]):
        each = np.repeat(row[None, :], COLUMNS, axis=0)
        np.fill_diagonal(each, [nan if value is None else value for value in REFERENCES.values()])
        expected = estimator.decision_function(row[None, :]) - estimator.decision_function(each)

        np.testing.assert_allclose(forest.contributions(row.tolist()), expected, rtol=0, atol=1e-9)


def test_other_estimators_are_refused() -> None:
    """An estimator that cannot be exported exactly is refused."""
    x, y = world(200, seed=6)
    fit = {"max_iter": 2, "early_stopping": False}
    three = HistGradientBoostingClassifier(**fit).fit(x, np.arange(200) % 3)
    categorical = HistGradientBoostingClassifier(**fit, categorical_features=[0]).fit(np.abs(x), y)
    sound = HistGradientBoostingClassifier(**fit).fit(x, y)
    cases: list[tuple[object, tuple[str, ...], str]] = [
        (HistGradientBoostingRegressor(**fit).fit(x, y), NAMES, "two classes"),
        (HistGradientBoostingClassifier(), NAMES, "two classes"),
        (three, NAMES, "two classes"),
        (categorical, NAMES, "has categorical splits"),
        (sound, NAMES[1:], "24 columns, 23 names"),
    ]
    for estimator, names, what in cases:
        with pytest.raises(InvalidModel, match=what):
            export_forest(estimator, names, REFERENCES, x)


def test_an_export_that_disagrees_is_refused() -> None:
    """An export that differs from its estimator is refused."""
    x, y = world(200, seed=7)
    estimator = HistGradientBoostingClassifier(max_iter=2, early_stopping=False).fit(x, y)
    estimator.decision_function = lambda rows: np.full(len(rows), 9.0)
    with pytest.raises(InvalidModel, match="the export differs from the estimator"):
        export_forest(estimator, NAMES, REFERENCES, x)
