"""Failing disks: sign-ins are answered in time, and what was acknowledged is found."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.service import eventually, serving
from tests.faults.disks import Disk
from tests.faults.witness import causes, gaps, witness

SYNCED = 2.5
"""Seconds after which writes have reached the disk."""
BOTH = {"store:not_written", "decision_log:not_written"}


@pytest.mark.slow
def test_a_full_disk(disk: Disk) -> None:
    """Answers name both causes, and reads work. Free space alone restores everything."""
    with serving(disk.path / "state", workers=2) as service, witness(service) as caller:
        with disk.full():
            eventually(lambda: caller.sign_in().causes == BOTH)
            seen = caller.several(10)
            assert causes(seen) == BOTH
            assert gaps(seen) == set()
            assert caller.failures("store") >= 10
            assert caller.failures("decision_log") >= 10
        caller.recovered()
        caller.finds_everything()


@pytest.mark.slow
def test_a_log_on_a_disk_that_hangs(disk: Disk, tmp_path: Path) -> None:
    """One call hangs in the disk. All others are answered in time and say that they are not logged."""
    elsewhere = {"RISKD_LOG__DIR": str(disk.path / "decisions")}
    with serving(tmp_path / "state", settings=elsewhere) as service, witness(service) as caller:
        with disk.frozen():
            assert sum(caller.is_late() for _ in range(5)) <= 2, "one, and one that was there before it was noticed"
            seen = caller.several(20)
            assert causes(seen) == {"decision_log:not_written"}
            assert caller.failures("decision_log") >= 20
        caller.recovered()
        for assessment_id in caller.acknowledged:
            caller.tell(assessment_id)


@pytest.mark.slow
def test_a_store_on_a_disk_that_hangs(disk: Disk, tmp_path: Path) -> None:
    """Calls end only by their own deadline. Once the disk answers, everything continues and nothing is lost."""
    elsewhere = {"RISKD_STORE__PATH": str(disk.path / "store")}
    with serving(tmp_path / "state", workers=2, settings=elsewhere) as service, witness(service) as caller:
        with disk.frozen():
            assert all(caller.is_late() for _ in range(3))
        caller.recovered()
        caller.several(10)
        caller.finds_everything()


@pytest.mark.slow
def test_a_file_system_that_turned_read_only(disk: Disk) -> None:
    """Histories can be read, but nothing is written. After a remount, store and log recover without a restart."""
    with serving(disk.path / "state", workers=2) as service, witness(service) as caller:
        time.sleep(SYNCED)
        disk.break_down()
        eventually(lambda: caller.sign_in().causes == BOTH)
        seen = caller.several(10)
        assert causes(seen) == BOTH
        assert gaps(seen) == set()
        assert caller.failures("store") > 0
        assert caller.failures("decision_log") > 0
        disk.replace()
        caller.recovered()
        caller.finds_everything()
