"""Every output format of `riskd features` lists all features."""

from __future__ import annotations

import json

import pytest

from riskd.cli.main import main
from riskd.core.features import GROUPS, NAMES


@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]])
def test_each_form_names_every_feature(form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Text, JSON and Markdown each list every feature."""
    assert main(["features", *form]) == 0

    printed = capsys.readouterr().out
    assert [name for name in NAMES if name not in printed] == []


def test_one_group_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--group` prints only the features of that group."""
    main(["features", "--json", "--group", GROUPS[0]])

    assert {each["group"] for each in json.loads(capsys.readouterr().out)["features"]} == {GROUPS[0]}
