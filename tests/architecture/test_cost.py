"""What an assessment may cost: counts that are the same on every machine, and under any load."""

from __future__ import annotations

import sys
from typing import Final

import pytest

from benchmarks.bytecodes import COUNTED, Cost, count

BYTECODES: Final = 14_000
"""Of Python 3.11."""
CALLS: Final = 373
TOLERANCE: Final = 0.02
"""Assessments differ: one in sixteen is explained. What costs more than this is a choice: raise the figure in the
commit that makes it, and say there what it buys. Lower it with what costs less."""


@pytest.fixture(scope="module")
def cost() -> Cost:
    return count()


def test_an_assessment_runs_through_so_many_bytecodes(cost: Cost) -> None:
    """A step that makes every assessment dearer by a fiftieth does not go unnoticed."""
    if sys.version_info[:2] == (3, 11):
        assert cost.bytecodes == pytest.approx(BYTECODES, rel=TOLERANCE), cost.modules
    assert cost.bytecodes < 1.2 * BYTECODES, "no other Python compiles the same code to a fifth more"


def test_an_assessment_calls_so_many_functions(cost: Cost) -> None:
    """Comprehensions that a newer Python inlines are calls no more: it may need fewer."""
    assert cost.calls <= CALLS * (1 + TOLERANCE), cost.modules


def test_the_count_tells_more_from_less(cost: Cost) -> None:
    """Half as many attempts cost as much each, and what is counted is not the warming up."""
    half = count(counted=COUNTED // 2)

    assert half.calls == pytest.approx(cost.calls, rel=2 * TOLERANCE)
    assert half.modules["riskd/engine.py"] > 0
