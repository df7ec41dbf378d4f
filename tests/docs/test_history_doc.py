"""The page of what is kept was seen, not written: it has everything that there is, and a reason for each."""

from __future__ import annotations

import json

import pytest

from riskd.cli.main import main
from riskd.config import Settings
from riskd.core.history import TABLES
from riskd.core.pseudonym import POPULARITY
from riskd.core.recall import KINDS
from riskd.offline.kept import ATTEMPT, Kept, observe
from riskd.wiring import load_release

UNREAD = {
    ("subject", "recovery"),  # the step itself: what is asked is when it was completed
    ("subject", "payment"),
    ("subject", "sign_in"),  # its share in a device: so that an erasure takes it out of the device's record
}
"""What no feature reads. Nothing may come to it: data that nobody needs is not to be kept."""


@pytest.fixture(scope="module")
def kept() -> list[Kept]:
    return observe(load_release(Settings()))


def test_everything_that_can_be_kept_was_seen(kept: list[Kept]) -> None:
    """Every table, every kind of record and every value with a popularity of its own."""
    assert {content.name for one in kept for content in one.contents if content.form == "count"} == TABLES.keys()
    assert {one.kind for one in kept} == set(KINDS.values())
    assert {one.entity for one in kept if one.kind == "common"} == {*POPULARITY, "asn", "domain"}
    assert "unknown" not in {one.entity for one in kept}


def test_what_is_kept_is_needed(kept: list[Kept]) -> None:
    """A feature comes out differently without it, or it is one of few that are known."""
    unread = {
        (one.entity, content.name)
        for one in kept
        for content in one.contents
        if content.form != "document" and not one.readers[content]
    }
    assert unread == UNREAD


def test_what_was_taught_can_be_taken_back(kept: list[Kept]) -> None:
    """Whatever a proof writes, fraud takes back, but for who was seen; an attempt by itself teaches nothing."""
    for one in kept:
        if one.kind in {"profile", "common"}:
            for content, events in one.contents.items():
                assert "-confirmed_fraud" in events or content.form == "distinct"
                assert ATTEMPT not in events


@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]])
def test_each_form_names_every_table(form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the form, nothing is left out."""
    assert main(["history", *form]) == 0
    printed = capsys.readouterr().out
    assert [name for name in TABLES if name not in printed] == []


def test_programs_get_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON, lives are numbers and events are lists."""
    main(["history", "--json"])
    rows = json.loads(capsys.readouterr().out)["kept"]
    assert all(0 < row["seconds"][0] <= row["seconds"][1] for row in rows)
    assert all(row["changed_by"] for row in rows)
