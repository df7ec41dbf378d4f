"""A model's behaviour in a form that people can check: what moves its scores, and a dozen decisions explained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from riskd.core.forest import Forest
from riskd.offline.rows import FRAUD, GOOD, HONEST, Rows, log_odds_of

SAMPLE: Final = 1_000
"""Importances are averages over at most this many rows of either label."""
EXAMPLES: Final = 12
MOVES: Final = 5
"""How many contributions an example shows."""


class Importance(Struct, frozen=True, kw_only=True):
    """How far a feature moves log-odds: the mean absolute contribution, over good and over fraudulent rows."""

    feature: str
    good: float
    fraud: float


class Example(Struct, frozen=True, kw_only=True):
    """One decision. `moves` are its strongest contributions: feature, value, log-odds.

    `found`: whether it is challenged at 1 % false positives.
    """

    id: str
    attack: str
    found: bool
    probability: float
    moves: tuple[tuple[str, float, float], ...]


def importances(forest: Forest, rows: Rows, seed: int = 0) -> tuple[Importance, ...]:
    """Every feature that moves a score, the strongest first, over a sample of rows."""
    random = np.random.default_rng(seed)
    means = []
    for label in (GOOD, FRAUD):
        chosen = _drawn(np.flatnonzero(rows.labels == label), SAMPLE, random)
        moved = [forest.contributions(row) for row in rows.vectors[chosen].tolist()]
        means.append(np.abs(np.array(moved)).mean(axis=0) if moved else np.zeros(len(rows.names)))
    order = np.argsort(-(means[0] + means[1]), kind="stable")
    return tuple(
        Importance(feature=rows.names[at], good=float(means[0][at]), fraud=float(means[1][at]))
        for at in order
        if means[0][at] + means[1][at] > 0
    )


def examples(forest: Forest, rows: Rows, threshold: float, seed: int = 0) -> tuple[Example, ...]:
    """Random decisions: for each class of attack one found and one missed, and some honest attempts that are
    challenged, none of them with a wrong credential."""
    scores = log_odds_of(forest, rows.vectors)
    random = np.random.default_rng(seed)
    chosen = [at for kind in _kinds(rows, scores > threshold) for at in _drawn(kind, 1, random)]
    challenged = (rows.labels == GOOD) & ~rows.wrong_credential & (scores > threshold)
    honest = _drawn(np.flatnonzero(challenged), EXAMPLES // 4, random)
    picked = [*chosen[: EXAMPLES - len(honest)], *honest]
    return tuple(_example(forest, rows, int(at), found=bool(scores[at] > threshold)) for at in picked)


def _kinds(rows: Rows, found: NDArray[np.bool_]) -> Iterator[NDArray[np.intp]]:
    """Positions of the attacks of each class that are found, then of those that are missed."""
    fraud = rows.labels == FRAUD
    for wanted in (True, False):
        for attack in np.unique(rows.attacks[fraud]):
            yield np.flatnonzero(fraud & (rows.attacks == attack) & (found == wanted))


def _drawn(positions: NDArray[np.intp], most: int, random: np.random.Generator) -> NDArray[np.intp]:
    return np.sort(random.choice(positions, most, replace=False)) if len(positions) > most else positions


def _example(forest: Forest, rows: Rows, at: int, *, found: bool) -> Example:
    vector = rows.vectors[at].tolist()
    explanation = forest.explain(vector)
    moved: Mapping[str, float] = dict(zip(rows.names, explanation.contributions or (), strict=True))
    strongest = sorted((name for name, by in moved.items() if by), key=lambda name: -abs(moved[name]))[:MOVES]
    attack = str(rows.attacks[at])
    return Example(
        id=str(rows.ids[at]),
        attack=attack if attack != HONEST else "honest" if rows.labels[at] == GOOD else "fraud",
        found=found,
        probability=explanation.probability,
        moves=tuple((name, vector[rows.names.index(name)], moved[name]) for name in strongest),
    )
