"""docs/drift.md can be followed: a first-time reader runs its commands in order, and each works."""

from __future__ import annotations

import re
import shlex
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from riskd.cli.main import main
from riskd.config import data_directory
from riskd.offline.drift.bins import DAY, Batch
from tests.offline.drift.world import BEGIN, rows, write

PAGE: Final = (Path(__file__).parents[2] / "docs" / "drift.md").read_text(encoding="utf-8")
COMMANDS: Final = re.search(r"```sh\n(.*?)```", PAGE, re.DOTALL)
AUTUMN: Final = datetime(2026, 9, 1, tzinfo=UTC).timestamp()


def test_the_commands_of_the_page_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given the shipped models and an unchanging log of eighty days, each command exits with 0 and names its reference
    period; afterwards the model has a reference."""
    batch = rows(5)
    log = Batch(AUTUMN + (batch.times - BEGIN) / (14 * DAY) * 80 * DAY, batch.subjects, batch.vectors)
    write(tmp_path / "decisions", log)
    shutil.copytree(data_directory("models"), tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    for name, place in (("STATE__DIR", "state"), ("LOG__DIR", "decisions"), ("RELEASE__MODELS", "models")):
        monkeypatch.setenv(f"RISKD_{name}", str(tmp_path / place))
    assert COMMANDS is not None
    lines = COMMANDS[1].replace("/mnt/archive", str(tmp_path)).splitlines()
    assert len(lines) == 4
    said = []
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0, line
        said.append(capsys.readouterr().out)
    assert all("earlier decisions, since the model has no reference" in each for each in said[:2])
    assert "from 2026-09-01 to 2026-09-30: the chosen reference" in said[2]
    assert (tmp_path / "drift.html").is_file()
    assert main(["drift"]) == 0
    assert "from 2026-09-01 to 2026-09-30: the reference of the model" in capsys.readouterr().out
