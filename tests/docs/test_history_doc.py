"""`riskd history` lists everything that riskd keeps, by observation of real writes, and riskd keeps nothing without
need."""

from __future__ import annotations

import json

import pytest

from riskd.cli.main import main
from riskd.core.history import TABLES
from riskd.core.pseudonym import POPULARITY
from riskd.core.recall import KINDS
from riskd.offline.inventory import ATTEMPT, Kept, inventory
from tests.shipped import shipped_release

UNREAD = {
    ("subject", "recovery"),  # the start of a recovery: features ask when one was completed
    ("subject", "payment"),
    ("subject", "sign_in"),  # its share in a device: so that an erasure takes it out of the device's record
}
"""Records that no feature reads. Do not add to them: data that nobody needs must not be kept."""


@pytest.fixture(scope="module")
def observed() -> list[Kept]:
    return inventory(shipped_release())


def test_everything_that_can_be_kept_was_seen(observed: list[Kept]) -> None:
    """Every table, every kind of record and every value with a popularity was observed."""
    assert {content.name for one in observed for content in one.contents if content.form == "count"} == TABLES.keys()
    assert {one.kind for one in observed} == set(KINDS.values())
    assert {one.entity for one in observed if one.kind == "common"} == {*POPULARITY, "asn", "domain"}
    assert "unknown" not in {one.entity for one in observed}


def test_every_kept_record_changes_a_feature(observed: list[Kept]) -> None:
    """Every record that is observed changes some feature or count, except for the few in UNREAD."""
    unread = {
        (one.entity, content.name)
        for one in observed
        for content in one.contents
        if content.form != "document" and not one.readers[content]
    }
    assert unread == UNREAD


def test_fraud_undoes_what_was_taught(observed: list[Kept]) -> None:
    """Confirmed fraud undoes everything that a proven sign-in wrote, except for sketches of distinct values; an attempt
    alone teaches nothing."""
    for one in observed:
        if one.kind in {"profile", "common"}:
            for content, events in one.contents.items():
                assert "-confirmed_fraud" in events or content.form == "distinct"
                assert ATTEMPT not in events


@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]])
def test_each_form_names_every_table(form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Text, JSON and Markdown each list every table."""
    assert main(["history", *form]) == 0
    printed = capsys.readouterr().out
    assert [name for name in TABLES if name not in printed] == []


def test_json_has_seconds_and_lists(capsys: pytest.CaptureFixture[str]) -> None:
    """In JSON, lifetimes are numbers of seconds, and events are lists."""
    main(["history", "--json"])
    rows = json.loads(capsys.readouterr().out)["kept"]
    assert all(0 < row["seconds"][0] <= row["seconds"][1] for row in rows)
    assert all(row["changed_by"] for row in rows)
