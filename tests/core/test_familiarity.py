from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.core.familiarity import (
    ADDRESS_WEIGHTS,
    AGENT_WEIGHTS,
    LIMIT,
    UNKNOWN,
    global_term,
    log_likelihood_ratio,
    ratio,
    single_log_likelihood_ratio,
    smoothed,
    user_term,
)

COUNT = st.floats(0, 1e6)
COUNTS = st.lists(COUNT, min_size=4, max_size=4)


@pytest.mark.parametrize("weights", [ADDRESS_WEIGHTS, AGENT_WEIGHTS])
def test_weights_are_shares(weights: tuple[float, ...]) -> None:
    """The weights of a feature's levels add up to 1, so that a value that was always used has likelihood 1."""
    assert sum(weights) == pytest.approx(1)
    assert user_term([7.0] * len(weights), 7.0, weights) == pytest.approx(1)


def test_the_network_level_keeps_the_published_weights() -> None:
    """Adding the network level does not change the published weights of a known address or a known operator."""
    assert ADDRESS_WEIGHTS[0] + ADDRESS_WEIGHTS[1] == pytest.approx(0.6)
    assert ADDRESS_WEIGHTS[2:] == (0.3, 0.1)


@pytest.mark.parametrize(
    ("known", "likelihood"), [((5, 5, 5, 5), 1.0), ((0, 5, 5, 5), 0.6), ((0, 0, 5, 5), 0.4), ((0, 0, 0, 5), 0.1)]
)
def test_user_term_backs_off(known: tuple[float, ...], likelihood: float) -> None:
    """Each coarser level that is known contributes its share of the likelihood."""
    assert user_term(known, 5, ADDRESS_WEIGHTS) == pytest.approx(likelihood)


def test_unseen_value_has_a_likelihood() -> None:
    """The smoothed global term is positive for a value that nobody ever had, also in a domain without history."""
    assert 0 < global_term((0, 0), 1000, (0.6, 0.4), occurrences=1, unseen=2) < 0.001
    assert global_term((0, 0), 0, (0.6, 0.4), occurrences=1, unseen=2) == pytest.approx(0.6 / 3 / 2)


def test_freemans_unknown_is_four() -> None:
    """Without smoothing, a value unknown to the subject counts four to one against them."""
    assert ratio(0.3, 0.0) == UNKNOWN
    assert ratio(0.3, 0.6) == pytest.approx(0.5)


@given(total=st.floats(0.1, 1e4), population=st.floats(1e-9, 1))
def test_a_new_value_counts_by_the_depth_of_history(total: float, population: float) -> None:
    """For a value that the subject never had, the smoothed ratio is 1 + sign-ins, whatever its popularity."""
    assert population / smoothed(0.0, total, population) == pytest.approx(1 + total)


@given(own=COUNTS, own_total=st.floats(0.01, 1e6), counts=COUNTS, total=COUNT)
def test_ratio_is_bounded(own: list[float], own_total: float, counts: list[float], total: float) -> None:
    """Whatever was counted, one feature moves the log-odds by at most LIMIT, and the result is never NaN."""
    assert abs(log_likelihood_ratio(own, own_total, counts, total, ADDRESS_WEIGHTS)) <= LIMIT


@given(own=COUNT, own_total=st.floats(0.01, 1e6), count=st.integers(0, 10**6), total=st.integers(0, 10**6))
def test_the_single_level_fast_path_equals_the_general_form(
    own: float, own_total: float, count: int, total: int
) -> None:
    """The fast path for a feature with one level gives bit for bit the result of the general form."""
    general = log_likelihood_ratio((own,), own_total, (count,), total, (1.0,))
    assert single_log_likelihood_ratio(own, own_total, count, total) == general


@given(own=COUNTS, more=COUNT, level=st.integers(0, 3), counts=COUNTS)
def test_use_makes_familiar(own: list[float], more: float, level: int, counts: list[float]) -> None:
    """More proven use at any level never makes a value less familiar."""
    used = [count + more * (at == level) for at, count in enumerate(own)]

    before, after = (log_likelihood_ratio(c, 1e6, counts, 1e7, ADDRESS_WEIGHTS) for c in (own, used))

    assert after <= before + 1e-9


def test_common_values_say_less_than_rare_ones() -> None:
    """A value that the subject always has counts more in their favour if few others have it."""
    rare, common = (log_likelihood_ratio((20.0,), 20.0, (seen,), 10_000.0, (1.0,)) for seen in (20.0, 5_000.0))

    assert rare < common < 0
    assert rare == pytest.approx(math.log(20 / 10_000), abs=0.1)
