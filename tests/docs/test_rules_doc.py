"""docs/rules.md and the table of variables that it is generated from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from riskd.adapters.cel_rules import CelCompiler
from riskd.cli.main import main
from riskd.core.context import SOURCES
from riskd.core.counters import COUNTS
from riskd.core.features import NAMES
from riskd.core.lists import KINDS
from riskd.core.requirement import Tier
from riskd.core.rules import VARIABLES, Rule
from tests.adapters.sections import write

ROOT: Final = Path(__file__).parents[2]
TYPED: Final = {"double": " > 1.0", "int": " > 1", "bool": "", "string": " == ''", "list(string)": " == ['']",
                "map(string, string)": " == {'': ''}"}  # fmt: skip

COUNTER: Final = """
  - {name: it, when: counted.payee.attempts_1h > 9.0, then: DENY, reason: IT, text: It., journeys: all}
counters: [payee]
"""


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["policy", "variables", *arguments]) == 0
    return capsys.readouterr().out


def test_the_page_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """`docs/rules.md` is what `riskd policy variables --markdown` prints now."""
    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == printed(capsys, "--markdown")


@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]])
def test_each_form_names_everything(form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Text, JSON and Markdown each list every feature, variable, source, count and kind of list."""
    text = printed(capsys, *form)
    assert [name for name in (*NAMES, *VARIABLES, *SOURCES, *COUNTS, *KINDS) if name not in text] == []


def test_every_variable_is_of_the_type_that_the_page_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The rule compiler accepts each variable, including a policy's lists and counters, as the type that the page
    gives."""
    file = write(tmp_path)
    file.write_text(file.read_text() + COUNTER)
    rows = json.loads(printed(capsys, "--json", str(file)))
    counts = {row["name"] for row in rows if row["group"] == "counters"}
    assert counts == {f"counted.payee.{count}" for count in COUNTS}
    assert {row["name"] for row in rows if row["group"] == "lists"} == {
        "lists.office", "lists.markets", "lists.carriers", "lists.stolen"
    }  # fmt: skip
    rules = [
        Rule(name=f"r{at}", when=row["name"] + TYPED[row["type"]], tier=Tier.DENY, reason="R", text="T", journeys=())
        for at, row in enumerate(rows)
    ]
    compiled = CelCompiler(NAMES)(rules, ("office", "markets", "carriers", "stolen"), ("payee",))
    assert not isinstance(compiled, list), compiled
