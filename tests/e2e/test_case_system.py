"""Frauds of a case system become labels, as docs/training.md says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from riskd.core.record import OutcomeRecord
from tests.e2e.service import ROOT, Service, attempt, environment, riskd, serving


def find(cases: str, service: Service, tools: Path) -> subprocess.CompletedProcess[str]:
    """Run the page's program on these cases."""
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    tools.mkdir(exist_ok=True)
    (tools / "riskd").write_text(f'#!/bin/sh\nexec {sys.executable} -m riskd "$@"\n')
    (tools / "riskd").chmod(0o755)
    ours = environment(service.state, {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"})
    return subprocess.run(
        [sys.executable, "-c", program], input=cases, env=ours, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_cases_of_a_file_become_outcomes(tmp_path: Path) -> None:
    """The attempts of each account near the time of its case are reported as fraud, others are not, and an account
    without attempts is named. Reported again, the file changes nothing."""
    file = tmp_path / "outcomes.jsonl"
    with serving(tmp_path / "state") as service:
        ids = {name: service.assess(attempt(subject=name)).assessment_id for name in ("alex", "zoë", "kim")}
        now = datetime.fromtimestamp(time.time(), UTC).isoformat()
        found = find(f"alex,{now}\nzoë,{now}\nkim,2026-01-01T12:00:00Z\nrobin,{now}\n", service, tmp_path / "tools")
        assert found.returncode == 0, found.stderr
        file.write_text(found.stdout)
        assert [json.loads(line)["assessment_id"] for line in found.stdout.splitlines()] == [ids["alex"], ids["zoë"]]
        assert found.stderr == f"no attempt of kim at 2026-01-01T12:00:00Z\nno attempt of robin at {now}\n"
        for _ in range(2):
            done = riskd("outcome", "--file", str(file), "--target", service.address, state=tmp_path)
            assert (done.returncode, done.stdout, done.stderr) == (0, "recorded 2 outcomes, refused 0\n", "")
        told = [(one.assessment_id, one.kind) for one in service.decisions() if isinstance(one, OutcomeRecord)]
    assert {*told} == {(ids["alex"], "confirmed_fraud"), (ids["zoë"], "confirmed_fraud")}
