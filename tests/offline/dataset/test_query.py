"""SQL queries: the examples of the help work, labels follow the rule, and nothing else can be read or changed."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from riskd.cli import extras
from riskd.cli.log.query import EXAMPLES, SHOWN
from riskd.cli.main import main
from riskd.core import record
from riskd.core.record import AssessmentRecord, SecurityEventRecord
from riskd.offline.dataset import query as dataset_query
from riskd.offline.dataset.reading import Wanted, read_rows
from riskd.offline.dataset.target import Target
from tests.decision_log import SEGMENT, decision, outcome, types, write
from tests.doubles import ListLog
from tests.offline.town import COUNTING, lived


class Asked:
    """The commands on a dataset made by `riskd log compact`."""

    def __init__(self, directory: Path, *lines: record.Record) -> None:
        """`lines`: the log; if there are none, it is that of a town."""
        self.log, self.place = directory / "log", directory / "set"
        log = ListLog()
        if not lines:
            lived(log, 100, seed=4, gossip=0.3, release=COUNTING)
        self.lines = [*map(record.encode, lines), *log.lines]
        write(self.log / SEGMENT, *self.lines)
        self.settings = ["--set", f"state.dir={directory}", "--set", f"log.dir={self.log}"]

    def compact(self, *more: str) -> int:
        return main(["log", "compact", "--to", str(self.place), *self.settings, *more])

    def query(self, sql: str, *more: str) -> int:
        return main(["log", "query", sql, "--from", str(self.place), *self.settings, *more])


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    made = Asked(tmp_path_factory.mktemp("asked"))
    assert made.compact() == 0
    return made


def said(capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401 - JSON
    return json.loads(capsys.readouterr().out)


def test_compaction_reports_its_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`compact` reports its counts as JSON and text; a second run adds nothing, and the setting can replace the
    flag."""
    made = Asked(tmp_path)
    assert made.compact("--json", "--buckets", "3") == 0
    first = said(capsys)["dataset"]
    assert first["counts"] == {f"{kind}s": count for kind, count in types(made.lines).items()}
    assert main(["log", "compact", *made.settings, "--set", f"log.dataset={made.place}"]) == 0
    assert "added nothing from 0 segments" in capsys.readouterr().out.replace("\n", " ")
    assert json.loads((made.place / "manifest.json").read_text())["buckets"] == 3


