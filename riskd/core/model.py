"""The model file `forest.json` as data, and its validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import pairwise
from math import isfinite
from typing import Final, Literal

from msgspec import Struct

from riskd.core.errors import Problem
from riskd.core.score import Knots

MAX_TREES: Final = 5_000
MAX_LEAVES: Final = 64
"""Most leaves of a tree, whose leaves are the bits of one machine word."""
MAX_KNOTS: Final = 1_000
MAX_LOG_ODDS: Final = 1_000.0
"""Largest log-odds of a leaf or knot: far beyond any probability that a float can hold, and sums stay finite."""
MAX_CELLS: Final = 2**24
"""Most distinct thresholds times trees. At up to 8 bytes each, masks take at most 128 MiB."""


class Split(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An inner node, which tests one feature. `left` and `right` are indices into the tree's nodes.

    A value goes left if `value <= threshold`, as in scikit-learn. If the threshold is None every value goes left, so
    that the node only tests whether there is one. A missing value goes left if `missing_left`.
    """

    feature: str
    threshold: float | None
    missing_left: bool
    left: int
    right: int


Tree = tuple[Split | float, ...]
"""The nodes of a tree, the root first, children after their parent. A number is a leaf, in log-odds."""


class Steps(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tree on one feature, in a form that people can review.

    `values[i]` is the log-odds up to and including `cuts[i]`, the last value that above all cuts; `missing` is the
    log-odds if the feature is missing. `note` explains the choice.
    """

    feature: str
    cuts: tuple[float, ...]
    values: tuple[float, ...]
    missing: float
    note: str = ""

    def tree(self) -> Tree:
        """The same function as a tree: it tests first whether the value is missing, then one cut after another."""
        nodes: list[Split | float] = [self._split(None, left=2, right=1), self.missing]
        for cut, value in zip(self.cuts, self.values, strict=False):
            here = len(nodes)
            nodes += [self._split(cut, left=here + 1, right=here + 2), value]
        return (*nodes, self.values[-1])

    def _split(self, threshold: float | None, left: int, right: int) -> Split:
        return Split(feature=self.feature, threshold=threshold, missing_left=False, left=left, right=right)


class ForestDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A forest: the log-odds of a vector are `baseline` plus one leaf of each tree.

    `calibration` are `(log_odds, probability)` knots; without any, the logistic function is used. `references` has
    the usual value of each feature that the trees use (None: usually missing), against which contributions are
    measured.
    """

    format: Literal["riskd.forest/1"] = "riskd.forest/1"
    baseline: float
    references: dict[str, float | None]
    calibration: Knots = ()
    steps: tuple[Steps, ...] = ()
    trees: tuple[Tree, ...] = ()

    def all_trees(self) -> tuple[Tree, ...]:
        """The trees, and the steps as trees."""
        return (*(steps.tree() for steps in self.steps), *self.trees)

    def features(self) -> tuple[str, ...]:
        """Names of the features that the trees use, sorted."""
        split = {node.feature for tree in self.trees for node in tree if isinstance(node, Split)}
        return tuple(sorted(split | {steps.feature for steps in self.steps}))


def problems_of(document: ForestDocument, feature_names: Sequence[str]) -> Iterator[Problem]:
    """Everything that is wrong with a forest that is to score vectors of `feature_names`."""
    if len(document.trees) + len(document.steps) > MAX_TREES:
        yield Problem("trees", f"more than {MAX_TREES} trees", "train fewer trees with a higher learning rate")
        return
    yield from _log_odds_problems("baseline", document.baseline)
    for index, steps in enumerate(document.steps):
        yield from _steps_problems(f"steps[{index}]", steps)
    for index, tree in enumerate(document.trees):
        yield from _tree_problems(f"trees[{index}]", tree)
    yield from _calibration_problems(document.calibration)
    yield from _feature_problems(document, feature_names)
    yield from _size_problems(document)


def _log_odds_problems(where: str, value: float) -> Iterator[Problem]:
    if not -MAX_LOG_ODDS <= value <= MAX_LOG_ODDS:
        yield Problem(where, f"{value} is not a log-odds", f"give a number from {-MAX_LOG_ODDS:g} to {MAX_LOG_ODDS:g}")


def _steps_problems(where: str, steps: Steps) -> Iterator[Problem]:
    cuts = steps.cuts
    if not all(map(isfinite, cuts)) or any(a >= b for a, b in pairwise(cuts)):
        yield Problem(
            f"{where}.cuts", "the cuts are not in ascending order", "list finite numbers, each above the one before"
        )
    if len(steps.values) != len(cuts) + 1:
        what = f"{len(cuts)} cuts need {len(cuts) + 1} values, there are {len(steps.values)}"
        yield Problem(f"{where}.values", what, "give one value up to each cut and one beyond the last")
    if len(cuts) + 2 > MAX_LEAVES:
        yield Problem(f"{where}.cuts", f"more than {MAX_LEAVES - 2} cuts", "merge neighbours of nearly equal value")
    for index, value in enumerate(steps.values):
        yield from _log_odds_problems(f"{where}.values[{index}]", value)
    yield from _log_odds_problems(f"{where}.missing", steps.missing)


def _tree_problems(where: str, tree: Tree) -> Iterator[Problem]:
    leaves = sum(not isinstance(node, Split) for node in tree)
    if leaves > MAX_LEAVES:
        yield Problem(where, f"{leaves} leaves, more than {MAX_LEAVES}", f"train with max_leaf_nodes={MAX_LEAVES}")
        return
    parents = [0] * len(tree)
    for index, node in enumerate(tree):
        here = f"{where}[{index}]"
        if not isinstance(node, Split):
            yield from _log_odds_problems(here, node)
            continue
        if node.threshold is not None and not isfinite(node.threshold):
            yield Problem(f"{here}.threshold", f"{node.threshold} is not finite", "null sends every value left")
        for side, child in (("left", node.left), ("right", node.right)):
            if index < child < len(tree):
                parents[child] += 1
            else:
                what = f"node {child} does not come after node {index} of {len(tree)}"
                yield Problem(f"{here}.{side}", what, "list children after their parent")
    if parents[:1] != [0] or any(count != 1 for count in parents[1:]):
        stray = [index for index, count in enumerate(parents) if index and count != 1]
        what = f"nodes {stray} do not have one parent each" if tree else "a tree without nodes"
        yield Problem(where, what, "name every node but the first as a child exactly once")


def _calibration_problems(knots: Knots) -> Iterator[Problem]:
    if len(knots) > MAX_KNOTS:
        yield Problem("calibration", f"more than {MAX_KNOTS} knots", "thin them out")
        return
    for index, (log_odds, probability) in enumerate(knots):
        yield from _log_odds_problems(f"calibration[{index}]", log_odds)
        if not 0.0 <= probability <= 1.0:
            what = f"{probability} is not a probability"
            yield Problem(f"calibration[{index}]", what, "give a number from 0 to 1")
    for index, ((x0, y0), (x1, y1)) in enumerate(pairwise(knots), start=1):
        if x0 >= x1 or y0 > y1:
            what = f"({x1}, {y1}) after ({x0}, {y0}) is not monotone"
            yield Problem(f"calibration[{index}]", what, "log-odds must rise and probabilities must not fall")


def _feature_problems(document: ForestDocument, feature_names: Sequence[str]) -> Iterator[Problem]:
    used = document.features()
    for name in sorted({*used, *document.references} - set(feature_names)):
        near = get_close_matches(name, feature_names, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else "remove it, or run the riskd version that has it"
        yield Problem("features", f"no feature is called '{name}'", remedy)
    for name in used:
        if name not in document.references:
            what = f"'{name}' has no reference"
            yield Problem("references", what, "give its usual value, or null where it is usually missing")
    for name, value in document.references.items():
        if value is not None and not isfinite(value):
            yield Problem(f"references.{name}", f"{value} is not finite", "null stands for a missing value")


def _size_problems(document: ForestDocument) -> Iterator[Problem]:
    thresholds = {(node.feature, node.threshold) for tree in document.trees for node in tree if isinstance(node, Split)}
    thresholds |= {(steps.feature, cut) for steps in document.steps for cut in steps.cuts}
    cells = len(thresholds) * (len(document.trees) + len(document.steps))
    if cells > MAX_CELLS:
        what = f"{cells} cells of mask (distinct thresholds by trees), more than {MAX_CELLS}"
        yield Problem("trees", what, "train fewer trees, smaller ones, or with fewer bins")
