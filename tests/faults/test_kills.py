"""Processes are killed at random moments; `make chaos` does it two hundred times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.kills import campaign


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """When workers and supervisors are killed under load, every acknowledged assessment and outcome is kept in log and
    store, and no worker outlives its supervisor."""
    found = campaign(tmp_path, workers=3, supervisors=1, seed=1)
    assert (found.lost_in_log, found.lost_in_store, found.orphans) == (0, 0, 0)
    assert found.assessments > 30
    assert found.outcomes > 30
