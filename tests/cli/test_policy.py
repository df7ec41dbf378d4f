"""`riskd policy check`: every mistake of every file, as a service would tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from riskd.cli.main import main

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "data" / "policies"
BAD = [ROOT / "tests" / "policy_errors" / f"{name}.yaml" for name in ("condition", "age_rises")]


def test_the_shipped_policies_are_right(capsys: pytest.CaptureFixture[str]) -> None:
    """A directory stands for its files; each is named with its domain and version."""
    assert main(["policy", "check", str(SHIPPED)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        str(SHIPPED / f"{domain}.yaml") for domain in ("customer", "machine", "workforce")
    ]


def test_the_mistakes_of_all_files_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2; the good file beside bad ones is still named."""
    assert main(["policy", "check", *map(str, BAD), str(SHIPPED / "machine.yaml")]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    for file in BAD:
        assert f"riskd: {file}:" in err


def test_a_place_without_policies_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Silence would look like success."""
    assert main(["policy", "check", str(tmp_path), str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.count("riskd: ") == 2
