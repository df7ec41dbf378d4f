"""The served forest: compiles a model to look-up tables of bit masks, and scores vectors with them.

The method is that of QuickScorer (Lucchese et al., SIGIR 2015). The thresholds that a forest has on a feature divide
its values into bins; one more bin stands for a missing value. Every leaf of the forest is one bit of a long integer.
Each bin has a mask of the leaves that it leaves reachable: for every node on its feature, the subtree not taken is
removed. The AND of one mask per feature has exactly one bit set per tree: the leaf that the tree returns.

Trees on a single feature need no masks. Their leaves are summed per bin at compile time, so that all of them together
cost one look-up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import accumulate, islice
from math import inf, isnan, nan
from operator import and_, getitem, itemgetter, or_
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from riskd.core.errors import InvalidModel
from riskd.core.model import ForestDocument, Split, Tree, problems_of
from riskd.core.score import Calibration, Score

MAX_PROBLEMS: Final = 100
"""Most problems that one error lists; a corrupt file may have a million."""

T = TypeVar("T")


class Bins(Generic[T]):
    """A table with an entry for each bin of each column of a vector. Bin 0 is for a missing value."""

    __slots__ = ("_cuts", "_entries", "_pick", "columns")

    def __init__(self, table: dict[int, tuple[tuple[float, ...], tuple[T, ...]]]) -> None:
        """`table` maps a column to its ascending cuts, and its entries: for missing, then for each bin."""
        self.columns: Final = tuple(sorted(table))
        # With -inf as the first cut, bisect_left finds 0 for NaN (all comparisons are false), else 1 or more.
        self._cuts: Final = tuple((-inf, *table[column][0]) for column in self.columns)
        self._entries: Final = tuple(table[column][1] for column in self.columns)
        # itemgetter returns a tuple only for two or more columns; `map` never reads the two added here.
        self._pick: Final = itemgetter(*self.columns, 0, 0)

    def look_up(self, vector: Sequence[float]) -> list[T]:
        """The entry of each column's bin, in the order of `columns`."""
        return list(map(getitem, self._entries, map(bisect_left, self._cuts, self._pick(vector))))


class Leaves:
    """The leaf values of all trees. In a mask, each tree has a lane of `lane` bytes with one bit per leaf."""

    __slots__ = ("_first", "_size", "_values", "_word")

    def __init__(self, values: Sequence[Sequence[float]], lane: int) -> None:
        bits = 8 * lane
        self._word: Final = np.dtype(f"<u{lane}")
        self._size: Final = lane * len(values)
        self._first: Final = np.arange(len(values), dtype=np.intp) * bits
        self._values: Final = np.array([[*tree, *[0.0] * (bits - len(tree))] for tree in values]).ravel()

    def sums(self, masks: Sequence[int]) -> list[float]:
        """For each mask, the sum of the leaf values that it selects, exactly one per tree."""
        raw = b"".join([mask.to_bytes(self._size, "little") for mask in masks])
        lanes = np.frombuffer(raw, self._word).reshape(len(masks), -1)
        # The index of the only bit set in a lane x is popcount(x - 1).
        chosen: NDArray[np.float64] = self._values.take(np.bitwise_count(lanes - 1) + self._first)
        sums: list[float] = np.add.reduce(chosen, axis=1).tolist()
        return sums


class Forest:
    """A compiled model: the `Scorer` in use. Immutable, so threads can share it."""

    __slots__ = (
        "_baseline",
        "_calibration",
        "_leaves",
        "_masks",
        "_steps",
        "_usual_masks",
        "_usual_steps",
        "feature_names",
        "references",
        "schema",
        "version",
    )

    def __init__(
        self, document: ForestDocument, feature_names: Sequence[str], *, schema: str = "", version: str = ""
    ) -> None:
        """Compile `document` for vectors of `feature_names`.

        Raises InvalidModel with the first `MAX_PROBLEMS` problems, if there are any.
        """
        problems = list(islice(problems_of(document, feature_names), MAX_PROBLEMS))
        if problems:
            raise InvalidModel(problems)
        self.feature_names: Final = tuple(feature_names)
        self.schema: Final = schema
        self.version: Final = version
        column = {name: index for index, name in enumerate(feature_names)}
        constant, single, joint = _by_features(document.all_trees(), column)
        lane = _lane_bytes(max((len(_leaves(tree)) for tree in joint), default=0))
        self._calibration: Final = Calibration.through(document.calibration)
        self._baseline: Final = document.baseline + constant
        self._steps: Final = Bins({index: _steps(trees) for index, trees in single.items()})
        self._masks: Final = Bins(_masks(joint, column, 8 * lane))
        self._leaves: Final = Leaves([_leaves(tree) for tree in joint], lane)
        usual = [document.references.get(name) for name in feature_names]
        self.references: Final = tuple([nan if value is None else value for value in usual])
        self._usual_steps: Final = self._steps.look_up(self.references)
        self._usual_masks: Final = self._masks.look_up(self.references)

    def score(self, vector: Sequence[float]) -> tuple[float, float]:
        log_odds = self._baseline + sum(self._steps.look_up(vector))
        if self._masks.columns:
            log_odds += self._leaves.sums((reduce(and_, self._masks.look_up(vector)),))[0]
        return log_odds, self._calibration.probability(log_odds)

    def contributions(self, vector: Sequence[float], reference: Sequence[float] | None = None) -> tuple[float, ...]:
        return self._compare(vector, reference)[1]

    def explain(self, vector: Sequence[float], reference: Sequence[float] | None = None) -> Score:
        log_odds, contributions = self._compare(vector, reference)
        return Score(self._calibration.probability(log_odds), log_odds, contributions)

    def _compare(self, vector: Sequence[float], reference: Sequence[float] | None) -> tuple[float, tuple[float, ...]]:
        """The log-odds, and for each feature how much lower they would be if only it had its reference value."""
        moved = [0.0] * len(self.feature_names)
        steps, usual_steps = self._steps.look_up(vector), self._usual_steps
        if reference is not None:
            usual_steps = self._steps.look_up(reference)
        for column, here, usual in zip(self._steps.columns, steps, usual_steps, strict=True):
            moved[column] = here - usual
        log_odds = self._baseline + sum(steps)
        if self._masks.columns:
            usual_masks = self._usual_masks if reference is None else self._masks.look_up(reference)
            log_odds += self._compare_masks(self._masks.look_up(vector), usual_masks, moved)
        return log_odds, tuple(moved)

    def _compare_masks(self, masks: list[int], usual: list[int], moved: list[float]) -> float:
        """Add each feature's contribution through the joint trees to `moved`; return the sum of those trees' leaves.

        The AND of all masks but one is that of the masks before it (a prefix) and of those after it (a suffix).
        """
        before = accumulate(masks, and_, initial=-1)
        after = [*accumulate(reversed(masks), and_, initial=-1)][::-1]
        alive = after[0]
        changed = {
            column: mask
            for column, here, there, b, a in zip(self._masks.columns, masks, usual, before, after[1:], strict=False)
            if here is not there and (mask := b & a & there) != alive
        }
        total, *sums = self._leaves.sums([alive, *changed.values()])
        for column, without in zip(changed, sums, strict=True):
            moved[column] += total - without
        return total


