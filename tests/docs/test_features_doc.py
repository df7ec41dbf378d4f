"""The reference page of features is the table of features."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from riskd.cli.features import page
from riskd.cli.main import main
from riskd.core.features import GROUPS, NAMES

PAGE = Path(__file__).parents[2] / "docs" / "features.md"


def test_the_page_is_what_the_table_says() -> None:
    """docs/features.md is written from the table, never by hand."""
    assert PAGE.read_text() == page(), "write it anew: riskd features --markdown > docs/features.md"


@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]])
def test_each_form_names_every_feature(form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the form, no feature is left out."""
    assert main(["features", *form]) == 0

    printed = capsys.readouterr().out
    assert [name for name in NAMES if name not in printed] == []


def test_one_group_can_be_had(capsys: pytest.CaptureFixture[str]) -> None:
    """`--group` prints that group alone."""
    main(["features", "--json", "--group", GROUPS[0]])

    assert {each["group"] for each in json.loads(capsys.readouterr().out)["features"]} == {GROUPS[0]}
