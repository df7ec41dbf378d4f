"""What commands accept as arguments and on standard input."""

from __future__ import annotations

import io
from argparse import Namespace

import pytest

from riskd.cli.arguments import subject_of
from riskd.cli.main import build_parser, main
from riskd.core.errors import InvalidSubject
from tests.cli.parsers import parsers


def piped(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Make this the standard input, in a locale that knows only ASCII."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii", errors="strict"))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_an_identifier_on_standard_input_ends_with_its_line(end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """An identifier is the first line in UTF-8, however the line ends and whatever the locale."""
    piped(monkeypatch, "álex".encode() + end)
    assert subject_of(Namespace(subject="-", tenant="", domain="customer")) == "álex"


def test_an_identifier_that_is_not_utf_8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are not UTF-8 name no account, on standard input or in an argument."""
    piped(monkeypatch, b"alex\xff\n")
    for given in ("-", "alex\udcff", ""):
        with pytest.raises(InvalidSubject):
            subject_of(Namespace(subject=given, tenant="", domain="customer"))


@pytest.mark.parametrize(
    "words", [["subject", "show", "\udcff", "--domain", "customer"], ["release", "create", "--reason", "\udcff"]]
)
def test_an_argument_that_is_not_utf_8_is_refused(
    words: list[str], tmp_path: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any command answers bytes that are not UTF-8 with exit code 2 and a message."""
    monkeypatch.setenv("RISKD_STATE__DIR", str(tmp_path))
    assert main(words) == 2
    assert "UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["-1", "nan", "inf", "1e400", "soon", ""])
def test_a_number_that_cannot_be_used_is_refused_before_the_work(
    number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Durations and thresholds are finite and not negative, so that nothing begins in vain or passes wrongly."""
    for words in (
        ["pepper", "rotate", "--wait"],
        ["outcome", "0" * 32, "challenge_passed", "--seconds"],
        ["release", "activate", "0" * 16, "--timeout"],
        ["drift", "--threshold"],
        ["subject", "show", "alex", "--domain", "customer", "--timeout"],
    ):
        with pytest.raises(SystemExit, match="2"):
            main([*words[:-1], f"{words[-1]}={number}"])
        assert f"{number!r} is not a" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--buckets=257", "--buckets=0", "--processes=0", "--processes=-1"])
def test_a_count_out_of_bounds_is_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A count out of bounds is refused with the bounds, instead of being replaced by another."""
    with pytest.raises(SystemExit, match="2"):
        main(["log", "compact", flag])
    assert "is not a whole number" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_help_of_every_command_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptions and exit codes are wrapped to the terminal's width; only examples and lists may be wider."""
    monkeypatch.setenv("COLUMNS", str(columns))
    for name, parser in parsers(build_parser()):
        texts = [text for text in parser.format_help().split("\n\n") if "\n  " not in text and not text.startswith("#")]
        wide = [line for text in texts for line in text.splitlines() if len(line) > columns]
        assert [line for line in wide if not line.startswith(("usage: ", " "))] == [], name
        assert any("exit codes: " in text for text in texts) or not parser.get_default("handler"), name
