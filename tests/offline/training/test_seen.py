"""A bundle knows the rows that it was trained on again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.offline.rows import UNKNOWN, Rows
from riskd.offline.training.seen import KEPT, sample, share
from tests.offline.made_rows import rows

MADE = rows(400)


def some(numbers: set[int]) -> Rows:
    """These of the rows, in ascending order."""
    return MADE.where(np.array(sorted(numbers), dtype=np.intp))


numbers = st.sets(st.integers(0, 399), max_size=60)


@given(numbers, numbers, numbers)
def test_of_few_rows_every_one_is_known(trees: set[int], calibration: set[int], judged: set[int]) -> None:
    """If the rows that were trained on are fewer than a sample keeps, the share is exact, whatever part they were
    in."""
    found = share(sample((some(trees), some(calibration))), some(judged))
    assert found == pytest.approx(len(judged & (trees | calibration)) / max(len(judged), 1))


def test_of_many_rows_the_share_is_estimated_and_none_is_none() -> None:
    """Of more rows than a sample keeps, the share is found to within chance; rows that were not trained on are never
    taken for ones that were."""
    made = rows(20_000)
    kept = sample((made.where(np.arange(15_000)),))
    assert len(kept) == 12 * KEPT
    assert share(kept, made.where(np.arange(10_000, 20_000))) == pytest.approx(0.5, abs=0.1)
    assert share(kept, made.where(np.arange(15_000))) == 1.0
    assert share(kept, made.where(np.arange(15_000, 20_000))) == 0.0


def test_rows_that_two_logs_have_are_one() -> None:
    """If two of the logs of a training have the same rows, the share is as of one of them."""
    made = rows(2_000)
    trained = made.where(np.arange(600))
    assert share(sample((trained, trained)), made) == 0.3
    many = made.where(np.arange(1_500))
    assert sample((many, many)) == sample((many,))


def test_rows_without_a_label_teach_and_judge_nothing() -> None:
    """A row without a label is neither in the sample nor in the share."""
    silent = replace(MADE, labels=np.where(np.arange(400) < 200, UNKNOWN, MADE.labels).astype(np.int8))
    kept = sample((silent,))
    assert share(kept, MADE) == 0.5
    assert share(kept, silent) == 1.0
    assert share(sample(()), MADE) == 0.0
