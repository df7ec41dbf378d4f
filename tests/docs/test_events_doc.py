"""docs/events.md: every row of its table says what the code does, in the words of the contract."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from riskd.core import learn, signals
from riskd.core.attempt import EVENTS, Attempt, Network, Outside, SecurityEvent
from riskd.core.context import Memory, Remembered
from riskd.core.history import History, fold
from riskd.core.retention import USUAL
from riskd.server.identity.callers import ROLES

PAGE: Final = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
ROWS: Final = [re.split(r" ?\| ?", line)[1:-1] for line in PAGE.splitlines() if line.startswith("| `")]
NOW: Final = 1_800_000_000.0
LOGIN: Final = Attempt(domain="customer", subject="kim", journey="login", network=Network(client_ip="192.0.2.1"))


def event(words: str) -> SecurityEvent:
    """The security event that the first cell of a row describes."""
    kind = re.findall(r"`(\w+)`", words)[0]
    password = "of a password" in words
    return SecurityEvent(
        domain="customer",
        subject="kim",
        kind=kind,
        level="high" if kind == "risk_level_change" else "",
        credential_type=("password" if password else "x509") if kind.startswith("credential") else "",
        hijacked="`hijacked`" in words,
    )


def test_every_event_has_its_rows() -> None:
    """The table has every kind of event, in the order of the contract, with its name in the standard."""
    kinds = [re.findall(r"`(\w+)`", row[0])[0] for row in ROWS]
    assert tuple(dict.fromkeys(kinds)) == EVENTS
    for kind, row in zip(kinds, ROWS, strict=True):
        assert f"`{kind.replace('_', '-')}`" in row[1]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_says_what_the_event_does(row: list[str]) -> None:
    """An event leaves exactly the marks and changes exactly the facts about later attempts that its row names."""
    history = History()
    for delta in learn.event_deltas(event(row[0]), b"s" * 16, NOW):
        fold(history, delta)
    said = signals.with_events(LOGIN, Remembered(subject=Memory(activity=history)), NOW, USUAL.sequence).outside
    does = {kind for kind in history.marks if kind not in ("reported", "breached")}
    if said is not None:
        does |= {f"outside.{name}" for name in Outside.__struct_fields__ if getattr(said, name)}
    assert does == set(re.findall(r"`([\w.]+)`", row[2]))
    assert ("nothing" in row[2]) == (not does)
    assert bool(row[3]) == (said is not None)


def test_the_role_of_the_page_allows_only_events() -> None:
    """The role that the page names allows reporting events, and nothing else."""
    assert "`event_reporter`" in PAGE
    assert ROLES["event_reporter"] == ("RiskService/RecordSecurityEvent",)
