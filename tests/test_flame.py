"""`make flame` draws a flame graph with riskd's functions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")
TRACING = os.geteuid() == 0 or not SCOPE.exists() or SCOPE.read_text(encoding="ascii").strip() == "0"
"""Whether a process may trace another one of the same user on this machine."""


@pytest.mark.slow
@pytest.mark.parametrize("way", [["--in-process"], []], ids=["in process", "served"])
def test_a_flame_graph_shows_an_assessment(way: list[str], tmp_path: Path) -> None:
    """The command prints the path of an SVG with the engine's frames, or says how to allow tracing."""
    out = tmp_path / "flame.svg"
    command = [sys.executable, "-m", "benchmarks.flame", "--seconds", "1", "--subjects", "50", "--out", str(out), *way]
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    if TRACING:
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == str(out)
        assert "riskd/engine/engine.py" in out.read_text(encoding="utf-8")
    else:
        assert done.returncode == 1
        assert "ptrace_scope" in done.stderr
