"""Calibration: probabilities are shares, few rows give no certainty, and a prior is that of where the model serves."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from riskd.offline.evaluation.operating import Floats
from riskd.offline.rows import FRAUD
from riskd.offline.training.calibration import ENOUGH, Curve, fit_curve, knots, shifted
from riskd.offline.training.recipe import Recipe
from riskd.offline.training.train import train
from tests.offline.made_rows import rows

FEW, MANY = 3_000, 60_000
"""Rows with about 150 frauds, for a sigmoid, and with about 3,000, for the isotonic curve."""
BY_METHOD = pytest.mark.parametrize(("count", "method"), [(FEW, "sigmoid"), (MANY, "isotonic")], ids=["few", "many"])


def probabilities(odds: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-odds))
    return found


def log_odds(share: float) -> float:
    return float(np.log(share / (1 - share)))


def drawn(count: int) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Raw log-odds that are half of the true ones, too high by two; labels drawn from the true ones; and these."""
    random = np.random.default_rng(3)
    true = random.normal(-4.5, 2.0, count)
    return true / 2 + 2.0, random.random(count) < probabilities(true), true


def fitted(count: int) -> tuple[Curve, Floats, NDArray[np.bool_], Floats]:
    raw, fraud, true = drawn(count)
    return fit_curve(raw, fraud, np.ones(count)), raw, fraud, true


@BY_METHOD
def test_calibrated_log_odds_are_the_true_ones(count: int, method: str) -> None:
    """Labels drawn from known probabilities give these back, whatever the scale and the height of the scores; for the
    isotonic curve, where nine in ten of the frauds are."""
    curve, raw, fraud, true = fitted(count)
    common = (np.quantile(true[fraud], 0.05) < true) & (true < np.quantile(true[fraud], 0.95))

    assert curve.method == method
    assert (np.count_nonzero(fraud) >= ENOUGH) == (method == "isotonic")
    assert np.abs(curve.at(raw)[common] - true[common]).mean() < 0.25
    assert probabilities(curve.at(raw)).mean() == pytest.approx(fraud.mean(), rel=0.1)
    assert (np.diff(curve.at(np.sort(raw))) >= 0).all()


@BY_METHOD
def test_a_weight_is_so_many_rows_of_a_curve(count: int, method: str) -> None:
    """A row of weight two counts as two rows, one of weight three as three."""
    raw, fraud, _ = drawn(count // 2)  # so that the repeated rows, too, are few
    weights = 1 + np.arange(len(raw)) % 3
    weighed = fit_curve(raw, fraud, weights.astype(np.float64))
    repeated = fit_curve(np.repeat(raw, weights), np.repeat(fraud, weights), np.ones(int(weights.sum())))

    assert weighed.method == repeated.method == method
    grid = np.linspace(-2.0, 3.0, 50)
    np.testing.assert_allclose(weighed.at(grid), repeated.at(grid), atol=0.02)


@BY_METHOD
def test_a_prior_is_the_share_of_fraud_where_the_model_serves(count: int, method: str) -> None:
    """A curve that was fitted where fraud is frequent, shifted to a prior, is right where fraud has that share, and
    unchanged if the prior is the share where it was fitted."""
    curve, raw, fraud, _ = fitted(count)
    share, prior = float(fraud.mean()), 0.002
    serving = np.where(fraud, prior / share, (1 - prior) / (1 - share))
    said = probabilities(shifted(curve, share, prior).at(raw))

    assert curve.method == method
    assert np.average(said, weights=serving) == pytest.approx(prior, rel=0.15)
    assert shifted(curve, share, None) == curve
    np.testing.assert_allclose(shifted(curve, share, share).at(raw), curve.at(raw))


def test_few_rows_give_no_certainty() -> None:
    """Where scores separate thirty frauds perfectly, no row gets a probability above that of one more row of the other
    label (Platt 1999)."""
    raw, fraud = np.repeat([-3.0, 3.0], [300, 30]), np.arange(330) >= 300
    good, bad = probabilities(fit_curve(raw, fraud, np.ones(330)).at(np.array([-3.0, 3.0])))

    assert bad == pytest.approx(31 / 32, abs=0.003)
    assert good == pytest.approx(1 / 302, rel=0.05)


def test_beyond_all_rows_the_isotonic_curve_follows_the_model() -> None:
    """Lower or higher than any row, one log-odds of the model is one log-odds."""
    curve, raw, *_ = fitted(MANY)
    for end in (raw.min() - 2.0, raw.max()):
        low, high = curve.at(np.array([end, end + 1.5]))
        assert high - low == pytest.approx(1.5)


@BY_METHOD
def test_the_served_knots_are_the_curve(count: int, method: str) -> None:
    """The served polygon rises from the lowest to the highest log-odds, with a few hundred knots, and is nowhere more
    than half a point from the curve."""
    curve, *_ = fitted(count)
    served = knots(curve, -8.0, 9.0)
    xs, ys = np.array(served).T
    between = np.linspace(-8.0, 9.0, 5_000)

    assert curve.method == method
    assert (xs[0], xs[-1]) == (-8.0, 9.0)
    assert 100 < len(xs) <= 1_000
    assert (np.diff(xs) > 0).all()
    assert (np.diff(ys) >= 0).all()
    assert np.abs(np.interp(between, xs, ys) - probabilities(curve.at(between))).max() < 0.005


def test_a_model_with_a_prior_is_one_whose_odds_are_those_of_the_prior() -> None:
    """Trained with `--prior`, probabilities differ by the ratio of the odds of the prior and of the rows that calibrate
    the model."""
    small = Recipe(trees=4, leaves=4)
    plain, served = (train([rows(delay_days=0.0)], replace(small, prior=prior)) for prior in (None, 0.001))
    share = float(np.mean(plain.material.tuning.labels == FRAUD))
    grid = np.linspace(-6.0, 6.0, 20)

    expected = log_odds(0.001) - log_odds(share)
    np.testing.assert_allclose(served.curve.at(grid) - plain.curve.at(grid), expected, atol=1e-6)
