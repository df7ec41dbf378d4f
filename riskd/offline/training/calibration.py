"""Calibration of log-odds to probabilities, fitted on rows that no tree was trained on."""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from riskd.core.score import Knots
from riskd.offline.evaluation.operating import Floats

ENOUGH: Final = 300
"""With at least this many frauds, the shape of the curve is fitted to the data."""
GRID: Final = 300
"""Number of knots between the lowest and the highest log-odds that a forest can produce."""
_FLOOR: Final = 1e-12
_FLATTEST: Final = 1e-3
"""The smallest slope of a sigmoid: the served curve must rise, even if fraud has no higher scores than good rows."""


class Curve(Struct, frozen=True, kw_only=True):
    """A rising map from raw to calibrated log-odds: linear between the points, and with `slope` beyond them."""

    method: str
    raw: tuple[float, ...]
    calibrated: tuple[float, ...]
    slope: float

    def at(self, raw: Floats) -> Floats:
        """Calibrated log-odds."""
        inside = np.interp(raw, self.raw, self.calibrated)
        below, above = np.minimum(raw - self.raw[0], 0.0), np.maximum(raw - self.raw[-1], 0.0)
        calibrated: Floats = inside + self.slope * (below + above)
        return calibrated


def fit_curve(raw: Floats, fraud: NDArray[np.bool_], weights: Floats) -> Curve:
    """Fit the calibration of log-odds to labels with positive weights.

    With fewer than `ENOUGH` frauds: Platt's sigmoid (1999). Otherwise centred isotonic regression (Oron and Flournoy
    2017): a point at the middle of each block instead of a step, so that different scores stay different. Half a fraud
    and half a good row are added to each block. Beyond the outermost blocks the curve follows the model's own log-odds.
    """
    if np.count_nonzero(fraud) < ENOUGH:
        return _sigmoid(raw, fraud, weights)
    fitted = IsotonicRegression(out_of_bounds="clip").fit_transform(raw, fraud, sample_weight=weights)
    _, block = np.unique(fitted, return_inverse=True)
    rows = np.bincount(block, weights)
    risky = np.bincount(block, weights * fraud)
    middles = np.bincount(block, weights * raw) / rows
    odds = np.maximum.accumulate(np.log((risky + 0.5) / (rows - risky + 0.5)))
    return Curve(method="isotonic", raw=tuple(middles.tolist()), calibrated=tuple(odds.tolist()), slope=1.0)


def _sigmoid(raw: Floats, fraud: NDArray[np.bool_], weights: Floats) -> Curve:
    """Platt's targets: one added row of either label keeps few rows from producing certainty."""
    frauds, goods = weights[fraud].sum(), weights[~fraud].sum()
    high, low = (frauds + 1) / (frauds + 2), 1 / (goods + 2)
    target = np.where(fraud, high, low)
    x = np.concatenate([raw, raw])[:, None]
    y = np.repeat([1, 0], len(raw))
    fit = LogisticRegression(C=1e6).fit(x, y, sample_weight=np.concatenate([weights * target, weights * (1 - target)]))
    slope, constant = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    if slope < _FLATTEST:
        slope, constant = _FLATTEST, float(np.log((frauds + 1) / (goods + 1)))
    return Curve(method="sigmoid", raw=(0.0,), calibrated=(constant,), slope=slope)


def shifted(curve: Curve, share: float, prior: float | None) -> Curve:
    """The curve adjusted with Bayes' rule from the share of fraud where it was fitted to `prior`, the share where it
    serves."""
    if prior is None:
        return curve
    by = float(np.log(prior / (1 - prior)) - np.log(share / (1 - share)))
    return Curve(
        method=curve.method,
        raw=curve.raw,
        calibrated=tuple(value + by for value in curve.calibrated),
        slope=curve.slope,
    )


def knots(curve: Curve, low: float, high: float) -> Knots:
    """The curve in the served format, from the lowest to the highest log-odds that the forest can produce."""
    inside = [value for value in curve.raw if low < value < high]
    inside = inside[:: 1 + len(inside) // GRID]
    xs = np.unique(np.round(np.concatenate([np.linspace(low, high, GRID), inside]), 9))
    odds = curve.at(xs)
    ys = np.maximum.accumulate(1.0 / (1.0 + np.exp(-odds)))
    return tuple(zip(xs.tolist(), np.clip(ys, _FLOOR, 1 - _FLOOR).tolist(), strict=True))
