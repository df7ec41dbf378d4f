"""`riskd log find`: the decisions about one account, found by its name and the service's pepper."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Final

import pytest

from riskd.adapters.decision_log import FileLogArchive
from riskd.cli.main import main
from riskd.core.pseudonym import Pseudonyms
from riskd.core.record import Record
from tests.decision_log import SEGMENT, decision, outcome, security_event, write

NOON: Final = 1_795_780_800.0
PEPPERS: Final = (b"a pepper of sixteen bytes and more", b"another one, that came much later on")


class Files:
    """A log and a pepper file; `layers` of the pepper existed when the log was written."""

    def __init__(self, directory: Path) -> None:
        self.log, self.pepper = directory / "decisions", directory / "pepper"
        self.records: list[Record] = []
        self.numbers = 0

    def decide(self, time: float, who: str, *, tenant: str = "", domain: str = "customer", layers: int = 0) -> str:
        """Write a decision about an account under this pepper, and return its id."""
        self.numbers += 1
        pseudonyms = Pseudonyms(PEPPERS[0], PEPPERS[1 : 1 + layers])
        subject = pseudonyms.digest(tenant, domain, "subject", who).hex()
        made = f"{subject[:16]}{self.numbers:016x}"
        self.records.append(decision(0, time, id=made, subject=subject, tenant=tenant, domain=domain, tier="STEP_UP"))
        return made

    def tell(self, made: str, time: float, kind: str) -> None:
        """Write an outcome of the decision."""
        self.records.append(outcome(0, time, kind, assessment_id=made))

    def hear(self, time: float, who: str, kind: str, **fields: object) -> None:
        """Write a security event about an account."""
        subject = Pseudonyms(PEPPERS[0]).digest("", "customer", "subject", who).hex()
        self.records.append(security_event(0, time, kind, subject=subject, **fields))

    def find(self, capsys: pytest.CaptureFixture[str], *words: str, peppers: int = 1, code: int | None = 0) -> str:
        """The command's output. `code`: its exit code; None: any."""
        write(self.log / SEGMENT, *self.records)
        self.pepper.write_bytes(b"\n".join(PEPPERS[:peppers]) + b"\n")
        settings = ("--set", f"secrets.pepper_file={self.pepper}", "--log", str(self.log))
        assert main(["log", "find", *words, *settings]) in ((0, 1) if code is None else (code,))
        return capsys.readouterr().out

    def found(self, capsys: pytest.CaptureFixture[str], *words: str, peppers: int = 1) -> list[dict[str, Any]]:
        """The command's JSON."""
        told: list[dict[str, Any]] = json.loads(self.find(capsys, *words, "--json", peppers=peppers))
        return told


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """An empty log with a pepper."""
    return Files(tmp_path)


