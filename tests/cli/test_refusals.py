"""Laws of what the command line refuses: a line that says where, what, and mostly how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from riskd.cli.main import main

CASES: Final = {
    "no models": (["model", "verify", "--models", "{empty}"], "has no models of any identity domain (name another"),
    "no bundle": (["model", "weights", "{empty}"], "{empty}: is not a model bundle (name the directory of one"),
    "no policies": (["policy", "diff", "{empty}", "{empty}"], "has no policy of any identity domain (name a policy"),
    "no release": (["release", "show"], "release: none is active: the policy and model directories of the settings"),
    "no file": (["model", "explain", "customer", "--vector", "{empty}"], "{empty}: cannot be read: Is a directory"),
    "no store to be made again": (["import", "decision-log"], "--until: is needed: lines that the service wrote since"),
    "no time to divide": (["drift", "--log", "{empty}"], "has no segments of a decision log (name the log.dir"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_says_where_and_what(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, nothing on standard output, and a sentence that a stranger can act on."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("RISKD_STATE__DIR", str(tmp_path / "state"))
    words, expected = CASES[case]
    assert main([word.format(empty=empty) for word in words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert expected.format(empty=empty) in told.err


@pytest.mark.parametrize(
    "words",
    [["assess", "{file}"], ["assess", "--stream", "{file}", "--target", "127.0.0.1:1"], ["policy", "check", "{file}"]],
)
def test_what_is_quoted_does_nothing_to_a_terminal(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names that came from outside are part of what is wrong, in every command."""
    file = tmp_path / "file"
    file.write_text('{"\\u001b[31mname": 1}\n')
    assert main([word.format(file=file) for word in words]) == 2
    told = capsys.readouterr().err
    assert r"\x1b[31mname" in told
    assert "\x1b" not in told


def test_an_export_without_a_record_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of which nothing was used is named as perhaps another one, not passed over."""
    monkeypatch.setenv("RISKD_STATE__DIR", str(tmp_path))
    (tmp_path / "junk.txt").write_text("junk\n")
    assert main(["import", "okta", str(tmp_path / "junk.txt"), "--domain", "customer"]) == 0
    assert "nothing was used: is this an export of Okta" in capsys.readouterr().out
