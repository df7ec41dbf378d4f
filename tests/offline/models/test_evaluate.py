"""Which models an evaluation compares, on which rows, and which goals are met."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from riskd.adapters.model_file import read_forest
from riskd.core.features import NAMES
from riskd.core.forest import Forest
from riskd.offline.evaluation.document import CANDIDATE, CHAMPION, FREEMAN, LARGE_BOOSTED, RULES, Evaluation
from riskd.offline.models.evaluate import Contender, Question, evaluate
from riskd.offline.rows import HONEST, UNKNOWN
from riskd.offline.training.recipe import Recipe
from riskd.offline.training.train import Trained, train
from tests.offline.made_evaluation import few_trees
from tests.offline.made_rows import ATTACKS, rows

BASE = read_forest(Path(__file__).parents[3] / "models" / "customer" / "hand-set-4")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SMALL = Recipe(trees=5, leaves=6, base_share=0.5)


@pytest.fixture(scope="module", autouse=True)
def few() -> Iterator[None]:
    with few_trees():
        yield


@pytest.fixture(scope="module")
def judged() -> Evaluation:
    """A weak model beside its base, on rows of which some are unlabelled."""
    made = rows(4_000, delay_days=0.0)
    made = replace(made, labels=np.where(np.arange(4_000) % 9, made.labels, UNKNOWN).astype(np.int8))
    trained = train([made], Recipe(trees=1, leaves=2), BASE)
    return evaluate(question_of(trained, resamples=20, recipe=None), lambda _, __: lambda _: None)


def question_of(trained: Trained, **changes: object) -> Question:
    question = Question(
        domain="customer",
        code="0",
        rows=trained.material.holdout,
        ages=trained.material.holdout_ages,
        labels="truth",
        candidate=Contender(version="1", forest=Forest(trained.document, NAMES)),
        champion=Contender(version="0", forest=Forest(BASE, NAMES)),
        material=trained.material,
        recipe=SMALL,
        resamples=2,
    )
    return replace(question, **changes)


def test_the_judged_rows_are_counted_by_label(judged: Evaluation) -> None:
    """Good, fraudulent and unlabelled rows add up to all; attacks are counted by class."""
    data = judged.data
    assert data.rows == data.good + data.fraud + data.unknown == 1_000
    assert data.unknown == pytest.approx(1_000 / 9, abs=1)
    assert data.good > 4 * data.fraud > 0
    assert set(data.attacks) == set(ATTACKS)
    assert sum(data.attacks.values()) == data.fraud
    assert (data.labels, data.unreported) == ("truth", 0.0)


def test_a_goal_is_met_by_the_figures_and_surely_by_their_intervals(judged: Evaluation) -> None:
    """Each class has each goal at 1 %. It is met if the candidate finds as much as the other model (less two points of
    the large trees), and that is sure if it holds, or fails, at both ends of the interval of the difference."""
    others = {
        "as large boosted trees, less 2 points": (LARGE_BOOSTED, 0.02),
        "as Freeman": (FREEMAN, 0.0),
        "as rules of thumb": (RULES, 0.0),
    }
    assert {(goal.name, goal.attack) for goal in judged.goals} == set(product(others, ATTACKS))
    for goal in judged.goals:
        other, allowed = others[goal.name]
        of_class = {
            name: next(each.at["1%"].value for each in judged.models[name].classes if each.name == goal.attack)
            for name in (CANDIDATE, other)
        }
        assert goal.margin == pytest.approx(of_class[CANDIDATE] - of_class[other] + allowed, abs=1e-5)  # type: ignore[operator]
        assert goal.met == (goal.margin >= 0)
        (told,) = (
            each.difference
            for each in judged.differences
            if (each.other, each.part, each.name, each.rate) == (other, "class", goal.attack, "1%")
        )
        ends = {end + allowed >= 0 for end in (told.low, told.high) if end is not None}
        assert goal.sure == (ends == {goal.met})
    assert {goal.sure for goal in judged.goals} == {True, False}
    assert {goal.met for goal in judged.goals} == {True, False}


def test_without_its_only_class_a_model_is_its_base() -> None:
    """If the only attack class is left out, nothing is learned, and the model equals its base. A base that was trained
    on the class cannot be without it, so there is no such figure."""
    whole = rows(9_000, delay_days=0.0)
    other = ~np.isin(whole.attacks, (HONEST, "targeted"))
    one = replace(whole, labels=np.where(other, UNKNOWN, whole.labels).astype(np.int8))
    trained = train([one], SMALL, BASE)
    models = evaluate(question_of(trained), lambda _, __: lambda _: None).models

    assert [each.name for each in models[CANDIDATE].left_out] == ["targeted"]
    assert models[CANDIDATE].left_out[0].at["1%"].value == models[CHAMPION].classes[0].at["1%"].value
    taught = question_of(trained, learned=frozenset({"targeted"}))
    assert evaluate(taught, lambda _, __: lambda _: None).models[CANDIDATE].left_out == ()
