"""Messages of the command line: where the mistake is, what it is, and usually how to fix it."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Final

import pytest

from riskd.cli.main import main
from tests.faults.disks import nobody

CASES: Final = {
    "no models": (["model", "verify", "--models", "{empty}"], "has no models of any identity domain (name another"),
    "no bundle": (["model", "weights", "{empty}"], "{empty}: is not a model bundle (name the directory of one"),
    "no policies": (["policy", "diff", "{empty}", "{empty}"], "has no policy of any identity domain (name a policy"),
    "no release": (["release", "show"], "release: none is active: the policy and model directories of the settings"),
    "no file": (["model", "explain", "customer", "--vector", "{empty}"], "{empty}: cannot be read: Is a directory"),
    "no store to be made again": (["import", "decision-log"], "--until: is needed: lines that the service wrote since"),
    "no log to compact": (["log", "compact"], "log.dir: {state}/decisions is not a directory (give the settings of"),
    "no log for a dataset": (["log", "compact", "--to", "{state}/set"], "log.dir: {state}/decisions is not a"),
    "no store to move": (["pepper", "rotate"], "store.path: {state}/store has no store, so nothing can be moved (give"),
    "no store to look at": (["pepper", "status"], "store.path: {state}/store has no store"),
    "no time to divide": (["drift", "--log", "{empty}"], "has no segments of a decision log (name the log.dir"),
}

WITHOUT_TRACE: Final = {"no log to compact", "no log for a dataset", "no store to move", "no store to look at"}
"""Cases in which nothing may be made where a directory is missing: its name is more likely wrong."""


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_says_where_and_what(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, nothing on stdout, and a message that explains the mistake."""
    empty, state = tmp_path / "empty", tmp_path / "state"
    empty.mkdir()
    monkeypatch.setenv("RISKD_STATE__DIR", str(state))
    words, expected = CASES[case]
    assert main([word.format(empty=empty, state=state) for word in words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert expected.format(empty=empty, state=state) in told.err
    assert case not in WITHOUT_TRACE or not state.exists()


WRITING: Final = {
    "compact": (["log", "compact"], "log.dir", "decisions"),
    "import": (["import", "keycloak", "events.json", "--domain", "customer"], "store.path", "store"),
    "rebuild": (["import", "decision-log", "--until", "2026-01-01"], "store.path", "store"),
    "pepper": (["pepper", "rotate"], "store.path", "store"),
    "tenant": (["tenant", "erase", "lake", "--yes"], "log.dir", "decisions"),
    "release": (["release", "create"], "release.dir", "releases"),
}


@pytest.mark.parametrize("command", WRITING)
def test_root_writes_into_no_directory_of_another(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What root makes in a service's directories, the user of the service could not write to. So commands that write
    there refuse to be run by root, and have made nothing."""
    words, setting, name = WRITING[command]
    made = tmp_path / name
    made.mkdir()
    if not os.geteuid():
        os.chown(made, 12345, 12345)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("RISKD_STATE__DIR", str(tmp_path))
    assert main(words) == 2
    assert re.search(
        rf"^riskd: {re.escape(setting)}: {made} belongs to .+ \(run this as the user", capsys.readouterr().err
    )
    assert [each.name for each in tmp_path.rglob("*")] == [name]


@pytest.mark.parametrize("words", [["model", "verify", "--json", "--models"], ["policy", "check", "--json"]])
def test_a_check_lists_its_problems_in_json(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json, a check of files prints every problem with its parts on stdout, and exits with 2."""
    assert main([*words, str(tmp_path)]) == 2
    told = capsys.readouterr()
    (problem,) = json.loads(told.out)["problems"]
    assert problem["where"] == str(tmp_path)
    assert problem["what"]
    assert problem["remedy"]
    assert told.err == ""


@pytest.mark.parametrize(
    "words",
    [["assess", "{file}"], ["assess", "--stream", "{file}", "--target", "127.0.0.1:1"], ["policy", "check", "{file}"]],
)
def test_control_characters_in_quoted_input_are_escaped(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Messages escape control characters in quoted input, in every command."""
    file = tmp_path / "file"
    file.write_text('{"\\u001b[31mname": 1}\n')
    assert main([word.format(file=file) for word in words]) == 2
    told = capsys.readouterr().err
    assert r"\x1b[31mname" in told
    assert "\x1b" not in told


def test_an_import_without_a_usable_record_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If nothing in a file could be used, the command asks whether it is the right kind of export."""
    monkeypatch.setenv("RISKD_STATE__DIR", str(tmp_path))
    (tmp_path / "junk.txt").write_text("junk\n")
    assert main(["import", "okta", str(tmp_path / "junk.txt"), "--domain", "customer"]) == 0
    assert "nothing was used: is this an export of Okta" in capsys.readouterr().out


def test_a_store_that_fails_an_import_is_told_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command says why, and logs nothing: on a terminal, an event is a word without its reason."""
    for name, value in {
        "STATE__DIR": str(tmp_path),
        "STORE__KIND": "redis",
        "STORE__URL": "redis://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(f"RISKD_{name}", value)
    monkeypatch.setenv("RISKD_PEPPER", "00" * 32)
    export = Path(__file__).parents[1] / "data" / "imports" / "okta.json"
    assert main(["import", "okta", str(export), "--domain", "customer"]) == 3
    assert capsys.readouterr().err.startswith("riskd: redis 127.0.0.1:1: ")
    assert not caplog.messages


def test_another_user_is_told_who_may(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only the user of the service may read is refused with its path, and with the user to be."""
    state = tmp_path / "state"
    monkeypatch.setenv("RISKD_STATE__DIR", str(state))
    words = ["log", "compact"]
    assert main(words) == 2  # and every module that it needs is loaded
    state.mkdir(mode=0o000)
    capfd.readouterr()
    with nobody():
        assert main(words) == 2
    state.chmod(0o700)
    told = capfd.readouterr().err
    assert told == f"riskd: {state}/decisions: Permission denied (run this as the user of the service)\n"


@pytest.mark.parametrize("words", [["subject", "erase", "anne", "--domain", "customer"], ["tenant", "erase", "acme"]])
@pytest.mark.parametrize("typed", [b"\x04", b"\n", b"n\n", b"yes, no\n"], ids=["Ctrl-D", "Enter", "n", "neither"])
def test_an_erasure_that_is_not_confirmed_is_not_asked_for(
    typed: bytes, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is typed but `y` or `yes`, nothing is erased, and the exit code is 1."""
    monkeypatch.setenv("RISKD_STATE__DIR", str(tmp_path))
    keyboard, terminal = os.openpty()
    with os.fdopen(terminal) as stdin, os.fdopen(keyboard, "wb", buffering=0) as keys:
        monkeypatch.setattr(sys, "stdin", stdin)
        keys.write(typed)
        assert main(words) == 1
    assert capsys.readouterr().out.endswith("[y/N] Nothing was erased.\n")
