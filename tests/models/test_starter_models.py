"""The starter models load as shipped, respect the directions of features, and score their stories as expected."""

from __future__ import annotations

from itertools import pairwise
from math import isnan, nan

import pytest
from msgspec import Struct

from riskd.adapters.model_file import load_model, read_forest, read_manifest
from riskd.core.attempt import DOMAINS
from riskd.core.errors import InvalidModel
from riskd.core.features import DEFINITIONS, FEATURES, NAMES
from tests.models.stories import bundle, model, read


class Told(Struct, frozen=True):
    """One story of one domain."""

    domain: str
    name: str


STORIES = [Told(domain, name) for domain in DOMAINS for name in read(domain).stories]


@pytest.mark.parametrize("domain", DOMAINS)
def test_champion_is_sealed(domain: str) -> None:
    """The served bundle matches its hashes and feature definitions, and states its kind."""
    manifest = read_manifest(bundle(domain))

    assert model(domain).version == manifest.version == bundle(domain).name
    assert (manifest.kind, manifest.metrics) == ("hand-set", {})


@pytest.mark.parametrize("domain", DOMAINS)
def test_domains_are_not_pooled(domain: str) -> None:
    """A bundle is refused for any domain but its own."""
    for other in set(DOMAINS) - {domain}:
        with pytest.raises(InvalidModel, match="its own model"):
            load_model(bundle(domain), DEFINITIONS, domain=other)


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_weight_contradicts_a_published_direction(domain: str) -> None:
    """No weight contradicts its feature's direction: riskier values never lower the score, safer ones never raise
    it."""
    direction = {feature.name: feature.direction for feature in FEATURES}

    contrary = [
        steps.feature
        for steps in read_forest(bundle(domain)).steps
        if any((after - before) * direction[steps.feature] < 0 for before, after in pairwise(steps.values))
    ]

    assert contrary == []


@pytest.mark.parametrize("domain", DOMAINS)
def test_weights_are_one_step_function_a_feature(domain: str) -> None:
    """A starter model is a sum that a person can review: one step function per feature, each with a note, and no
    trees."""
    document = read_forest(bundle(domain))
    weighed = [steps.feature for steps in document.steps]

    assert document.trees == ()
    assert len(set(weighed)) == len(weighed)
    assert set(document.references) == set(weighed)
    assert all(steps.note for steps in document.steps)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_usual_value_never_scores_higher_than_a_missing_one(domain: str) -> None:
    """Sending a signal with a usual value never scores higher than leaving it out."""
    document, forest = read_forest(bundle(domain)), model(domain)
    nothing = [nan] * len(NAMES)
    silent, _ = forest.score(nothing)

    for name, usual in document.references.items():
        told = [nan if usual is None or other != name else usual for other in NAMES]
        assert forest.score(told)[0] <= silent, name


@pytest.mark.parametrize("told", STORIES, ids=lambda told: f"{told.domain}: {told.name}")
def test_story(told: Told) -> None:
    """Each story scores within its range, in a busy deployment and in a young one."""
    world, forest = read(told.domain), model(told.domain)
    story = world.stories[told.name]
    low, high = story.score

    for vector in world.vectors(story):
        log_odds, probability = forest.score(vector)
        assert low <= probability <= high
        assert forest.explain(vector).log_odds == log_odds


@pytest.mark.parametrize("domain", DOMAINS)
def test_stories_name_features_that_exist(domain: str) -> None:
    """Stories use only existing features, so that a renamed one cannot drop out unnoticed."""
    world = read(domain)
    changes = [world.usual, world.young, *world.parts.values(), *(story.changes for story in world.stories.values())]

    assert {name for change in changes for name in change} <= set(NAMES)


@pytest.mark.parametrize("domain", DOMAINS)
def test_usual_values_are_in_the_bins_of_their_references(domain: str) -> None:
    """An ordinary attempt has no contributions, so that contributions show only what was unusual."""
    world, forest = read(domain), model(domain)
    ordinary = next(iter(world.stories.values()))
    vector, _ = world.vectors(ordinary)
    contributions = forest.contributions(vector)

    moved = [name for name, value, by in zip(NAMES, vector, contributions, strict=True) if by and not isnan(value)]
    assert moved == []
