"""Disk failures of every kind: sign-ins are answered in time, and everything acknowledged is kept."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.e2e.service import CITY, eventually, serving
from tests.faults.disks import Disk
from tests.faults.witness import Seen, Witness, causes, gaps, witness

SYNCED = 2.5
"""Seconds after which writes have reached the disk."""
BOTH = {"store:not_written", "decision_log:not_written"}


@pytest.mark.slow
def test_a_full_disk(disk: Disk) -> None:
    """On a full disk, answers name both causes and reads work; once there is room, everything recovers by itself."""
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
    """If the log's disk hangs, one call waits for it; all others are answered in time and report that they are not
    logged."""
    elsewhere = {"RISKD_LOG__DIR": str(disk.path / "decisions")}
    with serving(tmp_path / "state", settings=elsewhere) as service, witness(service) as caller:
        with disk.frozen():
            assert sum(caller.is_late() for _ in range(5)) <= 2, (
                "at most the call that hangs and one that began before this was noticed"
            )
            seen = caller.several(20)
            assert causes(seen) == {"decision_log:not_written"}
            assert caller.failures("decision_log") >= 20
        caller.recovered()
        for assessment_id in caller.acknowledged:
            caller.tell(assessment_id)


@pytest.mark.slow
def test_a_store_on_a_disk_that_hangs(disk: Disk, tmp_path: Path) -> None:
    """If the store's disk hangs, calls end at the caller's deadline; once it answers, all goes on and nothing is
    lost."""
    elsewhere = {"RISKD_STORE__PATH": str(disk.path / "store")}
    with serving(tmp_path / "state", workers=2, settings=elsewhere) as service, witness(service) as caller:
        with disk.frozen():
            assert all(caller.is_late() for _ in range(3))
        caller.recovered()
        caller.several(10)
        caller.finds_everything()


@pytest.mark.slow
def test_a_file_system_that_becomes_read_only(disk: Disk) -> None:
    """On a read-only file system, histories are read and nothing is written; once it is mounted again, store and log
    recover by themselves."""
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


@pytest.mark.slow
def test_a_geo_database_that_is_cut_off(tmp_path: Path) -> None:
    """If a geo database is cut off where it is, the worker that reads it dies, and its successor names places as gaps;
    a file that is moved into its place is in use without a restart."""
    city = tmp_path / "city.mmdb"
    shutil.copy(CITY, city)
    settings = {"RISKD_GEO__CITY": str(city), "RISKD_SERVER__WATCH_S": "0.2"}
    with serving(tmp_path / "state", settings=settings) as service, service.stub() as stub:
        caller = Witness(service, stub)
        assert "place" not in sources(caller.sign_in(5.0))
        os.truncate(city, 0)
        eventually(caller.is_unconnected)
        eventually(lambda: not caller.is_unconnected())
        assert "place" in sources(caller.sign_in())
        assert service.metric("riskd_reload_failed") == 1.0
        shutil.copy(CITY, tmp_path / "another")
        (tmp_path / "another").replace(city)
        eventually(lambda: "place" not in sources(caller.sign_in()))
        assert service.metric("riskd_worker_restarts_total") == 1.0


def sources(seen: Seen) -> set[str]:
    """What the answer lacks."""
    return {gap.source for gap in seen.answer.gaps}
