"""The cards of the shipped models agree with the models."""

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
    """The card's table of weights is generated from forest.json."""
    card, path = read_card(bundle(domain)), bundle(domain)

    assert f"<!-- {WEIGHTS} -->" in card
    assert written(card, WEIGHTS, table(read_forest(path))) == card, "update it: riskd model seal models/*/*/"


@pytest.mark.parametrize("domain", DOMAINS)
def test_scores_are_those_of_the_model(domain: str) -> None:
    """The card's table of stories is what the command that it names writes."""
    card = read_card(bundle(domain))

    assert f"<!-- {SCORES} -->" in card
    assert written(card, SCORES, scores(domain)) == card, "update it: python -m tests.models.stories"


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_feature_is_either_weighed_or_listed_as_not_weighed(domain: str) -> None:
    """Every feature is used by the model or listed with a reason in "Not weighed", and none is in both."""
    section = read_card(bundle(domain)).partition("## Not weighed")[2].partition("\n## ")[0]
    left_out = re.findall(
        r"`(\w+)`", "".join(row.split("|")[1] for row in section.splitlines() if row.startswith("| `"))
    )

    assert sorted([*left_out, *read_forest(bundle(domain)).features()]) == sorted(NAMES)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_weight_has_a_source_or_says_judgement(domain: str) -> None:
    """The note of every weight cites a source that the card lists, or says that the weight is a judgement."""
    listed = set(re.findall(r"^- \*\*\[(.+?)\]\*\*", read_card(bundle(domain)), re.MULTILINE))
    cited = {steps.feature: set(re.findall(r"\[(.+?)\]", steps.note)) for steps in read_forest(bundle(domain)).steps}
    notes = {steps.feature: steps.note for steps in read_forest(bundle(domain)).steps}

    assert {name: tags - listed for name, tags in cited.items() if tags - listed} == {}
    assert [name for name, tags in cited.items() if not tags and "judgement" not in notes[name]] == []
