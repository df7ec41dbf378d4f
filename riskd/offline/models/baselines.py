"""What a candidate must beat on the same rows: a published formula, rules of thumb, anomaly detection, and large trees.

Freeman's score is computed from the logged log-likelihood ratios of riskd's features, not from raw logs: a decision log
holds no addresses and no user agents, on purpose. `tests/parity/test_freeman.py` compares the formula behind the
features with the authors' code to 1e-9. One difference remains: riskd's ratios smooth a value that is new to the
subject towards the population by the depth of the history, where the authors use a constant factor of 4 (decision
0009).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest

from riskd.offline.evaluation.operating import Floats
from riskd.offline.rows import Rows
from riskd.offline.training.boosting import fillable

FASTEST_KMH: Final = 805.0
"""Okta's default threshold for impossible travel."""
UNSCORED: Final = -100.0
"""A score below all of Freeman's, which are two ratios of at most 10 nats and the logarithm of a count."""
LARGE_TREES: Final = 400
LARGE_LEAVES: Final = 31
FOREST_TREES: Final = 200
FOREST_ROWS: Final = 4096
"""Rows that each tree of the isolation forest sees: 256 in the paper, more here because most rows are honest."""


def freeman(rows: Rows) -> Floats:
    """Freeman et al. (NDSS 2016) with the features and prior of Wiefling et al. (TOPS 2022): address and user agent.

    ln S = ln p(x) / p(x | u), summed over both, minus ln of the subject's share of all sign-ins, up to a constant. As
    in the authors' code, a subject without history is not scored, and so never challenged.
    """
    depth = _column(rows, "history_depth")
    ratios = np.nan_to_num(_column(rows, "address_llr")) + np.nan_to_num(_column(rows, "agent_llr"))
    known = np.nan_to_num(depth) > 0
    scores: Floats = np.where(known, ratios - np.log(np.where(known, depth, 1.0)), UNSCORED)
    return scores


def rules(rows: Rows) -> Floats:
    """How many of three rules of thumb match: a new device, a new country, travel faster than an airliner."""
    new_device, new_country = _column(rows, "new_device") > 0.5, _column(rows, "new_country") > 0.5
    impossible = _column(rows, "speed_kmh") > FASTEST_KMH
    return new_device.astype(np.float64) + new_country + impossible


def isolation_forest(train: Rows, rows: Rows, seed: int) -> Floats:
    """Anomaly detection without labels (Liu, Ting and Zhou 2008), fitted to all training rows, attacks included.

    Missing values are replaced by the median of the training rows.
    """
    usual = np.array(
        [np.median(column[~np.isnan(column)]) if (~np.isnan(column)).any() else 0.0 for column in train.vectors.T]
    )

    def filled(vectors: Floats) -> Floats:
        return np.where(np.isnan(vectors), usual, vectors)

    forest = IsolationForest(
        n_estimators=FOREST_TREES, max_samples=min(FOREST_ROWS, len(train)), random_state=seed
    ).fit(filled(train.vectors))
    scores: Floats = -forest.score_samples(filled(rows.vectors))
    return scores


def large_boosted(
    vectors: Floats, fraud: NDArray[np.bool_], weights: Floats, seed: int
) -> HistGradientBoostingClassifier:
    """What the data would allow without any of riskd's limits: many trees, no monotonicity, no starting model."""
    return HistGradientBoostingClassifier(
        max_iter=LARGE_TREES, max_leaf_nodes=LARGE_LEAVES, early_stopping=False, random_state=seed
    ).fit(fillable(vectors), fraud, sample_weight=weights)


def _column(rows: Rows, name: str) -> Floats:
    column: Floats = rows.vectors[:, rows.names.index(name)]
    return column
