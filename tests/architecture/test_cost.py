"""The cost of an assessment, as counts that do not depend on the machine or its load."""

from __future__ import annotations

import sys
from typing import Final

import pytest

from benchmarks.bytecodes import COUNTED, Cost, count

BYTECODES: Final = 14_600
"""Bytecodes in Python 3.11."""
CALLS: Final = 368
TOLERANCE: Final = 0.02
"""Assessments differ: one in sixteen is explained. A change that costs more than this is a choice: raise the figure in
the same commit, and say there what it buys. Lower the figure with a change that saves cost."""


@pytest.fixture(scope="module")
def cost() -> Cost:
    return count()


def test_an_assessment_executes_at_most_so_many_bytecodes(cost: Cost) -> None:
    """An assessment executes as many bytecodes as BYTECODES says, within 2 %, so that no change of its cost goes
    unnoticed."""
    if sys.version_info[:2] == (3, 11):
        assert cost.bytecodes == pytest.approx(BYTECODES, rel=TOLERANCE), cost.modules
    assert cost.bytecodes < 1.2 * BYTECODES, "no other Python needs a fifth more bytecodes"


def test_an_assessment_calls_at_most_so_many_functions(cost: Cost) -> None:
    """An assessment calls at most CALLS functions, plus 2 %; newer Pythons inline comprehensions and need fewer
    calls."""
    assert cost.calls <= CALLS * (1 + TOLERANCE), cost.modules


def test_the_count_is_per_assessment(cost: Cost) -> None:
    """With half as many assessments the count for each is the same, so the warm-up is not counted."""
    half = count(counted=COUNTED // 2)

    assert half.calls == pytest.approx(cost.calls, rel=2 * TOLERANCE)
    assert half.modules["riskd/engine/engine.py"] > 0
