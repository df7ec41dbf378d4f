"""A log with many damaged lines that are still JSON, given to every reader of logs.

`python -m tests.offline.test_spoilt_log 50000 2` does the same with more lines and another seed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import cache
from io import BytesIO, TextIOWrapper
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Event
from typing import Final

import pytest
from msgspec import DecodeError, Struct

from riskd.adapters.decision_log import FileLogArchive
from riskd.cli.main import main
from riskd.config import data_directory
from riskd.core.pseudonym import Pseudonyms
from riskd.core.record import AssessmentRecord, Record, decode
from riskd.core.stored import PLACE
from tests.decision_log import write
from tests.offline.spoilt import lines, spoilt
from tests.offline.town import PEPPER

SPOILT: Final = 600
PARTS: Final = ("20260101T000000.000000-w0-1.jsonl", "20260102T000000.000000-w0-2.jsonl.gz")
POLICIES: Final = str(data_directory("policies"))
ALONE: Final = ("--processes", "1")


class Spoilt(Struct):
    """A log with damaged lines, and its lines that are valid records."""

    place: Path
    lines: list[bytes]
    records: list[Record]

    @property
    def log(self) -> str:
        return str(self.place / "log")

    def run(self, *words: str) -> tuple[int, str]:
        """Run a command on it: exit code and output."""
        settings = {"state.dir": self.place, "log.dir": self.log, "secrets.pepper_file": self.place / "pepper"}
        out = TextIOWrapper(BytesIO(), "utf-8")
        with redirect_stdout(out):
            code = main([*words, *(word for name, value in settings.items() for word in ("--set", f"{name}={value}"))])
            out.flush()
        assert isinstance(out.buffer, BytesIO)
        return code, out.buffer.getvalue().decode()

    def counts(self, *words: str) -> dict[str, int]:
        """The counts of lines that a command reports, whatever it left out."""
        code, said = self.run(*words, "--json")
        assert code in (0, 1)
        found = json.loads(said)
        counts: dict[str, int] = (found.get("dataset") or found).get("counts") or found.get("left_out") or found
        return {kind: count for kind, count in counts.items() if kind != "first_unreadable"}

    @property
    def shown(self) -> str:
        """The first assessment of a customer that is a record."""
        return next(one.id for one in self.records if isinstance(one, AssessmentRecord) and one.domain == "customer")

    @property
    def named(self) -> str:
        """The subject of that assessment."""
        names, pseudonyms = (f"person {number}" for number in range(100)), Pseudonyms(PEPPER)
        place = bytes.fromhex(self.shown)[:PLACE]
        return next(who for who in names if pseudonyms.digest("", "customer", "subject", who).startswith(place))

    @property
    def dataset(self) -> str:
        """The dataset made from the log."""
        assert self.run("log", "compact", "--to", str(self.place / "dataset"), *ALONE)[0] == 0
        return str(self.place / "dataset")


def spoil(place: Path, many: int, seed: int) -> Spoilt:
    """A log with this many damaged lines."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "pepper").write_bytes(PEPPER + b"\n")
    (place / "pepper").chmod(0o600)
    found = _lines(many, seed)
    for name, part in zip(PARTS, (found[::2], found[1::2]), strict=True):
        write(place / "log" / name, *part)
    return Spoilt(place, found, list(_records(found)))


@cache
def _lines(many: int, seed: int) -> list[bytes]:
    sound, random = lines(), Random(seed)
    bad = spoilt(sound, random)
    found = [*sound, *(next(bad) for _ in range(many))]
    random.shuffle(found)
    return found


def _records(found: list[bytes]) -> Iterator[Record]:
    for line in found:
        try:
            yield decode(line)
        except DecodeError:
            continue


@pytest.fixture
def log(tmp_path: Path) -> Spoilt:
    """A real log with damaged lines."""
    return spoil(tmp_path, SPOILT, seed=1)