@pytest.mark.parametrize("question", EXAMPLES)
def test_the_questions_of_the_help_are_answered(
    asked: Asked, question: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each example query returns rows as table, JSON and CSV."""
    assert asked.query(EXAMPLES[question]) == 0
    assert capsys.readouterr().out.splitlines()[1:], "a head, and rows"
    assert asked.query(EXAMPLES[question], "--json") == 0
    rows = said(capsys)
    assert rows
    assert asked.query(EXAMPLES[question], "--csv") == 0
    printed = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [list(row) for row in printed] == [list(row) for row in rows]


def test_who_is_challenged_is_who_is_asked_for_more_than_the_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In SQL, no attempt is challenged whose credential was wrong, or of which only the password is still to come, as
    in a backtest. The example about owners counts the others."""
    now, both = time.time(), ("succeeded", "not_checked")
    answers = [*(("BASELINE", result) for result in both), *(("STEP_UP", result) for result in (*both, "failed"))]
    log: list[record.Record] = [
        decision(number, now, tier=tier, credential_result=result, satisfied=number == 0)
        for number, (tier, result) in enumerate(answers)
    ]
    log += [outcome(number, now, "confirmed_legitimate") for number in range(len(answers))]
    asked = Asked(tmp_path, *log)
    assert asked.compact() == 0
    capsys.readouterr()
    assert asked.query(EXAMPLES["Which owners do we challenge most, and why?"], "--json") == 0
    assert [(row["good"], row["challenges"]) for row in said(capsys)] == [(4, 2)]
    assert asked.query("SELECT count(*) AS n FROM assessments WHERE challenged", "--json") == 0
    assert said(capsys) == [{"n": 2}]


def test_frauds_that_only_had_the_password_to_enter_were_not_challenged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example about rings counts frauds that were challenged as a backtest does."""
    now = time.time()
    answers = [("BASELINE", "not_checked"), ("STEP_UP", "succeeded"), ("STEP_UP", "failed"), ("DENY", "succeeded")]
    log: list[record.Record] = [
        decision(number, now, tier=tier, credential_result=result, satisfied=False, subject=f"{number:032x}")
        for number, (tier, result) in enumerate(answers)
    ]
    log += [outcome(number, now, "confirmed_fraud") for number in range(len(answers))]
    asked = Asked(tmp_path, *log)
    assert asked.compact() == 0
    capsys.readouterr()
    assert asked.query(EXAMPLES["What do frauds of several accounts share, and were they challenged?"], "--json") == 0
    assert [(row["accounts"], row["attempts"], row["challenges"]) for row in said(capsys)] == [(4, 4, 2)]


def test_what_accounts_share_has_columns(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    """Device, fingerprint and address are the pseudonyms of the line, and null where the attempt had none."""
    assert asked.query("SELECT id, device, fingerprint, address FROM labelled", "--json") == 0
    found = {row.pop("id"): row for row in said(capsys)}
    lines = [each for line in asked.lines if isinstance(each := record.decode(line), AssessmentRecord)]
    names = ("device", "fingerprint", "address")
    assert found == {each.id: {name: each.facts.values.get(name) for name in names} for each in lines}
    assert len({row["address"] for row in found.values()} - {None}) > 1


def test_labels_in_sql_are_those_of_rows(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    """The view `labelled` gives the same labels as reading rows, now and as of an earlier time."""
    times = sorted(record.decode(line).time for line in asked.lines)
    for as_of in ("", times[len(times) // 2]):
        more = ["--as-of", _date(as_of)] if as_of else []
        sql = "SELECT id, label, known FROM labelled WHERE domain = 'customer' ORDER BY time, id"
        assert asked.query(sql, "--json", *more) == 0
        wanted = Wanted(domain="customer", as_of=_moment(_date(as_of))) if as_of else Wanted(domain="customer")
        rows = read_rows(Target.open(str(asked.place)), wanted)
        words = {-1: "unknown", 0: "good", 1: "fraud"}
        assert [(row["id"], row["label"]) for row in said(capsys)] == [
            (one, words[label]) for one, label in zip(rows.ids.tolist(), rows.labels.tolist(), strict=True)
        ]


def _date(moment: Any) -> str:  # noqa: ANN401
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def _moment(date: str) -> float:
    from riskd.cli.arguments import moment

    return moment(date)


def test_a_query_shows_values_unchanged(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    """Values are unchanged, including lists and nulls, and `--json` prints nothing else."""
    one = record.decode(asked.lines[0])
    assert isinstance(one, AssessmentRecord)
    sql = f"SELECT score, reasons, country, id AS a, id AS b FROM assessments WHERE id = '{one.id}'"
    assert asked.query(sql, "--json") == 0
    country = one.facts.place.country if one.facts.place else None
    assert said(capsys) == [
        {"score": one.score, "reasons": list(one.reasons), "country": country, "a": one.id, "b": one.id}
    ]
    assert asked.query("SELECT id FROM assessments WHERE false", "--json") == 0
    assert said(capsys) == []


def test_numbers_are_numbers_in_json(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    """Sums and decimals are numbers in JSON; NaN and infinity, as of a division by zero, are null: it has no words for
    them. Times are ISO 8601."""
    sql = "SELECT 1 / 0.0 AS a, [0 / 0.0, 1] AS b, {'c': -1 / 0.0} AS d, 1.5 AS e, sum(3) AS f, make_timestamp(0) AS g"
    assert asked.query(sql, "--json") == 0
    expected = {"a": None, "b": [None, 1.0], "d": {"c": None}, "e": 1.5, "f": 3, "g": "1970-01-01T00:00:00"}
    assert said(capsys) == [expected]


def test_rows_that_are_not_shown_are_only_counted(
    asked: Asked, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """People see the first rows, and how many others there are; those are not converted."""
    converted: list[int] = []
    rows_of = dataset_query.rows_of

    def noted(batch: pa.RecordBatch) -> Iterator[tuple[object, ...]]:
        converted.append(batch.num_rows)
        return rows_of(batch)

    monkeypatch.setattr(dataset_query, "rows_of", noted)
    assert asked.query("SELECT i FROM range(2500) AS t(i)") == 0
    assert sum(converted) == SHOWN
    assert "and 2,300 rows more" in capsys.readouterr().out


def test_counts_can_be_queried(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    """What counters counted is a column by the names that conditions use; unknown counts are null."""
    lines = [line for line in map(record.decode, asked.lines) if isinstance(line, AssessmentRecord)]
    sql = "SELECT counted, counted['plan.subjects_24h'] AS accounts FROM assessments ORDER BY written, row"
    assert asked.query(sql, "--json") == 0
    rows = said(capsys)
    counted = [dict(line.facts.counted) for line in lines]
    assert [row["counted"] for row in rows] == counted
    assert [row["accounts"] for row in rows] == [each.get("plan.subjects_24h") for each in counted]
    assert 0 < sum(map(bool, counted)) < len(counted)


def test_security_events_can_be_queried(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    """Security events can be queried, and join with assessments by the same pseudonym."""
    told = [one for one in map(record.decode, asked.lines) if isinstance(one, SecurityEventRecord)]
    names = SecurityEventRecord.__struct_fields__
    shown = [name for name in names if name not in ("keyed", "caller", "written")]
    sql = f"SELECT {', '.join(shown)} FROM events ORDER BY row"
    assert asked.query(sql, "--json") == 0
    assert said(capsys) == [{name: getattr(one, name) for name in shown} for one in told]
    sql = "SELECT count(DISTINCT subject) AS n FROM events WHERE subject IN (SELECT subject FROM assessments)"
    assert asked.query(sql, "--json") == 0
    assert said(capsys)[0]["n"] > 1


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW labelled",
        "CREATE TABLE mine AS SELECT 1",
        "SELECT 1; SELECT 2",
        "",
        "COPY (SELECT 1) TO '/tmp/riskd-copied'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('https://example.com/x.parquet')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM '/etc/passwd'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "ATTACH '/tmp/riskd-attached.db'",
        "SET memory_limit = '100GB'",
        "SELECT nothing_of_that_name FROM assessments",
    ],
)
def test_nothing_else_can_be_read_or_changed(asked: Asked, sql: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Files, network, extensions and settings cannot be accessed from SQL."""
    assert asked.query(sql) == 2
    told = capsys.readouterr().err
    assert told.startswith("riskd: SQL")
    assert not Path("/tmp/riskd-copied").exists()


def test_memory_is_bounded(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    """A query that needs more than `--memory-mb` is refused."""
    sql = "SELECT list(a.id || b.id || c.id) FROM assessments a, assessments b, assessments c"
    assert asked.query(sql, "--memory-mb", "64") == 2
    assert "memory" in capsys.readouterr().err.lower()


def test_a_missing_package_names_the_extra(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without duckdb or pyarrow, the message says what to install."""
    for package in ("duckdb", "pyarrow"):
        monkeypatch.setattr(extras, "find_spec", lambda name, gone=package: None if name == gone else find_spec(name))
        assert asked.query("SELECT 1") == 2
        assert f"{package}: is not installed" in (told := capsys.readouterr().err)
        assert "pip install '.[train]'" in told


def test_a_question_may_come_from_standard_input(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`-` reads the query from stdin."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT count(*) AS n FROM assessments"))
    assert asked.query("-", "--json") == 0
    assert said(capsys) == [{"n": 100}]


def test_wide_rows_are_printed_column_by_column(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    """A row with too many columns for the terminal is printed one column per line."""
    assert asked.query("SELECT * FROM assessments LIMIT 2") == 0
    told = capsys.readouterr().out.splitlines()
    assert len([line for line in told if line.split()[:1] == ["journey"]]) == 2


def test_a_table_cuts_nothing_and_puts_figures_below_each_other(
    asked: Asked, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures are right-aligned, a time has seconds, and one at midnight is printed as a date. A file or a pipe, whose
    width is not that of a terminal, gets rows on one line."""
    monkeypatch.setenv("COLUMNS", "50")
    sql = "SELECT 'PHISHING_RESISTANT_AND_MORE' AS tier, 7 AS n, TIMESTAMP '2026-06-01' AS day, 12345 AS cases"
    more = "SELECT 'DENY', 1000, TIMESTAMP '2026-06-01 09:30:05.25', 1"
    assert asked.query(f"{sql} UNION ALL {more} UNION ALL SELECT NULL, NULL, NULL, NULL") == 0
    first, second = capsys.readouterr().out.splitlines()[1:3]
    assert first.endswith("MORE     7           2026-06-01  12345")
    assert second.endswith("  1000  2026-06-01 09:30:05      1")


def test_a_result_without_rows_is_stated(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    """A result without rows prints `no rows`."""
    assert asked.query("SELECT * FROM assessments WHERE false") == 0
    assert capsys.readouterr().out == "no rows\n"


def test_no_dataset_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a dataset, the message names the command that makes one."""
    assert main(["log", "query", "SELECT 1", "--set", f"state.dir={tmp_path}"]) == 2
    assert "riskd log compact --to" in capsys.readouterr().err


def test_an_interrupt_ends_a_long_query(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends a query that would take minutes, quietly, with exit code 130 and no temporary files left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def interrupt() -> None:
        while not any(tmp_path.iterdir()):
            time.sleep(0.01)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert asked.query("SELECT count(*) FROM range(100000000000) numbers WHERE numbers.range % 7 = 3") == 130
    thread.join()
    assert capsys.readouterr() == ("", "")
    assert [*tmp_path.iterdir()] == []
