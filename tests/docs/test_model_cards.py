"""The cards of the shipped models are what the models are."""

from __future__ import annotations

import re

import pytest

from riskd.adapters.model_file import read_card, read_forest
from riskd.cli.model.command import WEIGHTS, table, written
from riskd.core.attempt import DOMAINS
from riskd.core.features import NAMES
from tests.models.stories import SCORES, bundle, scores


@pytest.mark.parametrize("domain", DOMAINS)
def test_weights_are_those_of_the_forest(domain: str) -> None:
    """The table of weights is written from forest.json, never by hand."""
    card, path = read_card(bundle(domain)), bundle(domain)

    assert f"<!-- {WEIGHTS} -->" in card
    assert written(card, WEIGHTS, table(read_forest(path))) == card, "update it: riskd model seal models/*/*/"


@pytest.mark.parametrize("domain", DOMAINS)
def test_scores_are_those_of_the_model(domain: str) -> None:
    """The table of stories is written by the command that the card names."""
    card = read_card(bundle(domain))

    assert f"<!-- {SCORES} -->" in card
    assert written(card, SCORES, scores(domain)) == card, "update it: python -m tests.models.stories"


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_feature_is_weighed_or_named_with_the_reason_why_not(domain: str) -> None:
    """Nothing is left out in silence, and nothing is both."""
    section = read_card(bundle(domain)).partition("## Not weighed")[2].partition("\n## ")[0]
    left_out = re.findall(
        r"`(\w+)`", "".join(row.split("|")[1] for row in section.splitlines() if row.startswith("| `"))
    )

    assert sorted([*left_out, *read_forest(bundle(domain)).features()]) == sorted(NAMES)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_weight_has_a_source_or_says_judgement(domain: str) -> None:
    """Each note cites a source that the card lists, or admits to being judgement."""
    listed = set(re.findall(r"^- \*\*\[(.+?)\]\*\*", read_card(bundle(domain)), re.MULTILINE))
    cited = {steps.feature: set(re.findall(r"\[(.+?)\]", steps.note)) for steps in read_forest(bundle(domain)).steps}
    notes = {steps.feature: steps.note for steps in read_forest(bundle(domain)).steps}

    assert {name: tags - listed for name, tags in cited.items() if tags - listed} == {}
    assert [name for name, tags in cited.items() if not tags and "judgement" not in notes[name]] == []
