"""The unit files, checked by systemd."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))


def test_a_rebuild_may_lower_its_priority() -> None:
    """The unit allows the one call among those that change priorities and limits that riskd makes."""
    allowed = set[str]()
    for line in re.findall(r"^SystemCallFilter=(.*)$", (UNITS[0].parent / "riskd.service").read_text(), re.MULTILINE):
        named = set(calls(line.removeprefix("~").split()))
        allowed = allowed - named if line.startswith("~") else allowed | named
    assert allowed & set(calls(["@resources"])) == {"setpriority"}


def calls(words: list[str]) -> Iterator[str]:
    """System calls of a filter's words, with those of groups."""
    for word in words:
        if word.startswith("@"):
            command = ["systemd-analyze", "syscall-filter", word]
            shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            yield from calls(re.findall(r"^ {4}([@\w]+)$", shown, re.MULTILINE))
        else:
            yield word


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    """systemd knows every key of the unit and rates its exposure as low."""
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text(encoding="utf-8").replace("/opt/riskd/bin/riskd", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert unit.name not in done.stderr, done.stderr
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", copy], capture_output=True, check=False
    )
    assert rated.returncode == 0
