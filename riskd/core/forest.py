"""The served forest: what is left to do for a vector once a model has been compiled to tables.

After QuickScorer (Lucchese et al., SIGIR 2015). The thresholds that a forest has on a feature cut its
values into bins, and one more bin is for a missing value. Every leaf of the forest is one bit of a long
integer. For each bin there is a mask of the leaves that it leaves reachable: for every node on that
feature, the subtree not taken is dropped. The AND of one mask a feature has exactly one bit per tree.

A tree that asks about one feature only is known as soon as its bin is: such trees are summed per bin
when the model is compiled, and cost one look-up together.
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
"""Problems that one error lists; a corrupt file may have a million."""

T = TypeVar("T")


class Bins(Generic[T]):
    """An entry for each bin of each column of a vector. Bin 0 is for a missing value."""

    __slots__ = ("_cuts", "_entries", "_pick", "columns")

    def __init__(self, table: dict[int, tuple[tuple[float, ...], tuple[T, ...]]]) -> None:
        """`table` maps a column to its cuts, which rise, and to an entry for missing and for each bin."""
        self.columns: Final = tuple(sorted(table))
        # bisect_left puts NaN, which is never above anything, at 0, and every finite number past -inf.
        self._cuts: Final = tuple((-inf, *table[column][0]) for column in self.columns)
        self._entries: Final = tuple(table[column][1] for column in self.columns)
        # Of a single column itemgetter makes no tuple, and of none nothing; `map` never reads the two extra.
        self._pick: Final = itemgetter(*self.columns, 0, 0)

    def look_up(self, vector: Sequence[float]) -> list[T]:
        """The entry of each column's bin, in the order of `columns`."""
        return list(map(getitem, self._entries, map(bisect_left, self._cuts, self._pick(vector))))


class Leaves:
    """The leaf values of the trees, one lane of bits for each tree."""

    __slots__ = ("_first", "_size", "_values", "_word")

    def __init__(self, values: Sequence[Sequence[float]], lane: int) -> None:
        bits = 8 * lane
        self._word: Final = np.dtype(f"<u{lane}")
        self._size: Final = lane * len(values)
        self._first: Final = np.arange(len(values), dtype=np.intp) * bits
        self._values: Final = np.array([[*tree, *[0.0] * (bits - len(tree))] for tree in values]).ravel()

    def sums(self, masks: Sequence[int]) -> list[float]:
        """For each mask, the sum of the leaves that it keeps, which are one a tree."""
        raw = b"".join([mask.to_bytes(self._size, "little") for mask in masks])
        lanes = np.frombuffer(raw, self._word).reshape(len(masks), -1)
        # Below a single bit there are as many ones as its index.
        chosen: NDArray[np.float64] = self._values.take(np.bitwise_count(lanes - 1) + self._first)
        sums: list[float] = np.add.reduce(chosen, axis=1).tolist()
        return sums


class Forest:
    """A compiled model: a `Scorer`. Nothing in it changes, so that threads share it."""

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

        Raises InvalidModel with all problems, the first hundred of them, when it is not acceptable.
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
        """The log-odds, and for each feature how much lower they would be with it alone at its reference."""
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
        """Add to `moved` what each feature does through the joint trees, and return the sum of their leaves.

        Leaving one feature out is the AND of all masks before it and all after it.
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
    """The sum of the trees that ask nothing, those that ask of one column, by column, and the others."""
    constant = 0.0
    single: dict[int, list[Tree]] = defaultdict(list)
    joint: list[Tree] = []
    for tree in trees:
        asked = {column[node.feature] for node in tree if isinstance(node, Split)}
        if not asked:
            constant += sum(_leaves(tree))
        elif len(asked) == 1:
            single[asked.pop()].append(tree)
        else:
            joint.append(tree)
    return constant, single, joint


def _steps(trees: Sequence[Tree]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Cuts, and the sum of the trees' leaves when missing, up to each cut, and beyond the last."""
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
    """For each column, its cuts, and the mask of each of its bins over the leaves of all trees."""
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
    """For each node the leaves below it, as bits; the tree's first leaf has bit `first`."""
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
    """Bytes of the smallest machine word with a bit for each leaf: 1, 2, 4 or 8."""
    return next(size for size in (1, 2, 4, 8) if leaves <= 8 * size)


def _leaves(tree: Tree) -> list[float]:
    return [node for node in tree if not isinstance(node, Split)]


def _cuts(nodes: Iterable[Split]) -> tuple[float, ...]:
    return tuple(sorted({_threshold(node) for node in nodes}))


def _threshold(node: Split) -> float:
    return inf if node.threshold is None else node.threshold
