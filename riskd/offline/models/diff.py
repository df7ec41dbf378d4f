"""Describes what changed between two models, and how far it moves scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from msgspec import Struct

from riskd.core.forest import Forest
from riskd.core.model import ForestDocument, Split, Steps
from riskd.wording import figure, quantity

EXAMPLES = 5


class Shift(Struct, frozen=True, kw_only=True):
    """How the scores of the same rows differ. Quantiles are of the absolute change of the probability.

    `order` is the share of pairs of neighbouring rows that both models rank in the same order (1: the same ranking).
    `examples` are the ids whose scores move most, with both scores.
    """

    rows: int
    rose: int
    fell: int
    median: float
    p99: float
    largest: float
    order: float
    examples: tuple[tuple[str, float, float], ...]


def changes(old: ForestDocument, new: ForestDocument) -> Iterator[str]:
    """Each change, as one sentence."""
    gained, lost = set(new.features()) - set(old.features()), set(old.features()) - set(new.features())
    if gained:
        yield f"reads {quantity(len(gained), 'more feature')}: {', '.join(sorted(gained))}"
    if lost:
        yield f"no longer reads {quantity(len(lost), 'feature')}: {', '.join(sorted(lost))}"
    if old.baseline != new.baseline:
        yield f"baseline {old.baseline:+.4g} becomes {new.baseline:+.4g}"
    yield from _steps(old.steps, new.steps)
    yield from _trees(old, new)
    for name in sorted(set(old.references) & set(new.references)):
        before, after = old.references[name], new.references[name]
        if before != after:
            yield f"{name}: usual is {figure(after)}, was {figure(before)}"
    if old.calibration != new.calibration:
        yield f"calibration: {_calibration(old)} becomes {_calibration(new)}"


def shift(old: Forest, new: Forest, rows: Sequence[tuple[str, Sequence[float]]]) -> Shift:
    """Compare the scores of two models for rows of (id, vector)."""
    scored = [(name, old.score(vector)[1], new.score(vector)[1]) for name, vector in rows]
    moved = sorted(abs(after - before) for _, before, after in scored)
    pairs = [
        (left[1] - right[1]) * (left[2] - right[2])
        for left, right in pairwise(scored)
        if left[1] != right[1] or left[2] != right[2]
    ]
    return Shift(
        rows=len(scored),
        rose=sum(after > before for _, before, after in scored),
        fell=sum(after < before for _, before, after in scored),
        median=moved[len(moved) // 2] if moved else 0.0,
        p99=moved[math.ceil(0.99 * len(moved)) - 1] if moved else 0.0,
        largest=moved[-1] if moved else 0.0,
        order=sum(product > 0 for product in pairs) / len(pairs) if pairs else 1.0,
        examples=tuple(sorted(scored, key=lambda each: -abs(each[2] - each[1]))[:EXAMPLES]),
    )


def _steps(old: Sequence[Steps], new: Sequence[Steps]) -> Iterator[str]:
    """Changes of the step functions, feature by feature; a feature may have several."""
    before, after = _by_feature(old), _by_feature(new)
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name, []), after.get(name, [])
        if was != now:
            yield f"{name}: {' and '.join(now) or 'no weight of its own'}, was {' and '.join(was) or 'without weight'}"


def _by_feature(steps: Sequence[Steps]) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    for each in steps:
        texts.setdefault(each.feature, []).append(function(each))
    return texts


def function(steps: Steps) -> str:
    """`-0.3 (0.5), +0.6`: each value with its upper cut, the last without one; then the value if missing."""
    bounded = [f"{value:+g} ({cut:g})" for value, cut in zip(steps.values, steps.cuts, strict=False)]
    return ", ".join([*bounded, f"{steps.values[-1]:+g}", f"missing {steps.missing:+g}"])


def _trees(old: ForestDocument, new: ForestDocument) -> Iterator[str]:
    if old.trees == new.trees:
        return
    shared = len(set(old.trees) & set(new.trees))
    leaves = [sum(not isinstance(node, Split) for tree in each.trees for node in tree) for each in (old, new)]
    yield (
        f"{len(new.trees)} trees with {leaves[1]} leaves, was {len(old.trees)} with {leaves[0]}"
        + (f"; {shared} are the same" if shared else "")
    )
    before, after = _asked(old), _asked(new)
    moved = sorted(before.keys() | after.keys(), key=lambda name: (-abs(after[name] - before[name]), name))
    changes = [f"{name} {before[name]} -> {after[name]}" for name in moved if before[name] != after[name]]
    if changes:
        yield f"splits of the trees by feature, the largest changes: {', '.join(changes[:8])}"


def _asked(document: ForestDocument) -> Counter[str]:
    return Counter(node.feature for tree in document.trees for node in tree if isinstance(node, Split))


def _calibration(document: ForestDocument) -> str:
    knots = document.calibration
    if not knots:
        return "uncalibrated log-odds"
    return f"{len(knots)} knots from {knots[0][1]:.3g} to {knots[-1][1]:.3g}"
