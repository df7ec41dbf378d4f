"""The forest gives the same result as walking its trees, and its contributions are counterfactuals."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf, isnan, log, nan, nextafter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.core.errors import InvalidModel
from riskd.core.forest import MAX_PROBLEMS, Forest
from riskd.core.model import MAX_KNOTS, MAX_LEAVES, MAX_LOG_ODDS, MAX_TREES, ForestDocument, Split, Steps, Tree
from riskd.core.score import Calibration, Scorer, logistic, schema_of

NAMES = ("age", "distance", "failures", "novelty", "unused")
THRESHOLDS = (None, -1.5, 0.0, 0.5, 2.0)
USUAL = {"age": 2.0, "distance": 0.0, "failures": -1.5, "novelty": None}

values = st.one_of(st.sampled_from([nan, -2.0, -1.5, 0.0, 0.5, nextafter(0.5, inf), 2.0, 3.0]), st.floats(-3, 3))
vectors = st.lists(values, min_size=len(NAMES), max_size=len(NAMES))
log_odds = st.floats(-4, 4)


@st.composite
def grown(draw: st.DrawFn, names: Sequence[str] = NAMES[:-1], max_splits: int = 7) -> Tree:
    """A tree grown by repeatedly splitting a leaf."""
    nodes: list[Split | float] = [draw(log_odds)]
    for _ in range(draw(st.integers(0, max_splits))):
        leaf = draw(st.sampled_from([index for index, node in enumerate(nodes) if not isinstance(node, Split)]))
        nodes[leaf] = Split(
            feature=draw(st.sampled_from(names)),
            threshold=draw(st.sampled_from(THRESHOLDS)),
            missing_left=draw(st.booleans()),
            left=len(nodes),
            right=len(nodes) + 1,
        )
        nodes += [draw(log_odds), draw(log_odds)]
    return tuple(nodes)


forests = st.lists(grown() | grown(max_splits=20), max_size=6)
"""Forests whose trees need machine words of different sizes."""


def document(trees: Sequence[Tree] = (), steps: Sequence[Steps] = ()) -> ForestDocument:
    return ForestDocument(baseline=-0.25, references=dict(USUAL), trees=tuple(trees), steps=tuple(steps))


def walked(trees: Sequence[Tree], vector: Sequence[float]) -> float:
    """The same sum, computed by walking every tree from its root."""
    total = -0.25
    for tree in trees:
        node = tree[0]
        while isinstance(node, Split):
            value = vector[NAMES.index(node.feature)]
            left = node.missing_left if isnan(value) else node.threshold is None or value <= node.threshold
            node = tree[node.left if left else node.right]
        total += node
    return total


def replaced(vector: Sequence[float], index: int, value: float) -> list[float]:
    return [*vector[:index], value, *vector[index + 1 :]]


@given(forests, vectors)
def test_tables_say_what_walking_says(trees: list[Tree], vector: list[float]) -> None:
    """The log-odds are the baseline plus the leaf that each tree leads to."""
    assert Forest(document(trees), NAMES).score(vector)[0] == pytest.approx(walked(trees, vector), abs=1e-12)


@given(forests, vectors, st.one_of(st.none(), vectors))
def test_contributions_are_counterfactuals(
    trees: list[Tree], vector: list[float], reference: list[float] | None
) -> None:
    """A contribution is how much lower the log-odds are if that one feature is at its reference."""
    usual = reference or [nan if (value := USUAL.get(name)) is None else value for name in NAMES]
    here = walked(trees, vector)
    expected = [here - walked(trees, replaced(vector, index, usual[index])) for index in range(len(NAMES))]

    assert Forest(document(trees), NAMES).contributions(vector, reference) == pytest.approx(expected, abs=1e-12)


@given(forests, vectors)
def test_explaining_is_scoring_and_contributions(trees: list[Tree], vector: list[float]) -> None:
    """`explain` gives the same result as `score` and `contributions`."""
    forest: Scorer = Forest(document(trees), NAMES)
    explained = forest.explain(vector)

    assert (explained.log_odds, explained.probability) == forest.score(vector)
    assert explained.contributions == forest.contributions(vector)


@given(forests, vectors, st.randoms(use_true_random=False))
def test_order_does_not_matter(trees: list[Tree], vector: list[float], random: Random) -> None:
    """Neither the order of the trees nor that of the features changes a score."""
    shuffled, names = list(trees), list(NAMES)
    random.shuffle(shuffled)
    random.shuffle(names)
    moved = [vector[NAMES.index(name)] for name in names]
    expected = Forest(document(trees), NAMES).score(vector)[0]

    assert Forest(document(shuffled), names).score(moved)[0] == pytest.approx(expected, abs=1e-12)


@given(forests, vectors, values)
def test_an_unused_feature_is_nothing(trees: list[Tree], vector: list[float], value: float) -> None:
    """A feature that no tree uses neither changes the score nor contributes."""
    forest = Forest(document(trees), NAMES)

    assert forest.score(replaced(vector, 4, value)) == forest.score(vector)
    assert forest.contributions(vector)[4] == 0.0


@given(st.lists(grown(names=("age",)), max_size=4), st.lists(grown(names=("novelty",)), max_size=4), vectors)
def test_in_an_additive_model_contributions_add_up(
    ages: list[Tree], novelties: list[Tree], vector: list[float]
) -> None:
    """If each tree uses one feature, contributions add up to the distance from the reference."""
    forest = Forest(document([*ages, *novelties]), NAMES)
    usual = [nan if (value := USUAL.get(name)) is None else value for name in NAMES]
    distance = forest.score(vector)[0] - forest.score(usual)[0]

    assert sum(forest.contributions(vector)) == pytest.approx(distance, abs=1e-12)


STEPS = Steps(feature="failures", cuts=(0.0, 2.0), values=(-1.0, 0.5, 3.0), missing=0.25, note="why")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-inf, 0.25),
        (-5.0, -1.0),
        (0.0, -1.0),
        (nextafter(0.0, inf), 0.5),
        (2.0, 0.5),
        (nextafter(2.0, inf), 3.0),
        (inf, 3.0),
        (nan, 0.25),
    ],
)
def test_steps_include_their_cut(value: float, expected: float) -> None:
    """A step includes its cut; minus infinity, which no feature can be, counts as missing."""
    forest = Forest(document(steps=[STEPS]), NAMES)

    assert forest.score(replaced([nan] * 5, 2, value))[0] == -0.25 + expected


@given(vectors)
def test_steps_are_a_tree(vector: list[float]) -> None:
    """Steps and the tree that they expand to give the same score."""
    assert Forest(document(steps=[STEPS]), NAMES).score(vector) == Forest(document([STEPS.tree()]), NAMES).score(vector)


@pytest.mark.parametrize("leaves", [2, 8, 9, 16, 17, 32, 33, MAX_LEAVES])
def test_every_leaf_of_a_full_tree_is_reachable(leaves: int) -> None:
    """Every leaf is reachable for every number of leaves up to MAX_LEAVES."""
    nodes: list[Split | float] = []
    for index in range(leaves - 1):
        left = len(nodes) + 1
        name = ("age", "novelty")[index % 2]
        nodes += [
            Split(feature=name, threshold=float(index), missing_left=False, left=left, right=left + 1),
            float(index),
        ]
    tree = (*nodes, float(leaves - 1))
    forest = Forest(document([tree]), NAMES)

    for value in range(leaves):
        vector = [value - 0.5, nan, nan, value - 0.5, nan]
        assert forest.score(vector)[0] == walked([tree], vector)


def test_a_forest_of_nothing_is_its_baseline() -> None:
    """Without trees, the score is the baseline and there are no contributions."""
    explained = Forest(document(), NAMES).explain([nan] * 5)

    assert (explained.log_odds, explained.probability) == (-0.25, logistic(-0.25))
    assert explained.contributions == (0.0,) * 5


def test_threads_share_a_forest() -> None:
    """Concurrent threads get the same results as a single one."""
    split = Split(feature="age", threshold=0.5, missing_left=True, left=1, right=2)
    other = Split(feature="novelty", threshold=0.5, missing_left=True, left=3, right=4)
    forest = Forest(document([(split, other, 0.25, -1.0, 1.0)] * 40), NAMES)
    many = [[index % 2, 0.0, 0.0, index % 3 - 0.5, 0.0] for index in range(400)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(forest.explain, many)) == [forest.explain(vector) for vector in many]


knots = st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 1)), min_size=1, max_size=8, unique_by=lambda knot: knot[0])


@given(knots, st.floats(-12, 12), st.floats(-12, 12))
def test_calibration_is_monotone(points: list[tuple[float, float]], a: float, b: float) -> None:
    """Higher log-odds never give a lower probability, and none lies outside the table's range."""
    xs, ys = sorted(x for x, _ in points), sorted(y for _, y in points)
    calibration = Calibration.through(tuple(zip(xs, ys, strict=True)))
    low, high = sorted((a, b))

    assert ys[0] <= calibration.probability(low) <= calibration.probability(high) <= ys[-1]


