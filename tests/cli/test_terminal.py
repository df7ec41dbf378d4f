"""Tables on terminals of any width remain readable."""

from __future__ import annotations

import re
from pathlib import Path
from resource import RLIMIT_FSIZE, getrlimit, setrlimit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.cli.terminal import aligned, broken, fitted, plain, print_table, save
from riskd.core.errors import InvalidSettings

WORDS = st.text("ab_%1 ", max_size=24)
TABLES = st.integers(1, 6).flatmap(
    lambda wide: st.lists(st.lists(WORDS, min_size=2, max_size=4), min_size=wide, max_size=wide)
)
HEAD = ("rule", "tier", "friction on good", "assessments")
ROWS = [
    ("breached_on_unknown_device", "PHISHING_RESISTANT", "9.09 -> 29.2 %", "1,234"),
    ("tor", "STEP_UP", "-", "7"),
]


@given(TABLES, st.integers(1, 120))
def test_columns_fit_the_terminal_and_their_longest_word(columns: list[list[str]], room: int) -> None:
    """Columns fit the terminal and their longest word, or there is no table; with enough room each has its natural
    width."""
    found = fitted(columns, room)
    if found is None:
        least = [max([1, *(len(line) for cell in each for line in broken(cell, 1).split("\n"))]) for each in columns]
        assert sum(least) + len(columns) - 1 > room
        return
    gap, widths = found
    assert sum(widths) + gap * (len(widths) - 1) <= room
    for column, width in zip(columns, widths, strict=True):
        assert all(len(line) <= width for cell in column for line in broken(cell, width).split("\n"))
    natural = [max(1, *map(len, column)) for column in columns]
    assert fitted(columns, sum(natural) + 2 * len(natural)) == (2, natural)


@given(WORDS, st.integers(1, 30))
def test_a_broken_cell_loses_nothing_but_space(cell: str, width: int) -> None:
    """Wrapping a cell keeps every character except white space."""
    assert re.sub(r"\s", "", broken(cell, width)) == re.sub(r"\s", "", cell)


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int) -> list[str]:
    """The lines of `ROWS` on a terminal of this width."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table(HEAD, ROWS, "rules")
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()


@pytest.mark.parametrize("columns", [160, 80, 60, 40, 30])
def test_every_cell_can_be_read_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    """No cell is cut with an ellipsis, no word is split, and lines fit the terminal unless a single word is wider."""
    lines = printed(monkeypatch, capsys, columns)
    text = "\n".join(lines)
    assert "…" not in text
    for word in ("tier", "assessments", "breached_", "device", "STEP_UP", "29.2 %", "1,234"):
        assert word in text
    assert max(map(len, lines)) <= max(columns, len("  friction on good  PHISHING_RESISTANT"))


def test_figures_stand_below_each_other(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures are right-aligned and words left-aligned."""
    _, head, first, second = printed(monkeypatch, capsys, 160)
    assert len(head) == len(first) == len(second)
    assert first.index("PHISHING") == second.index("STEP_UP") == head.index("tier")


def test_a_terminal_too_narrow_has_a_cell_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a narrow terminal each cell has its own line, below the name of its row."""
    assert printed(monkeypatch, capsys, 30)[:4] == [
        "rules",
        "rule breached_on_unknown_device",
        "  tier              PHISHING_RESISTANT",
        "  friction on good  9.09 -> 29.2 %",
    ]


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no colour in a pipe or with NO_COLOR."""
    print_table(("check", "passed"), [("a", "ok"), ("b", "NO")])
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    print_table(("check", "passed"), [("a", "ok"), ("b", "NO")])
    assert not re.search(r"\x1b\[[0-9;]*3\d", capsys.readouterr().out)


@given(st.text())
def test_a_text_from_outside_is_one_line_that_does_nothing_to_a_terminal(text: str) -> None:
    """Text from outside is escaped to one printable line; printable text is unchanged."""
    assert plain(text).isprintable()
    assert plain(text) == text or not text.isprintable()
    assert aligned([("name", text)]).isprintable()


@pytest.mark.parametrize("columns", [160, 20])
def test_a_cell_from_outside_does_nothing_to_a_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Control characters in a cell are escaped, and a line break cannot forge a row."""
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table(("name", "told"), [("agent", "\x1b[2J\x9b31mred\u202e\nname DENY")])
    told = capsys.readouterr().out
    assert told.replace("\n", "").isprintable()
    assert not any(line.startswith("name DENY") for line in told.splitlines())


def test_a_file_that_cannot_be_written_in_full_is_left_as_it_was(tmp_path: Path) -> None:
    """A command that runs out of space leaves the old file, or none, and says which file could not be written."""
    old, new = tmp_path / "old.html", tmp_path / "new.html"
    save(old, "old")
    limits = getrlimit(RLIMIT_FSIZE)
    setrlimit(RLIMIT_FSIZE, (1000, limits[1]))
    try:
        for file in (old, new):
            with pytest.raises(InvalidSettings, match="cannot be written: File too large") as refused:
                save(file, "x" * 5000)
            assert refused.value.problems[0].where == str(file)
    finally:
        setrlimit(RLIMIT_FSIZE, limits)
    assert [*tmp_path.iterdir()] == [old]
    assert old.read_text() == "old"
