"""`riskd outcome --file`: many outcomes, one a line."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from riskd.cli.client import lines as lines_of_a_file
from riskd.cli.client.status import BAD_INPUT, FAILED, NO_ANSWER
from riskd.cli.main import main
from riskd.core.attempt import OUTCOMES, Outcome
from riskd.server.identity.callers import Callers
from riskd.server.identity.guard import Guard
from tests.server.world import ANYWHERE, ASSESSMENT, Running, served

FRAUD = {"assessment_id": ASSESSMENT.id, "kind": "confirmed_fraud"}


@pytest.fixture
def running() -> Iterator[Running]:
    with served() as service:
        yield service


def report(file: Path | str, running: Running, *words: str) -> int:
    """Report a file of outcomes; the exit code."""
    return main(["outcome", "--file", str(file), *words, "--target", f"127.0.0.1:{running.service.port}"])


def test_every_line_is_reported(running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line that is not empty is reported with all its fields; those of one assessment in the order of the file."""
    file = tmp_path / "outcomes.jsonl"
    challenge = {"kind": "challenge_passed", "tenant": "shop", "amr": ["pwd", "otp"], "seconds": 4.5}
    lines = [{**FRAUD, "kind": kind} for kind in OUTCOMES * 20]
    timed = [{**FRAUD, "time": time} for time in ("2026-11-01T12:00:00Z", "2026-11-01 12:00", 1_793_534_400.0)]
    file.write_text("\n\n".join(map(json.dumps, [*lines, {**FRAUD, **challenge}, *timed])))
    assert report(file, running) == 0
    told = [outcome for outcome, _ in running.engine.outcomes]
    assert [outcome.kind for outcome in told[: len(lines)]] == [line["kind"] for line in lines]
    assert told[-4] == Outcome(
        assessment_id=ASSESSMENT.id, kind="challenge_passed", tenant="shop", amr=("pwd", "otp"), seconds=4.5
    )
    assert {outcome.time for outcome in told[-3:]} == {1_793_534_400.0}
    assert capsys.readouterr().out == f"recorded {len(told)} outcomes, refused 0\n"


def test_a_line_that_is_refused_stops_no_other(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines that are invalid, or that the service refuses, are counted and named; all others are recorded."""
    file = tmp_path / "outcomes.jsonl"
    wrong = ["{", '{"assessment_id": 1}', *(json.dumps({**FRAUD, **each}) for each in (
        {"kind": "fraud"}, {"time": "soon"}, {"assessment_id": "f" * 32}, {"assessment_id": "x"}, {"amr": ["pwd"]},
    ))]  # fmt: skip
    lines = [line for each in wrong for line in (json.dumps(FRAUD), each)]
    file.write_bytes("\n".join(lines).encode() + b'\n{"assessment_id": "\xff"}\n')
    assert report(file, running, "--json") == BAD_INPUT
    told = json.loads(capsys.readouterr().out)
    assert (told["recorded"], told["refused"]) == (len(wrong), len(wrong) + 1)
    assert sorted(int(each["where"].split()[1]) for each in told["first_refused"]) == [*range(2, 15, 2), 15]
    assert "NOT_FOUND UNKNOWN_ASSESSMENT" in str(told["first_refused"])
    file.write_text("{\n" * 13)
    assert report(file, running) == BAD_INPUT
    out, err = capsys.readouterr()
    assert out == "recorded 0 outcomes, refused 13\n"
    assert err.startswith("riskd: line 1: outcome: is not valid: ")
    assert err.endswith("riskd: and 3 more\n")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_standard_input_is_a_file(mark: str, running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `-`, the lines come from standard input, in whatever locale. Of it, as of a file, a byte order mark is no
    part."""
    lines, file = f"{mark}{json.dumps(FRAUD)}\n".encode(), tmp_path / "outcomes.jsonl"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines), encoding="ascii"))
    file.write_bytes(lines)
    assert [report(each, running) for each in ("-", file)] == [0, 0]
    assert len(running.engine.outcomes) == 2


def test_a_service_that_answers_nobody_ends_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a service the exit code is 3, and for a caller that it does not know 1; what was recorded is said."""
    file = tmp_path / "outcomes.jsonl"
    file.write_text(f"{json.dumps(FRAUD)}\n" * 40)
    assert main(["outcome", "--file", str(file), "--target", "127.0.0.1:1"]) == NO_ANSWER
    assert capsys.readouterr().out == "recorded 0 outcomes, refused 0\n"
    with served(ANYWHERE, guard=Guard(Callers(()))) as running:
        assert report(file, running) == FAILED
    assert "UNAUTHENTICATED" in capsys.readouterr().err


def test_an_interrupted_file_can_be_continued(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C, what was recorded is said, and the line at which to go on. The rest from there is all that is
    missing."""
    file, lines = tmp_path / "outcomes.jsonl", [json.dumps({**FRAUD, "time": 1.79e9 + at}) for at in range(90)]
    file.write_text("\n".join(lines))

    def interrupt(number: int, _: str) -> None:
        if number == 60:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(lines_of_a_file, "show_count", interrupt)
        assert report(file, running, "--json") == 130
    out, err = capsys.readouterr()
    done = json.loads(out)["done_lines"]
    assert 0 < json.loads(out)["recorded"] == done < 60
    assert f"stopped after line {done}; the rest: tail -n +{done + 1} FILE | " in err
    file.write_text("\n".join(lines[done:]))
    assert report(file, running) == 0
    assert {outcome.time for outcome, _ in running.engine.outcomes} == {1.79e9 + at for at in range(90)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["0" * 32, "confirmed_fraud", "--file", "x"], "ID: goes into the lines of --file"),
        (["--file", "x", "--tenant", "shop"], "--tenant: goes into the lines of --file"),
        (["--file", "x", "--seconds", "0"], "--seconds: goes into the lines of --file"),
        (["--file", "/nowhere"], "/nowhere: cannot be read"),
        (["0" * 32], "ID and KIND: are needed (give both, or --file FILE with many outcomes)"),
        ([], "ID and KIND: are needed"),
    ],
)
def test_one_outcome_or_a_file(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An outcome is given by its id and kind, or many by a file, and never both."""
    assert main(["outcome", *words, "--target", "127.0.0.1:1"]) == BAD_INPUT
    assert said in capsys.readouterr().err
