"""Shares of decisions that resemble each other: what they are worth, and whether their intervals hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.offline.clusters import GROUPS, KINDS, Cells, GroupCounts, added, design_effects, effect, groups, share_of
from riskd.offline.intervals import share
from tests.offline.drawn import NOW, assessment

DAY: Final = 86_400.0
counted = st.lists(st.tuples(*[st.integers(0, GROUPS - 1)] * KINDS, st.booleans()), max_size=60)


def counts(places: Sequence[tuple[int, ...]]) -> GroupCounts:
    """Decisions by the group of each kind."""
    cells: Cells[str] = Cells()
    for one in places:
        cells.count("", [kind * GROUPS + group for kind, group in enumerate(one)])
    return added(cells.values())


@given(counted)
def test_the_effect_is_the_largest_of_its_kinds(decisions: list[tuple[int, int, int, bool]]) -> None:
    """It is the largest mean design effect of hits and misses, as `riskd drift` computes them, over accounts, networks
    and days."""
    hits, whole = counts([one[:3] for one in decisions if one[3]]), counts([one[:3] for one in decisions])
    kinds = [
        design_effects(np.stack([hit, every - hit], axis=1))[0]
        for hit, every in zip(hits.reshape(KINDS, GROUPS), whole.reshape(KINDS, GROUPS), strict=True)
    ]
    assert effect(hits, whole) == pytest.approx(max(kinds))


@given(counted, st.integers(1, 50))
def test_copies_are_no_evidence(decisions: list[tuple[int, int, int, bool]], copies: int) -> None:
    """Decisions that are alike already, written several times, leave the interval as it is."""
    hits, whole = counts([one[:3] for one in decisions if one[3]]), counts([one[:3] for one in decisions])
    if effect(hits, whole) > 1:
        once, many = share_of(hits, whole), share_of(copies * hits, copies * whole)
        assert (many.low, many.high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize("kind", range(KINDS), ids=["account", "network", "day"])
def test_ten_alike_decisions_count_as_one(kind: int) -> None:
    """If every account, network or day has ten decisions, all challenged or none, the interval is that of a tenth of
    the decisions, up to the finite number of groups."""

    def places(one: int, copy: int) -> tuple[int, ...]:
        return tuple([one if each == kind else (10 * one + copy) % GROUPS for each in range(KINDS)])

    ones = [(one, copy) for one in range(GROUPS) for copy in range(10)]
    hits = counts([places(*each) for each in ones if each[0] % 4 == 0])
    found = share_of(hits, counts([places(*each) for each in ones]))
    exact = share(160, 640, effect=10 * GROUPS / (GROUPS - 1))
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def test_a_share_without_differences_is_taken_as_of_independent_decisions() -> None:
    """Where all decisions are hits, or none is, groups do not differ and nothing can be estimated."""
    whole = counts([(1, 1, 1)] * 30)
    assert share_of(whole, whole) == share(30, 30)
    assert share_of(0 * whole, whole) == share(0, 30)
    assert share_of(0 * whole, 0 * whole) == share(0, 0)


def test_a_decision_counts_by_its_account_its_network_and_its_day() -> None:
    """Another account, another network and another day are other groups, each of its own kind."""
    one = assessment(0)
    later = assessment(int(DAY))
    moved = [was != now for was, now in zip(groups(one), groups(later), strict=True)]
    assert moved == [False, False, True]
    assert [place // GROUPS for place in groups(one)] == list(range(KINDS))
    assert groups(one)[2] == 2 * GROUPS + int(NOW // DAY) % GROUPS


@given(counted, counted)
def test_the_counts_of_two_parts_add_up(one: list[tuple[int, ...]], other: list[tuple[int, ...]]) -> None:
    """Counting two parts and adding them is counting both; the part that is added stays as it is."""
    parts: list[Cells[int]] = [Cells(), Cells(), Cells()]
    for part, decisions in zip(parts, (one, other, one + other), strict=True):
        for decision in decisions:
            part.count(decision[0] % 3, [kind * GROUPS + group for kind, group in enumerate(decision[:3])])
    sum_of, added_part, both = parts
    before = {key: cell[:] for key, cell in added_part.items()}
    sum_of += added_part
    sum_of += Cells()
    assert sum_of == both
    assert added_part == before


def test_the_interval_holds_the_true_share_as_often_as_it_says() -> None:
    """Over 300 drawn logs of 200 accounts, each with twenty decisions and a friction of its own, about nineteen of
    twenty intervals hold the true share; of those for independent decisions, hardly more than half do."""
    dice, truth, trials = np.random.default_rng(4), 0.1, 300
    account = np.arange(200)
    whole = np.concatenate([np.bincount(account * kind % GROUPS, minlength=GROUPS) * 20 for kind in (1, 3, 5)])
    held, naive = 0, 0
    for _ in range(trials):
        hit = dice.binomial(20, dice.beta(0.5, 4.5, len(account)))
        # Every account has one network and one day of its own, so each kind has the same clusters.
        hits = np.concatenate([np.bincount(account * kind % GROUPS, hit, GROUPS) for kind in (1, 3, 5)])
        found = share_of(hits.astype(np.int64), whole)
        plain = share(found.hits, found.total)
        held += found.low <= truth <= found.high
        naive += plain.low <= truth <= plain.high
    assert held / trials > 0.92
    assert naive / trials < 0.75