def _by_features(trees: Iterable[Tree], column: dict[str, int]) -> tuple[float, dict[int, list[Tree]], list[Tree]]:
    """Divide trees into those without a split (returns their sum), with splits on one column, and on several."""
    constant = 0.0
    single: dict[int, list[Tree]] = defaultdict(list)
    joint: list[Tree] = []
    for tree in trees:
        columns = {column[node.feature] for node in tree if isinstance(node, Split)}
        if not columns:
            constant += sum(_leaves(tree))
        elif len(columns) == 1:
            single[columns.pop()].append(tree)
        else:
            joint.append(tree)
    return constant, single, joint


def _steps(trees: Sequence[Tree]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The cuts of trees on one feature, and the sum of their leaves per bin: missing, up to each cut, and above."""
    cuts = _cuts(node for tree in trees for node in tree if isinstance(node, Split))
    return cuts, tuple(sum(_walk(tree, value) for tree in trees) for value in (nan, *cuts, inf))


def _walk(tree: Tree, value: float) -> float:
    node = tree[0]
    while isinstance(node, Split):
        left = node.missing_left if isnan(value) else value <= _threshold(node)
        node = tree[node.left if left else node.right]
    return node


def _masks(
    trees: Sequence[Tree], column: dict[str, int], bits: int
) -> dict[int, tuple[tuple[float, ...], tuple[int, ...]]]:
    """For each column, its cuts, and for each of its bins the mask of the leaves that stay reachable.

    `bits` is the width of a tree's lane.
    """
    splits: dict[int, list[Split]] = defaultdict(list)
    above: dict[tuple[int, float], int] = defaultdict(int)
    below: dict[tuple[int, float], int] = defaultdict(int)
    missing: dict[int, int] = defaultdict(int)
    everything = 0
    for index, tree in enumerate(trees):
        reach = _reach(tree, index * bits)
        everything |= reach[0]
        for node in tree:
            if isinstance(node, Split):
                feature, threshold = column[node.feature], _threshold(node)
                splits[feature].append(node)
                above[feature, threshold] |= reach[node.left]
                below[feature, threshold] |= reach[node.right]
                missing[feature] |= reach[node.right if node.missing_left else node.left]
    table = {}
    for feature, nodes in splits.items():
        cuts = _cuts(nodes)
        passed = accumulate((above[feature, cut] for cut in cuts), or_, initial=0)
        ahead = [*accumulate((below[feature, cut] for cut in reversed(cuts)), or_, initial=0)][::-1]
        dropped = (missing[feature], *map(or_, passed, ahead))
        table[feature] = (cuts, tuple(everything & ~mask for mask in dropped))
    return table


def _reach(tree: Tree, first: int) -> list[int]:
    """For each node, the mask of the leaves below it. The tree's first leaf has bit number `first`."""
    reach = [0] * len(tree)
    bit = first + len(_leaves(tree))
    for index in reversed(range(len(tree))):
        node = tree[index]
        if isinstance(node, Split):
            reach[index] = reach[node.left] | reach[node.right]
        else:
            bit -= 1
            reach[index] = 1 << bit
    return reach


def _lane_bytes(leaves: int) -> int:
    """Size in bytes of the smallest machine word with a bit for each leaf: 1, 2, 4 or 8."""
    return next(size for size in (1, 2, 4, 8) if leaves <= 8 * size)


def _leaves(tree: Tree) -> list[float]:
    return [node for node in tree if not isinstance(node, Split)]


def _cuts(nodes: Iterable[Split]) -> tuple[float, ...]:
    return tuple(sorted({_threshold(node) for node in nodes}))


def _threshold(node: Split) -> float:
    return inf if node.threshold is None else node.threshold
