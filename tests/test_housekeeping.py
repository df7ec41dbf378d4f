"""Housekeeping beside the answers."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from riskd import housekeeping
from riskd.adapters.decision_log import FileLogArchive
from riskd.adapters.memory import MemoryStore, NullMeter
from riskd.config import Settings

PATIENCE = 10.0


def test_a_compaction_that_fails_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed compaction logs the file that it cannot read, and what to check."""
    monkeypatch.setattr(housekeeping, "DUE_SECONDS", 0.01)
    damaged = tmp_path / "erasures" / "1.json"
    damaged.parent.mkdir()
    damaged.write_bytes(b"{")
    engine: Any = SimpleNamespace(parts=SimpleNamespace(meter=NullMeter()), release=None)
    archive, known = FileLogArchive(tmp_path, 3600.0, 600.0), housekeeping.PepperState(0, [])
    with (
        caplog.at_level(logging.ERROR),
        housekeeping.housekeeping(Settings(), engine, archive, MemoryStore(), known),
    ):
        deadline = time.monotonic() + PATIENCE
        while not caplog.records:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    event = caplog.records[0]
    assert event.message == "compaction_failed"
    (problem,) = event.fields["problems"]  # type: ignore[attr-defined]
    assert str(damaged) in problem.what
