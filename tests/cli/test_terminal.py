"""Tables on a terminal, however narrow: whatever they hold can be read."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.cli.terminal import aligned, broken, fitted, plain, print_table

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
    """Both, or there is no table; and none is narrower than it is when there is room."""
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
    """Every letter is there, in its order."""
    assert re.sub(r"\s", "", broken(cell, width)) == re.sub(r"\s", "", cell)


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int) -> list[str]:
    """The lines of `ROWS` on a terminal so wide."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table(HEAD, ROWS, "rules")
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()


@pytest.mark.parametrize("columns", [160, 80, 60, 40, 30])
def test_every_cell_can_be_read_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    """No cell ends in an ellipsis, no word is torn, and no line is wider than the terminal while it is no narrower
    than what is told.
    """
    lines = printed(monkeypatch, capsys, columns)
    text = "\n".join(lines)
    assert "…" not in text
    for word in ("tier", "assessments", "breached_", "device", "STEP_UP", "29.2 %", "1,234"):
        assert word in text
    assert max(map(len, lines)) <= max(columns, len("  friction on good  PHISHING_RESISTANT"))


def test_figures_stand_below_each_other(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """They end in one column, words begin in one."""
    _, head, first, second = printed(monkeypatch, capsys, 160)
    assert len(head) == len(first) == len(second)
    assert first.index("PHISHING") == second.index("STEP_UP") == head.index("tier")


def test_a_terminal_too_narrow_has_a_cell_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the name of its column, below the name of its row."""
    assert printed(monkeypatch, capsys, 30)[:4] == [
        "rules",
        "rule breached_on_unknown_device",
        "  tier              PHISHING_RESISTANT",
        "  friction on good  9.09 -> 29.2 %",
    ]


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither in a pipe nor with NO_COLOR: what colour says is in words, too."""
    print_table(("check", "passed"), [("a", "ok"), ("b", "NO")])
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    print_table(("check", "passed"), [("a", "ok"), ("b", "NO")])
    assert not re.search(r"\x1b\[[0-9;]*3\d", capsys.readouterr().out)


@given(st.text())
def test_a_text_from_outside_is_one_line_that_does_nothing_to_a_terminal(text: str) -> None:
    """Whatever it holds; and what can be printed is as it was."""
    assert plain(text).isprintable()
    assert plain(text) == text or not text.isprintable()
    assert aligned([("name", text)]).isprintable()


@pytest.mark.parametrize("columns", [160, 20])
def test_a_cell_from_outside_does_nothing_to_a_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However wide it is; of several lines none passes for another row."""
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table(("name", "told"), [("agent", "\x1b[2J\x9b31mred\u202e\nname DENY")])
    told = capsys.readouterr().out
    assert told.replace("\n", "").isprintable()
    assert not any(line.startswith("name DENY") for line in told.splitlines())