def test_the_decisions_about_an_account_and_of_no_other(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """Decisions are listed with their outcomes, the newest first, and none of another tenant, domain or name."""
    first = files.decide(NOON, "alex")
    files.decide(NOON + 1, "alexa")
    files.decide(NOON + 2, "alex", tenant="acme")
    files.decide(NOON + 3, "alex", domain="workforce")
    last = files.decide(NOON + 4, "alex")
    files.tell(first, NOON + 9, "challenge_passed")
    files.tell(first, NOON + 9, "challenge_passed")
    files.tell(first, NOON + 9, "session_established")
    found = files.found(capsys, "alex", "--domain", "customer")
    assert [each["id"] for each in found] == [last, first]
    assert [each["outcomes"] for each in found] == [[], ["challenge_passed", "session_established"]]
    assert len(files.found(capsys, "alex", "--domain", "customer", "--tenant", "acme")) == 1
    assert len(files.found(capsys, "alex", "--domain", "workforce")) == 1


def test_people_get_a_table_that_says_how_many_it_leaves_out(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has the latest decisions with their ids and the number of older ones, and never the account's name."""
    made = [files.decide(NOON + number, "alex") for number in range(5)]
    out = files.find(capsys, "alex", "--domain", "customer", "--last", "2")
    assert [each in out for each in made] == [False, False, False, True, True]
    assert "and 3 older" in out
    assert "alex" not in out


def test_an_account_is_found_under_every_name_that_it_had(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """After a pepper rotation, decisions under old and new pseudonyms are found."""
    before, after = files.decide(NOON, "alex"), files.decide(NOON + 1, "alex", layers=1)
    found = files.found(capsys, "alex", "--domain", "customer", peppers=2)
    assert [each["id"] for each in found] == [after, before]


def test_a_name_may_come_from_standard_input(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name can be read from stdin, so that it does not appear in process lists."""
    made = files.decide(NOON, "alex")
    monkeypatch.setattr("sys.stdin", io.StringIO("alex\n"))
    assert [each["id"] for each in files.found(capsys, "-", "--domain", "customer")] == [made]


def test_many_accounts_are_found_at_once(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line of a file of accounts gets a line, with what `--json` prints about that account, under every name that
    it had; also an account that comes twice, is unknown or erased. A byte order mark is no part of the first."""
    for number, who in enumerate(["alex", "kim", "zoë", "alex"]):
        files.tell(files.decide(NOON + number, who, layers=number % 2), NOON + 9, "challenge_passed")
    erased = files.decide(NOON + 9, "robin")
    files.hear(NOON + 10, "kim", "account_enabled")
    accounts = ["kim", "nobody", "alex", "zoë", "alex", "robin"]
    (file := tmp_path / "accounts").write_text("\r\n".join(accounts) + "\n", encoding="utf-8-sig")
    files.find(capsys, "alex", "--domain", "customer")
    FileLogArchive(files.log, 1.0, 1.0).forget([bytes.fromhex(erased)])
    for words in ([], ["--last", "1"], ["--events"]):
        many = files.find(capsys, "--file", str(file), "--domain", "customer", *words, peppers=2)
        alone = [
            json.loads(files.find(capsys, who, "--domain", "customer", "--json", *words, peppers=2, code=None))
            for who in accounts
        ]
        assert [json.loads(line) for line in many.splitlines()] == alone
        assert any(alone)
    file.write_text("nobody\n")
    assert files.find(capsys, "--file", str(file), "--domain", "customer", code=1) == "[]\n"


def test_a_file_of_accounts_is_refused_as_a_whole(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Invalid accounts are all named with their lines. An account beside a file, and neither, are refused."""
    monkeypatch.setattr("sys.stdin", io.StringIO("alex\n\n" + "x" * 257 + "\nkim"))
    assert main(["log", "find", "--file", "-", "--domain", "customer"]) == 2
    assert [line[:22] for line in capsys.readouterr().err.splitlines()] == [
        "riskd: line 2: subject",
        "riskd: line 3: subject",
    ]
    for words in (["alex", "--file", "-"], []):
        assert main(["log", "find", *words, "--domain", "customer"]) == 2
        assert "SUBJECT, --file: exactly one is needed (name an account, or a file)" in capsys.readouterr().err


def test_an_unknown_or_erased_account_is_not_found(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """For an unknown account, or one whose erasure was requested, the exit code is 1."""
    made = files.decide(NOON, "alex")
    assert "nothing about this account" in files.find(capsys, "kim", "--domain", "customer", code=1)
    FileLogArchive(files.log, 1.0, 1.0).forget([bytes.fromhex(made)])
    assert "nothing about this account" in files.find(capsys, "alex", "--domain", "customer", code=1)


def test_a_pepper_that_is_not_there_is_not_made(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """If the pepper does not exist, the command says so and creates none, because another pepper would find nothing."""
    made = files.decide(NOON, "alex")
    assert made in files.find(capsys, "alex", "--domain", "customer")
    state = files.pepper.with_name("state")
    settings = ("--set", f"state.dir={state}", "--set", "secrets.pepper_file=", "--log", str(files.log))
    assert main(["log", "find", "alex", "--domain", "customer", *settings]) == 2
    assert "pepper does not exist" in capsys.readouterr().err
    assert not state.exists()


def test_an_invalid_name_is_refused(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid name gives exit code 2."""
    files.decide(NOON, "alex")
    files.find(capsys, "", "--domain", "customer", code=2)
    files.find(capsys, "x" * 257, "--domain", "customer", code=2)


def test_security_events_are_listed_on_request(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """With `--events`, security events are listed, the newest first; without it, the table shows their number."""
    files.decide(NOON, "alex")
    files.hear(NOON + 1, "alex", "risk_level_change", level="high")
    files.hear(NOON + 2, "kim", "account_enabled")
    files.hear(NOON + 3, "alex", "account_disabled", hijacked=True, issuer="")
    found = files.found(capsys, "alex", "--domain", "customer", "--events")
    assert [(each["kind"], each["issuer"]) for each in found] == [
        ("account_disabled", ""),
        ("risk_level_change", "https://idp.example"),
    ]
    shown = files.find(capsys, "alex", "--domain", "customer", "--events", "--last", "1")
    assert "account_disabled" in shown
    assert "hijacked" in shown
    assert "the caller" in shown
    assert "https://idp.example" not in shown
    assert "and 1 older (--last)" in shown
    assert "and 2 security events (--events)" in files.find(capsys, "alex", "--domain", "customer")
    assert len(files.found(capsys, "alex", "--domain", "customer")) == 1
    assert "nothing about this account" in files.find(capsys, "mary", "--domain", "customer", "--events", code=1)
