"""The reference page of errors is the table of errors."""

from __future__ import annotations

from pathlib import Path

from riskd.server.faults import page

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
COMMAND = "riskd errors --markdown > docs/errors.md"


def test_the_page_is_what_the_table_says() -> None:
    """docs/errors.md is written from the table, never by hand."""
    assert PAGE.read_text() == page(), f"write it anew: {COMMAND}"