def test_every_run_damages_the_same_lines() -> None:
    """The log is the same every time, so that what a run found can be looked at again by its seed."""
    assert lines() == lines()


COUNTS: Final[dict[str, Callable[[Spoilt], dict[str, int]]]] = {
    "backtest": lambda log: log.counts("policy", "backtest", POLICIES, "--log", log.log, *ALONE),
    "export": lambda log: log.counts("log", "export", log.log, "--to", str(log.place / "events")),
    "replay": lambda log: log.counts("replay", log.log, "--out", str(log.place / "out"), *ALONE),
    "rebuild": lambda log: log.counts("import", "decision-log", log.log, "--until", "2100-01-01T00:00Z"),
    "compact": lambda log: log.counts("log", "compact", "--to", str(log.place / "dataset"), *ALONE),
}
"""Readers that account for every line."""
ORDERED: Final = ("replay", "rebuild", "compact")
NEWS: Final = ("hits_differ", "twice")
"""Counts of lines that are also counted elsewhere."""


@pytest.mark.parametrize("reader", COUNTS)
def test_every_line_is_read_or_counted(log: Spoilt, reader: str) -> None:
    """Every line is either read or counted as left out. All readers agree on which lines are no records; those that
    need the lines in order also leave out lines with impossible times."""
    counts = COUNTS[reader](log)
    none = len(log.lines) - len(log.records)
    assert none <= counts["unreadable"] <= none + (len(log.lines) // 50 if reader in ORDERED else 0)
    assert sum(count for kind, count in counts.items() if kind not in NEWS) == len(log.lines)


READERS: Final[dict[str, Callable[[Spoilt], tuple[int, str]]]] = {
    "backtest": lambda log: log.run(
        "policy", "backtest", POLICIES, "--log", log.log, "--html", f"{log.place}/report.html", *ALONE
    ),
    "rules": lambda log: log.run("policy", "rules", "--log", log.log, *ALONE),
    "signals": lambda log: log.run("policy", "signals", "--log", log.log, *ALONE),
    "calibrate": lambda log: log.run(
        "policy", "calibrate", "--log", log.log, "--presume-good", "--budget", "1%", *ALONE
    ),
    "drift": lambda log: log.run("drift", "--log", log.log, "--html", f"{log.place}/drift.html", *ALONE),
    "drift against itself": lambda log: log.run("drift", "--log", log.log, "--against", log.log, "--all", *ALONE),
    "explain": lambda log: log.run("model", "explain", "customer", "--log", log.log),
    "find": lambda log: log.run("log", "find", "person 1", "--domain", "customer", "--log", log.log),
    "events": lambda log: log.run("log", "find", "person 1", "--domain", "customer", "--log", log.log, "--events"),
    "state": lambda log: log.run("log"),
    "rows of a dataset": lambda log: log.run("drift", "--log", log.dataset),
    "lines of a dataset": lambda log: log.run("replay", log.dataset, "--out", f"{log.place}/out", *ALONE),
    "questions": lambda log: log.run("log", "query", "SELECT * FROM labelled", "--from", log.dataset, "--csv"),
    "questions as JSON": lambda log: log.run("log", "query", "SELECT * FROM events", "--from", log.dataset, "--json"),
}
"""Readers with other output."""


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_finishes(log: Spoilt, reader: str) -> None:
    """Every reader finishes its work without an exception."""
    code, said = READERS[reader](log)
    assert code in (0, 1)
    assert said


def test_all_of_an_assessment_is_shown(log: Spoilt) -> None:
    """Every valid assessment can be shown, with its later lines."""
    shown = list(dict.fromkeys(record.id for record in log.records if isinstance(record, AssessmentRecord)))[:9]
    assert {log.run("log", "show", each, "--log", log.log)[0] for each in shown} == {0}


def test_erasure_and_retention_remove_lines(log: Spoilt) -> None:
    """An erased subject's lines are removed, and so are lines beyond their retention."""
    archive = FileLogArchive(Path(log.log), 1.0, 1.0, lambda: 2e9)
    one = next(record for record in log.records if isinstance(record, AssessmentRecord))
    archive.forget([bytes.fromhex(one.subject)])
    assert archive.compact({}, Event()) is not None
    assert archive.find([bytes.fromhex(one.subject)], b"", 9) == ([], b"")
    archive.compact({"customer": -1.0, "workforce": -1.0, "machine": -1.0}, Event())
    assert [line for path in Path(log.log).glob("*.jsonl") for line in archive.lines(path)] == []


def accounts(log: Spoilt) -> str:
    """A file with the account whose line is spoilt."""
    (file := log.place / "accounts").write_text(f"{log.named}\n")
    return str(file)


PLACED: Final[dict[str, Callable[[Spoilt], tuple[str, ...]]]] = {
    "backtest": lambda log: ("policy", "backtest", POLICIES, "--log", log.log),
    "rules": lambda log: ("policy", "rules", "--log", log.log),
    "signals": lambda log: ("policy", "signals", "--log", log.log),
    "calibrate": lambda log: ("policy", "calibrate", "--log", log.log, "--presume-good", "--budget", "1%"),
    "drift": lambda log: ("drift", "--log", log.log),
    "explain": lambda log: ("model", "explain", "customer", "--log", log.log),
    "export": lambda log: ("log", "export", log.log, "--to", f"{log.place}/events"),
    "replay": lambda log: ("replay", log.log, "--out", f"{log.place}/out"),
    "replay by several": lambda log: ("replay", log.log, "--out", f"{log.place}/out", "--processes", "2"),
    "rebuild": lambda log: ("import", "decision-log", log.log, "--until", "2100-01-01T00:00Z"),
    "compact": lambda log: ("log", "compact", "--to", f"{log.place}/dataset"),
    "train": lambda log: ("train", "--domain", "customer", "--log", log.log, "--out", f"{log.place}/model"),
    "show": lambda log: ("log", "show", log.shown, "--log", log.log),
    "find": lambda log: ("log", "find", log.named, "--domain", "customer", "--log", log.log),
    "find many": lambda log: ("log", "find", "--file", accounts(log), "--domain", "customer", "--log", log.log),
}
"""Commands that read the lines of segments."""


@pytest.mark.parametrize("reader", PLACED)
def test_the_first_unreadable_lines_are_listed(tmp_path: Path, reader: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A reader lists the first ten unreadable lines with file, line number and error, even if some are equal, and says
    how many more there are."""
    log = spoil(tmp_path, 0, seed=1)
    sound = [line for line in log.lines if b'"domain":"customer"' in line and line.startswith(b'{"type":"assess')]
    bad = [line.replace(b'"time":1', b'"time":-1', 1) for line in (sound[0], *sound[:1] * 12)]
    write(tmp_path / "log" / PARTS[0], *sound, b"\0torn", *bad, *sound)
    log.run(*PLACED[reader](log))
    said = capsys.readouterr().err
    at = f"{tmp_path}/log/{PARTS[0]}"
    first = "".join(f"\n{at}:{len(sound) + 2 + row}: Expected `float` >= 0.0 - at `$.time`" for row in range(10))
    assert f"riskd: 13 unreadable lines:{first}\nand 3 more\n" in said
    assert said.count("unreadable line") == 1


if __name__ == "__main__":
    with TemporaryDirectory(dir="/dev/shm") as directory:
        several = (*COUNTS, *READERS)
        for at, name in enumerate(several):
            made = spoil(Path(directory) / str(at), int(sys.argv[1]), int(sys.argv[2]))
            if name in COUNTS:
                test_every_line_is_read_or_counted(made, name)
            if name in READERS:
                test_every_reader_finishes(made, name)
            sys.stdout.write(f"{name}: {len(made.lines):,} lines, of which {len(made.records):,} are records\n")
