"""Labels of assessments, from outcome rows of 18 bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.core.attempt import OUTCOMES
from riskd.offline.labels import LABELS
from riskd.offline.outcomes import Outcomes, row, write_outcomes

IDS = [f"{number:032x}" for number in (0, 1, 2**64, 2**127, 2**128 - 1)]


@pytest.mark.parametrize(
    ("kinds", "label"),
    [
        ((), "unknown"),
        (("challenge_passed",), "good"),
        (("session_established",), "good"),
        (("recovery_completed",), "good"),
        (("confirmed_legitimate",), "good"),
        (("challenge_failed", "challenge_passed"), "good"),
        (("challenge_failed",), "unproven"),
        (("challenge_abandoned", "sign_in_abandoned"), "unproven"),
        (("recovery_failed",), "unproven"),
        (("challenge_passed", "confirmed_fraud"), "fraud"),
        (("confirmed_fraud", "confirmed_legitimate"), "fraud"),
    ],
)
def test_fraud_outweighs_all_and_a_pass_outweighs_a_failure(kinds: tuple[str, ...], label: str, tmp_path: Path) -> None:
    """In any order, fraud outweighs everything, and a pass outweighs a failure."""
    for order in (kinds, kinds[::-1]):
        write_outcomes(tmp_path / "outcomes", [row(IDS[2], kind) for kind in order])
        assert LABELS[Outcomes(tmp_path / "outcomes").label(IDS[2])] == label


@given(st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(OUTCOMES)), max_size=20))
def test_each_assessment_has_its_own(tmp_path_factory: pytest.TempPathFactory, told: list[tuple[str, str]]) -> None:
    """Joining by sorted rows gives each assessment its own outcomes."""
    file = tmp_path_factory.mktemp("outcomes") / "rows"
    assert write_outcomes(file, [b"".join(row(one, kind) for one, kind in told)]) == len({one for one, _ in told})
    found = Outcomes(file)
    for one in IDS:
        alone = file.with_name("alone")
        write_outcomes(alone, [row(one, kind) for other, kind in told if other == one])
        assert found.label(one) == Outcomes(alone).label(one)


@pytest.mark.parametrize("bad", ["", "00", "x" * 32, "0" * 34])
def test_ids_that_riskd_never_wrote_are_refused(bad: str) -> None:
    """An id that is not 32 hex digits is refused."""
    with pytest.raises(ValueError, match=r".*"):
        row(bad, "confirmed_fraud")
