"""Counts in messages agree with their nouns, and times are in UTC."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

import riskd
from riskd.wording import date, quantity, second, when

CODE: Final = Path(riskd.__file__).parent
NOUNS: Final = "decision outcome row record line segment erasure assessment attempt release"


@pytest.mark.parametrize(
    ("said", "count"),
    [
        (quantity(0, "decision"), "0 decisions"),
        (quantity(1, "decision"), "1 decision"),
        (quantity(12_000, "decision"), "12,000 decisions"),
        (quantity(1, "leaf", "leaves"), "1 leaf"),
        (quantity(2, "leaf", "leaves"), "2 leaves"),
    ],
)
def test_one_is_one(said: str, count: str) -> None:
    """`quantity` uses the singular for one, the plural otherwise, and commas for thousands."""
    assert said == count


PLACES: Final = sorted(path for part in ("cli", "offline/policies") for path in (CODE / part).rglob("*.py"))


@pytest.mark.parametrize("path", PLACES, ids=lambda path: str(path.relative_to(CODE)))
def test_commands_count_by_one_way(path: Path) -> None:
    """The command line prints counts with `quantity` only."""
    words = "|".join(f"{noun}s" for noun in NOUNS.split())
    plural = re.compile(rf"\{{(?!quantity)[^{{}}\"]+\}} (?:[a-z]+ )?(?:{words})\b(?!/s)")
    assert [line for line in path.read_text(encoding="utf-8").splitlines() if plural.search(line)] == []


def test_times_are_in_utc_to_the_day_the_minute_or_the_second() -> None:
    """They are cut, not rounded."""
    moment = 1_795_701_909.9
    assert date(moment) == "2026-11-26"
    assert when(moment) == "2026-11-26 14:05Z"
    assert second(moment) == "2026-11-26T14:05:09Z"
