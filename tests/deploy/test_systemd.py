"""The unit, as systemd itself reads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

UNIT_FILE = Path(__file__).parents[2] / "deploy" / "systemd" / "riskd.service"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """It knows every key, and rates what is left to the service as little."""
    copy = tmp_path / "riskd.service"
    copy.write_text(UNIT_FILE.read_text(encoding="utf-8").replace("/opt/riskd/bin/riskd", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert "riskd.service" not in done.stderr, done.stderr
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", copy], capture_output=True, check=False
    )
    assert rated.returncode == 0
