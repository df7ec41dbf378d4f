"""Every row of docs/reliability.md names an existing test, and every test of a fault has a row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
LENGTHY = re.compile(r"\n## Tried at length\n.*?(?=\n## )", re.DOTALL)
ROWS = [line for line in LENGTHY.sub("", PAGE).splitlines() if line.startswith("| ") and not line.startswith("| What ")]
UNTOLD = {
    "test_a_line_that_hangs_holds_up_its_own_thread_alone",  # the log's part of `test_a_log_on_a_disk_that_hangs`
    "test_a_clock_that_is_set_back_opens_the_next_segment",  # about file names only
    "test_stderr_stays_json_lines",  # holds for every client
    "test_a_damaged_store_is_set_aside_as_it_is",  # each damage of `test_a_store_that_is_damaged_at_startup`
}
"""Tests that only add detail to the row of another test."""


def laws(folder: str) -> set[str]:
    """The names of all tests below a folder."""
    return {
        node.name
        for path in (ROOT / folder).rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_row_names_a_test_that_exists() -> None:
    """Every row names exactly one test, in its last column, and that test exists."""
    assert len(ROWS) > 25
    named = [re.findall(r"`(test_\w+)` \|$", row) for row in ROWS]
    assert [row for row, names in zip(ROWS, named, strict=True) if len(names) != 1] == []
    assert {name for names in named for name in names} - laws("tests") == set()


def test_every_fault_that_is_tested_has_a_row() -> None:
    """Every test in tests/faults is on the page, except for those in UNTOLD."""
    assert {name for name in laws("tests/faults") if name not in PAGE} == UNTOLD
