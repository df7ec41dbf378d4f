"""`riskd log export`, as a SIEM integration runs it: with processes, pipes, files and signals."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import pytest
from msgspec import Struct

from riskd.cli.main import main
from riskd.core.record import encode
from tests.decision_log import SEGMENT, decision, outcome, write
from tests.offline.siem.ocsf import violations
from tests.offline.siem.records import TIME

COMMAND: Final = (sys.executable, "-m", "riskd", "log", "export")
LINES: Final = (decision(1, TIME), outcome(1, TIME + 5, "challenge_passed"), outcome(1, TIME + 9, "confirmed_fraud"))


class Done(Struct, frozen=True):
    """The result of a run."""

    code: int
    out: bytes
    err: str


Export = Callable[..., Done]


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Export:
    """Run the command in this process."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def run(*words: object) -> Done:
        try:
            code = main(["log", "export", *map(str, words)])
        except SystemExit as error:  # raised by argparse
            code = int(error.code or 0)
        out, err = capfdbinary.readouterr()
        return Done(code, out, err.decode())

    return run


def environment(state: Path) -> dict[str, str]:
    return {**os.environ, "XDG_STATE_HOME": str(state)}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    directory = tmp_path / "decisions"
    write(directory / SEGMENT, *LINES)
    return directory


def uids(lines: bytes) -> list[str]:
    return [json.loads(line)["metadata"]["uid"] for line in lines.splitlines()]


def test_a_log_on_standard_output(log: Path, export: Export) -> None:
    """One event per line on stdout, the counts on stderr, and exit code 0."""
    done = export(log)
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["class_uid"] for event in events] == [3002, 3002, 2004]
    assert [problem for event in events for problem in violations(event)] == []
    assert done.code == 0
    assert [line.split(maxsplit=1) for line in done.err.splitlines()] == [
        ["1", "assessments exported (Authentication)"],
        ["1", "outcomes exported (Authentication)"],
        ["1", "cases of confirmed fraud exported (Detection Finding)"],
    ]


def test_the_log_of_the_settings(log: Path, export: Export) -> None:
    """If no log is named, the one in the settings is used."""
    assert uids(export("--set", f"log.dir={log}").out) == uids(export(log).out)


def test_a_file_that_is_whole(log: Path, tmp_path: Path, export: Export) -> None:
    """With `--to`, the file appears when complete, readable by its owner only; counts go to stdout."""
    file = tmp_path / "events.jsonl"
    done = export(log, "--to", str(file), "--json")
    assert done.out.startswith(b"{\n  ")
    assert uids(file.read_bytes()) == uids(export(log).out)
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(done.out) == {
        "assessments": 1,
        "outcomes": 1,
        "findings": 1,
        "repeats": 0,
        "events": 0,
        "shadow": 0,
        "unreadable": 0,
        "first_unreadable": [],
    }
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".draft"] == []


def test_lines_that_are_no_records(log: Path, export: Export) -> None:
    """Invalid lines are skipped and counted, and give exit code 1."""
    write(log / SEGMENT, LINES[0], b"damaged", LINES[1])
    done = export(log)
    assert (done.code, len(uids(done.out))) == (1, 2)
    assert "1  unreadable lines left out" in done.err


