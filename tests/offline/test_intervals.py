"""Exact confidence intervals, checked against SciPy's beta distribution."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from riskd.offline.intervals import enough, most_hits, share, upper


@given(st.integers(1, 10**7), st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.99]))
def test_bounds_are_those_of_clopper_and_pearson(total: int, part: float, level: float) -> None:
    """Both bounds equal the quantiles of the beta distribution that define them."""
    hits, tail = round(part * total), (1 - level) / 2
    found = share(hits, total, level)
    assert found.low == pytest.approx(beta.ppf(tail, hits, total - hits + 1) if hits else 0.0, abs=1e-9)
    assert found.high == pytest.approx(beta.ppf(1 - tail, hits + 1, total - hits) if hits < total else 1.0, abs=1e-9)


@given(st.integers(0, 10**6), st.floats(0.001, 0.5))
def test_most_hits_fit_and_one_more_does_not(total: int, limit: float) -> None:
    """`most_hits` is the largest number whose upper bound is within the limit."""
    most = most_hits(total, limit, 0.05)
    assert most < 0 or upper(most, total, 0.05) <= limit
    assert upper(most + 1, total, 0.05) > limit


@pytest.mark.parametrize(("limit", "total"), [(0.01, 299), (0.05, 59), (0.001, 2995)])
def test_without_a_hit_the_rule_of_three_holds(limit: float, total: int) -> None:
    """0.95 = 1 - (1 - limit)^n: 59 rows without a hit show that the share is below 5 %, and 299 that it is below 1
    %."""
    assert enough(0.0, limit, 0.05) == total


def test_a_share_above_the_limit_never_passes() -> None:
    """No amount of data shows that a share is below less than it is."""
    assert enough(0.02, 0.01, 0.05) is None


def test_nothing_has_no_share() -> None:
    """Without data, any share is possible."""
    assert (share(0, 0).share, share(0, 0).low, share(0, 0).high, str(share(0, 0))) == (None, 0.0, 1.0, "-")
