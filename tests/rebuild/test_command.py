"""`riskd import decision-log`, run as a command."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from riskd._proto.riskd.v1 import risk_pb2
from riskd.adapters.lmdb_store import beside
from tests.e2e.service import attempt, riskd, serving
from tests.rebuild.world import remembered

COMMAND = ("import", "decision-log")


def lived(state: Path) -> None:
    """A service in which twelve people sign in."""
    with serving(state) as service, service.stub() as stub:
        for number in range(12):
            answer = stub.Assess(attempt(subject=f"person {number}"), timeout=20)
            outcome = risk_pb2.RecordOutcomeRequest(assessment_id=answer.assessment_id)
            outcome.session_established.SetInParent()
            stub.RecordOutcome(outcome, timeout=20)


@pytest.mark.timeout(300)
def test_the_command_restores_a_deleted_store(tmp_path: Path) -> None:
    """The command needs `--until`, restores everything, and has nothing to do the second time. An unreadable line is
    skipped and gives exit code 1; an empty directory is refused."""
    lived(tmp_path)
    before = remembered(tmp_path / "store")
    shutil.rmtree(tmp_path / "store")
    refused = riskd(*COMMAND, state=tmp_path, patience=60.0)
    assert refused.returncode == 2
    assert "--until" in refused.stderr
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
    done = riskd(*COMMAND, "--until", until, "--json", state=tmp_path, patience=60.0)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["counts"] == {"attempts": 12, "outcomes": 12, "erased": 0}
    assert remembered(tmp_path / "store") == before
    again = riskd(*COMMAND, state=tmp_path, patience=60.0)
    assert (again.returncode, "nothing to do" in again.stdout) == (0, True)

    shutil.rmtree(tmp_path / "store")
    log = tmp_path / "decisions"
    with next(log.glob("*.jsonl")).open("ab") as segment:
        segment.write(b"no record\n")
    partly = riskd(*COMMAND, str(log), "--until", until, state=tmp_path, patience=60.0)
    assert partly.returncode == 1, partly.stderr
    assert "1  unreadable lines left out" in partly.stdout
    assert "12  attempts" in partly.stdout
    assert remembered(tmp_path / "store") == before
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "empty").mkdir()
    nothing = riskd(*COMMAND, str(tmp_path / "empty"), "--until", until, state=tmp_path, patience=60.0)
    assert (nothing.returncode, "has no segments" in nothing.stderr) == (2, True)
    unsaid = riskd(*COMMAND, state=tmp_path, patience=60.0)
    assert (unsaid.returncode, "--until" in unsaid.stderr) == (2, True)
    assert not beside(tmp_path / "store").exists()