REFUSED: Final = {
    "no log": (("/nowhere",), "/nowhere: is not a directory"),
    "no directory to follow": (("/nowhere", "--follow"), "/nowhere: is not a directory"),
    "an end that never comes": (("LOG", "--follow", "--to", "x"), "--follow: never ends"),
    "a stream has no places": (("-", "--bookmark", "x"), "--bookmark: needs a log in a directory"),
    "a stream ends by itself": (("-", "--follow"), "--follow: needs a log in a directory"),
    "one file for two": (("LOG", "--to", "LOG/x", "--bookmark", "LOG/./x"), "--bookmark: would replace the events"),
    "no bookmark": (("LOG", "--bookmark", "LOG/" + SEGMENT), "is not a bookmark"),
    "nowhere to write": (("LOG", "--to", "/nowhere/x"), "/nowhere/x: cannot be written: No such file"),
    "nowhere for a bookmark": (("LOG", "--bookmark", "/nowhere/x"), "/nowhere/x: cannot be written: No such file"),
    "no moment": (("LOG", "--since", "yesterday"), "'yesterday' is not a date or time"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, log: Path, export: Export) -> None:
    """Bad arguments give exit code 2 and a reason."""
    words, why = REFUSED[name]
    done = export(*(word.replace("LOG", str(log)) for word in words))
    assert (done.code, why in done.err) == (2, True), done.err


def test_since(log: Path, export: Export) -> None:
    """With `--since`, earlier lines are skipped."""
    assert len(uids(export(log, "--since", "2025-11-27T14:05:05Z").out)) == 2


def test_a_run_continues_where_the_last_one_stopped(log: Path, tmp_path: Path, export: Export) -> None:
    """With a bookmark, each line is in exactly one of the runs' files."""
    flags = ("--bookmark", str(tmp_path / "bookmark"), "--to", str(tmp_path / "events"))
    found = []
    for number in range(3):
        assert export(log, *flags).code == 0
        found.append(len(uids((tmp_path / "events").read_bytes())))
        with (log / SEGMENT).open("ab") as segment:
            segment.write(encode(decision(2 + number, TIME + 20)) + b"\n")
    assert found == [3, 1, 1]


def test_a_file_that_was_not_written_moves_no_bookmark(log: Path, tmp_path: Path, export: Export) -> None:
    """If the file cannot be written, the bookmark does not move."""
    bookmark = ("--bookmark", str(tmp_path / "bookmark"))
    assert export(log, *bookmark, "--to", str(tmp_path / "no" / "events")).code == 2
    assert len(uids(export(log, *bookmark).out)) == 3


def test_an_unwritable_bookmark_is_refused(log: Path, export: Export) -> None:
    """A bookmark that cannot be written is refused before anything is exported."""
    done = export(log, "--bookmark", "/nowhere/x")
    assert (done.code, done.out) == (2, b"")
    assert "/nowhere/x: cannot be written" in done.err


def test_a_stream(tmp_path: Path) -> None:
    """Lines on stdin give the same events and exit codes."""
    lines = b"".join(encode(line) + b"\n" for line in LINES)
    for given, code in ((lines, 0), (lines + b"{", 1)):
        done = subprocess.run(
            [*COMMAND, "-"], input=given, env=environment(tmp_path), capture_output=True, check=False, timeout=30
        )
        assert (done.returncode, len(uids(done.stdout))) == (code, 3)


def test_a_reader_that_leaves(log: Path, tmp_path: Path) -> None:
    """If the reader closes the pipe, the command ends silently with the exit code of SIGPIPE."""
    write(log / SEGMENT, *(decision(number, TIME) for number in range(2000)))
    with subprocess.Popen(
        [*COMMAND, str(log)], env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["class_uid"] == 3002
        process.stdout.close()
        assert (process.wait(30), process.stderr.read()) == (141, b"")


@contextmanager
def running(*words: str, state: Path, **pipes: Any) -> Iterator[subprocess.Popen[bytes]]:  # noqa: ANN401
    process = subprocess.Popen([*COMMAND, *words], env=environment(state), stdout=subprocess.PIPE, **pipes)
    with process:
        try:
            yield process
        finally:
            process.kill()


def line(file: IO[bytes] | None) -> str:
    """The id of the next event; waits for it."""
    assert file is not None
    assert select.select([file], [], [], 20.0)[0], "no event arrived in time"
    return uids(file.readline())[0]


def test_a_stream_is_exported_at_once(tmp_path: Path) -> None:
    """Each line of a stream is exported before the next one arrives."""
    with running("-", state=tmp_path, stdin=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        for number in (1, 2):
            process.stdin.write(encode(decision(number, TIME)) + b"\n")
            assert line(process.stdout) == f"{number:032x}"
        process.stdin.close()
        assert process.wait(20) == 0


def test_two_exports_cannot_share_a_bookmark(log: Path, tmp_path: Path, export: Export) -> None:
    """While an export uses a bookmark, another with the same one is refused, and exports nothing."""
    flags = (str(log), "--bookmark", str(tmp_path / "bookmark"))
    with running(*flags, "--follow", state=tmp_path, bufsize=0) as process:
        told = [line(process.stdout) for _ in LINES]
        again = export(*flags)
        assert (again.code, again.out) == (2, b"")
        assert f"{tmp_path}/bookmark: is in use by another export" in again.err
    assert len(told) == len(LINES)
    assert export(*flags).code == 0


def test_a_log_is_followed(log: Path, tmp_path: Path) -> None:
    """`--follow` exports later lines and segments. After Ctrl-C (130) the next run continues from there; after a kill
    it may repeat the last second."""
    flags = (str(log), "--follow", "--bookmark", str(tmp_path / "bookmark"))

    def more(name: str, number: int) -> str:
        with (log / name).open("ab") as segment:
            segment.write(encode(decision(number, TIME + number)) + b"\n")
        return f"{number:032x}"

    with running(*flags, state=tmp_path, bufsize=0, stderr=subprocess.PIPE) as process:
        assert LINES[0].id in [line(process.stdout) for _ in LINES]
        for name, number in ((SEGMENT, 20), ("20260101T010000.000000-w0-1.jsonl", 21)):
            added = more(name, number)
            assert line(process.stdout) == added
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert b"3  assessments exported" in process.stderr.read()
    told = {f"{20:032x}", f"{21:032x}"}
    with running(*flags, state=tmp_path, bufsize=0) as process:
        added = more(SEGMENT, 22)
        while (found := line(process.stdout)) != added:
            assert found in told
        process.kill()
        assert process.wait(20) == -signal.SIGKILL
    with running(*flags, state=tmp_path, bufsize=0) as process:
        added = more(SEGMENT, 23)
        while (found := line(process.stdout)) != added:
            assert found in told | {f"{22:032x}"}