@given(knots)
def test_calibration_passes_through_its_knots(points: list[tuple[float, float]]) -> None:
    """At a knot, calibration gives the knot's probability."""
    xs, ys = sorted(x for x, _ in points), sorted(y for _, y in points)
    calibration = Calibration.through(tuple(zip(xs, ys, strict=True)))

    assert [calibration.probability(x) for x in xs] == ys


@given(st.floats(-1e6, 1e6))
def test_logistic_undoes_log_odds(x: float) -> None:
    """The logistic function is symmetric, within 0..1, and the inverse of the log-odds."""
    p = logistic(x)

    assert 0.0 <= p <= 1.0
    assert p + logistic(-x) == pytest.approx(1.0)
    if abs(x) < 15:
        assert log(p / (1 - p)) == pytest.approx(x, abs=1e-6)


def test_a_schema_is_what_features_mean() -> None:
    """A schema depends on the names and definitions of features, not on their order."""
    assert schema_of({"a": "1", "b": "2"}) == schema_of({"b": "2", "a": "1"})
    assert len({schema_of(s) for s in ({"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "1", "b": "1"}, {})}) == 5


def split(feature: str = "age", threshold: float | None = 0.5, left: int = 1, right: int = 2) -> Split:
    return Split(feature=feature, threshold=threshold, missing_left=True, left=left, right=right)


def steps(cuts: tuple[float, ...] = (), step_values: tuple[float, ...] = (0.0,), missing: float = 0.0) -> Steps:
    return Steps(feature="age", cuts=cuts, values=step_values, missing=missing)


def broken(
    baseline: float = 0.0,
    trees: tuple[Tree, ...] = (),
    shape: tuple[Steps, ...] = (),
    calibration: tuple[tuple[float, float], ...] = (),
    references: dict[str, float | None] | None = None,
) -> ForestDocument:
    usual = dict(USUAL) if references is None else references
    return ForestDocument(baseline=baseline, references=usual, calibration=calibration, steps=shape, trees=trees)


REFUSED = {
    "baseline is NaN": (broken(baseline=nan), ["baseline"]),
    "baseline beyond any probability": (broken(baseline=1e308), ["baseline"]),
    "infinite leaf": (broken(trees=((split(), inf, 0.0),)), ["trees[0][1]"]),
    "infinite threshold": (broken(trees=((split(threshold=inf), 0.0, 0.0),)), ["trees[0][0].threshold"]),
    "no nodes": (broken(trees=((),)), ["trees[0]"]),
    "child out of range": (broken(trees=((split(right=3), 0.0, 0.0),)), ["trees[0][0].right", "trees[0]"]),
    "child before its parent": (broken(trees=((split(left=0), 0.0, 0.0),)), ["trees[0][0].left", "trees[0]"]),
    "negative child": (broken(trees=((split(left=-1), 0.0, 0.0),)), ["trees[0][0].left", "trees[0]"]),
    "child of two": (broken(trees=((split(left=2), 0.0, 0.0),)), ["trees[0]"]),
    "orphan": (broken(trees=((split(), 0.0, 0.0, 0.0),)), ["trees[0]"]),
    "too many leaves": (broken(trees=((0.0,) * (MAX_LEAVES + 1),)), ["trees[0]"]),
    "too many trees": (broken(trees=((0.0,),) * (MAX_TREES + 1)), ["trees"]),
    "too many trees and steps": (broken(trees=((0.0,),) * MAX_TREES, shape=(steps(),)), ["trees"]),
    "cuts not increasing": (broken(shape=(steps((1.0, 0.0), (0.0, 0.0, 0.0)),)), ["steps[0].cuts"]),
    "cut is NaN": (broken(shape=(steps((nan,), (0.0, 0.0)),)), ["steps[0].cuts"]),
    "one value too few": (broken(shape=(steps((1.0,), (0.0,)),)), ["steps[0].values"]),
    "value not finite": (broken(shape=(steps((), (nan,), inf),)), ["steps[0].values[0]", "steps[0].missing"]),
    "no values": (broken(shape=(steps((), ()),)), ["steps[0].values"]),
    "too many cuts": (broken(shape=(steps(tuple(map(float, range(63))), (0.0,) * 64),)), ["steps[0].cuts"]),
    "probability above 1": (broken(calibration=((0.0, 1.5),)), ["calibration[0]"]),
    "log-odds not finite": (broken(calibration=((nan, 0.5), (inf, 0.6))), ["calibration[0]", "calibration[1]"]),
    "calibration not monotone": (broken(calibration=((0.0, 0.5), (1.0, 0.4))), ["calibration[1]"]),
    "two knots at the same log-odds": (broken(calibration=((0.0, 0.5), (0.0, 0.6))), ["calibration[1]"]),
    "too many knots": (broken(calibration=((0.0, 0.0),) * (MAX_KNOTS + 1)), ["calibration"]),
    "reference not finite": (broken(references={"age": inf}), ["references.age"]),
    "no reference": (broken(trees=((split(), 0.0, 0.0),), references={}), ["references"]),
    "several unknown features": (
        broken(trees=((split("ages"), 0.0, 0.0), (split("zzz"), 0.0, 0.0)), references={"q": 0.0, "ages": 0, "zzz": 0}),
        ["features", "features", "features"],
    ),
    "several at once": (
        broken(baseline=inf, shape=(steps((), (inf,)),), calibration=((0.0, -1.0),)),
        ["baseline", "steps[0].values[0]", "calibration[0]"],
    ),
}


@pytest.mark.parametrize(("refused", "places"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_document_is_refused_with_every_problem(refused: ForestDocument, places: list[str]) -> None:
    """Every problem is reported with its place and its remedy."""
    with pytest.raises(InvalidModel) as caught:
        Forest(refused, NAMES)

    assert [problem.where for problem in caught.value.problems] == places
    assert all(problem.remedy for problem in caught.value.problems)


@pytest.mark.parametrize(
    "accepted",
    [
        broken(baseline=MAX_LOG_ODDS),
        broken(trees=((0.0,),) * MAX_TREES),
        broken(trees=((0.0,),) * (MAX_TREES - 1), shape=(steps(),)),
        broken(shape=(steps(tuple(map(float, range(MAX_LEAVES - 2))), (-MAX_LOG_ODDS,) * (MAX_LEAVES - 1)),)),
        broken(calibration=((-MAX_LOG_ODDS, 0.0), (MAX_LOG_ODDS, 1.0))),
        broken(calibration=tuple((float(at), 0.5) for at in range(MAX_KNOTS))),
        broken(trees=((split(threshold=None), 0.0, 0.0),)),
    ],
    ids=["baseline", "trees", "trees and steps", "cuts and values", "probabilities", "knots", "no threshold"],
)
def test_a_document_at_a_limit_is_accepted(accepted: ForestDocument) -> None:
    """A document exactly at a limit is accepted."""
    assert 0.0 <= Forest(accepted, NAMES).score([0.0] * len(NAMES))[1] <= 1.0


def test_a_misspelt_feature_gets_a_suggestion() -> None:
    """The remedy for an unknown feature name suggests the nearest known one."""
    with pytest.raises(InvalidModel, match=r"no feature is called 'ages' \(did you mean 'age'\?\)"):
        Forest(broken(references={"ages": 0.0}), NAMES)


def test_a_forest_too_large_for_its_tables_is_refused() -> None:
    """A forest whose tables would need too much memory is refused before they are built."""
    stumps = tuple((split(threshold=float(index)), 0.0, 0.0) for index in range(MAX_TREES))
    with pytest.raises(InvalidModel, match="25000000 cells of mask"):
        Forest(broken(trees=stumps), NAMES)


def test_problems_are_listed_up_to_a_bound() -> None:
    """The number of reported problems is bounded, so a corrupt file cannot make an endless error."""
    with pytest.raises(InvalidModel) as caught:
        Forest(broken(trees=((nan,),) * 500), NAMES)

    assert len(caught.value.problems) == MAX_PROBLEMS
