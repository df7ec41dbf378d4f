"""The trained models that are shipped: their kind, their limits, and their measured worth."""

from __future__ import annotations

from functools import cache
from math import isnan, nan
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.adapters.model_file import (
    load_model,
    read_card,
    read_evaluation,
    read_forest,
    read_manifest,
    read_reference,
    read_training,
)
from riskd.core.features import DEFINITIONS, FEATURES, NAMES
from riskd.core.forest import Forest
from riskd.core.model import ForestDocument, Split
from riskd.offline.evaluation.document import CANDIDATE, CHAMPION, FREEMAN, MODELS, RULES, Evaluation
from riskd.offline.training.recipe import Training
from riskd.offline.training.train import scaled
from tests.models.stories import bundle

SHIPPED = sorted(
    path.parent
    for path in (Path(__file__).parents[2] / "models").glob("*/*/manifest.json")
    if read_manifest(path.parent).kind == "trained"
)
LARGEST = 1 << 20
"""The largest size of a bundle in bytes, because it is part of every checkout and wheel."""


def evaluation(path: Path) -> Evaluation:
    raw = read_evaluation(path)
    assert raw is not None
    return msgspec.json.decode(raw, type=Evaluation)


def training(path: Path) -> Training:
    raw = read_training(path)
    assert raw is not None
    return msgspec.json.decode(raw, type=Training)


@cache
def planted(path: Path) -> tuple[ForestDocument, Forest, Forest]:
    """The document of a model, its forest, and the forest without the trees on top."""
    document = read_forest(path)
    held = replace(document, trees=document.trees[: training(path).recipe.trees])
    return document, Forest(document, NAMES), Forest(held, NAMES)


def test_there_is_one() -> None:
    """At least one trained model is shipped, so that the tests below check something."""
    assert SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_it_is_served_and_small_and_decides_nothing(path: Path) -> None:
    """Each trained model loads for its domain, has a reference, is small, and is the challenger."""
    domain = path.parent.name
    assert load_model(path, DEFINITIONS, domain=domain).version == path.name
    assert read_reference(path) is not None
    assert bundle(domain) != path
    assert (path.parent / "challenger").read_text().strip() == path.name
    assert sum(file.stat().st_size for file in path.iterdir()) < LARGEST


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_it_keeps_every_weight_of_its_base(path: Path) -> None:
    """The base model's step functions are kept, scaled by the recipe's share, or whole for features that no tree splits
    by value; trees are added to them."""
    recipe = training(path).recipe
    base = read_forest(path.parent / training(path).base)
    document = read_forest(path)
    asked = {
        node.feature
        for tree in document.trees
        for node in tree
        if isinstance(node, Split) and node.threshold is not None
    }
    whole = {each.feature for each in document.steps if each in base.steps}

    assert whole.isdisjoint(asked)
    assert document.steps == scaled(base, recipe.base_share, whole).steps
    assert len(document.trees) == recipe.trees + recipe.raising
    assert {name: document.references[name] for name in base.references} == base.references


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_its_card_begins_with_the_simulated_attackers(path: Path) -> None:
    """The card begins by saying that its attackers were simulated."""
    card = read_card(path)
    assert training(path).labels == "truth"
    assert card.split("\n")[2].startswith("**Trained on a simulation.**")
    assert "docs/training.md" in card


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.name}")
@settings(max_examples=150)
@given(data=st.data())
def test_riskier_values_never_lower_the_score_of_a_shipped_model(path: Path, data: st.DataObject) -> None:
    """For any other values, a riskier value never lowers the score of the constrained trees, and the trees on top only
    add to it."""
    document, forest, held = planted(path)
    row = [nan] * len(NAMES)
    for name, usual in document.references.items():
        at = NAMES.index(name)
        row[at] = data.draw(st.sampled_from([nan, nan if usual is None else usual, -5.0, 0.0, 1.0, 4.0, 300.0]))
    feature = data.draw(
        st.sampled_from([each for each in FEATURES if each.direction and each.name in document.references])
    )
    low, high = sorted(data.draw(st.tuples(st.floats(-10, 2_000), st.floats(-10, 2_000))))
    safer, riskier = list(row), list(row)
    at = NAMES.index(feature.name)
    safer[at], riskier[at] = (low, high) if feature.direction > 0 else (high, low)

    assert not isnan(forest.score(safer)[0])
    assert held.score(safer)[0] <= held.score(riskier)[0] + 1e-9
    assert held.score(riskier)[1] <= forest.score(riskier)[1] + 1e-12


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_trees_on_top_only_add(path: Path) -> None:
    """No leaf of the trees on top is below 0."""
    on_top = read_forest(path).trees[training(path).recipe.trees :]
    assert all(node >= 0 for tree in on_top for node in tree if isinstance(node, float))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_its_evaluation_compares_it_with_all_others(path: Path) -> None:
    """The evaluation compares the model with the champion and the others, on worlds it was not trained on, with each
    attack class left out."""
    found = evaluation(path)
    assert tuple(found.models) == MODELS
    assert found.models[CANDIDATE].version == path.name
    assert found.models[CHAMPION].version == bundle(path.parent.name).name
    assert found.data.sha256 != training(path).data
    assert {each.name for each in found.models[CANDIDATE].left_out} == set(found.data.attacks)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_it_is_worth_shipping(path: Path) -> None:
    """At 1 % false positives the model is nowhere significantly worse than Freeman and the rules of thumb, also on
    left-out classes, and better overall than the champion."""
    found = evaluation(path)
    lost = [
        (each.other, each.part, each.name)
        for each in found.differences
        if each.rate == "1%"
        and each.other in (FREEMAN, RULES)
        and each.part in ("overall", "class", "left_out")
        and each.difference.high is not None
        and each.difference.high < 0
    ]
    overall = next(
        each for each in found.differences if (each.other, each.part, each.rate) == (CHAMPION, "overall", "1%")
    )

    assert lost == []
    assert overall.difference.low is not None
    assert overall.difference.low > 0
