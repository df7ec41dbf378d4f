"""`riskd policy signals`, on a log written by a real engine with the shipped policies and models."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from riskd.cli.main import main
from riskd.core.attempt import DOMAINS, Attempt
from riskd.core.record import AssessmentRecord
from riskd.offline.policies.worth import SETS
from tests.decision_log import write
from tests.doubles import ListLog
from tests.offline.town import Town

PARTS: Final = ("20260101T000000.000000-w0-1.jsonl", "20260102T000000.000000-w0-2.jsonl.gz")


class Written(Town):
    """A log in two segments, without outside signals."""

    def signalled(self, one: Attempt) -> Attempt:
        """Attempts without outside signals."""
        return replace(super().signalled(one), outside=None)


@pytest.fixture(scope="module")
def records() -> list[Any]:
    """The records of a town's assessments."""
    log = ListLog()
    Written(log, seed=6).live(240)
    return log.records()


@pytest.fixture(scope="module")
def log(records: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log as files."""
    directory = tmp_path_factory.mktemp("decisions")
    half = len(records) // 2
    for name, part in zip(PARTS, (records[:half], records[half:]), strict=True):
        write(directory / name, *part)
    return directory


def told(capsys: pytest.CaptureFixture[str], log: Path, *words: str) -> list[dict[str, Any]]:
    """The command's JSON."""
    assert main(["policy", "signals", "--log", str(log), *words, "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_the_counts_agree_with_the_log(log: Path, records: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """With the models and policies that decided, each row has all decisions, the actual number of challenges (none
    with a wrong credential), and how often the signal came."""
    found = told(capsys, log)
    assert [each["domain"] for each in found] == list(DOMAINS)
    for each in found:
        ours = [one for one in records if isinstance(one, AssessmentRecord) and one.domain == each["domain"]]
        wrong = sum(one.credential_result == "failed" for one in ours)
        asked = sum(one.tier != "BASELINE" and not one.satisfied and one.credential_result != "failed" for one in ours)
        lacked = Counter(gap.source for one in ours for gap in one.facts.missing)
        assert (each["decisions"], each["wrong_credential"]) == (len(ours), wrong)
        assert wrong > 0
        assert [row["signal"] for row in each["signals"]] == list(SETS)
        for row in each["signals"]:
            assert row["with_it"]["challenged"] == asked
            if len(SETS[row["signal"]]) == 1:
                assert row["came"] == len(ours) - lacked[row["signal"]]
            assert row["moved"] <= row["came"]
        assert any(row["moved"] for row in each["signals"])


def test_a_signal_that_never_came_changes_nothing(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A signal that never came changes no tier."""
    for each in told(capsys, log):
        (row,) = [row for row in each["signals"] if row["signal"] == "outside"]
        assert (row["came"], row["moved"], row["stricter"], row["laxer"]) == (0, 0, 0, 0)
        assert row["with_it"] == row["without_it"]


def test_processes_change_nothing(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The result is the same with one process and with two."""
    assert told(capsys, log, "--processes", "2") == told(capsys, log, "--processes", "1")


def test_people_get_a_table_of_each_domain(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The text has a table per domain, with a row per signal and the model used."""
    assert main(["policy", "signals", "--log", str(log), "--domain", "customer"]) == 0
    out = capsys.readouterr().out
    assert "customer, by model hand-set-4" in out
    assert [name for name in SETS if f"\n{name} " not in out] == []
    assert "workforce" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--models", "{tmp}"], "champion"), (["--since", "2099-01-01"], "no decision to replay")],
)
def test_impossible_weighings_are_refused(
    words: list[str], said: str, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Impossible requests give exit code 2 with the reason."""
    filled = [word.format(tmp=tmp_path) for word in words]
    assert main(["policy", "signals", "--log", str(log), *filled]) == 2
    assert said in capsys.readouterr().err
