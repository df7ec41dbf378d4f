"""How a model is trained: every choice that is not in the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

from msgspec import Struct

from riskd.core.errors import InvalidSettings, Problem
from riskd.core.model import MAX_LEAVES, MAX_TREES

MOST_WEIGHT: Final = 100.0
"""Of a class of attack: one that weighs more is all that is learnt."""


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two trainings by the same recipe, of the same rows, by the same version of riskd, give the same bytes."""

    trees: int = 60
    leaves: int = 32
    """At most, of each tree."""
    raising: int = 0
    """Trees on top of those, of as many leaves, which are held to no direction and only raise the log-odds."""
    learning_rate: float = 0.2
    l2: float = 5.0
    """Hessians that a leaf is drawn towards zero by."""
    min_rows: int = 20
    """Of a leaf."""
    base_share: float = 1.0
    """What is kept of each weight of the base: all of it where the rows know one value of a feature at most. Trees that
    are held to directions can add to a weight, never take."""
    fraud_share: float = 0.2
    """The share of the weight that all fraud has together, in every journey, whatever its share of the rows."""
    class_weights: dict[str, float] = {}
    """What a class of attack weighs beside the others, 1 where it is not named, within what all fraud weighs."""
    holdout: float = 0.25
    """The share of the rows, the latest, that the model is judged by."""
    tuning: float = 0.15
    """The share of the rows, those before the holdout, that the calibration is fitted to."""
    embargo_days: float = 2.0
    """Left out before the tuning and before the holdout rows: counts of the last day reach over the border."""
    most_rows: int = 300_000
    """Rows without fraud that are trained on, drawn by lot: more of them tell little and cost time and memory."""
    prior: float | None = None
    """The share of attempts that is fraud where the model will serve; None: as in the rows."""
    without: tuple[str, ...] = ()
    """Classes of attack that are left out of training."""
    seed: int = 0


def checked(**choices: Any) -> Recipe:  # noqa: ANN401 - the fields of a recipe
    """A recipe of these choices. Raises InvalidSettings with every one that is out of bounds."""
    recipe = Recipe(**choices)
    problems = list(_problems(recipe))
    if problems:
        raise InvalidSettings(problems)
    return recipe


def _problems(recipe: Recipe) -> Iterator[Problem]:
    bounds: tuple[tuple[str, float, float], ...] = (
        ("trees", 1, MAX_TREES),
        ("leaves", 2, MAX_LEAVES),
        ("raising", 0, MAX_TREES),
        ("learning_rate", 1e-4, 1.0),
        ("l2", 0.0, 1e9),
        ("min_rows", 1, 1e9),
        ("base_share", 0.0, 1.0),
        ("fraud_share", 1e-6, 0.9),
        ("holdout", 0.05, 0.9),
        ("tuning", 0.02, 0.9),
        ("embargo_days", 0.0, 366.0),
        ("most_rows", 1_000, 1e9),
        ("prior", 1e-9, 0.5),
        ("seed", 0, 2**32 - 1),
    )
    for name, low, high in bounds:
        value = getattr(recipe, name)
        if value is not None and not low <= value <= high:
            yield Problem(f"--{name.replace('_', '-')}", f"{value:g} is out of bounds", f"from {low:g} to {high:g}")
    for name, weight in recipe.class_weights.items():
        if not MOST_WEIGHT >= weight > 0:
            yield Problem(
                "--weight", f"{name!r} weighs {weight:g}", f"{name}=N with a number above 0, at most {MOST_WEIGHT:g}"
            )
    if recipe.trees + recipe.raising > MAX_TREES:
        what = f"{recipe.trees} and {recipe.raising} are more than are served"
        yield Problem("--trees and --raising", what, f"together at most {MAX_TREES}")
    if recipe.holdout + recipe.tuning > 0.9:
        what = f"{recipe.holdout:g} and {recipe.tuning:g} leave nothing to train on"
        yield Problem("--holdout and --tuning", what, "together at most 0.9")


class Training(Struct, frozen=True, kw_only=True):
    """`training.json` of a bundle: what it was trained on, how, and by what."""

    format: Literal["riskd.training/1"] = "riskd.training/1"
    recipe: Recipe
    base: str
    """Version of the bundle that the trees were boosted on top of; '' for none."""
    code: str
    """Version of riskd."""
    library: str
    """Name and version of the learner."""
    data: str
    """SHA-256 over all rows."""
    sources: tuple[str, ...]
    """Names of the logs or data sets, without their directories."""
    labels: Literal["truth", "outcomes"]
    rows: dict[str, int]
    """Rows of each part: `train`, `tuning`, `holdout`, of each label."""
    attacks: dict[str, int]
    """Rows of each class of attack that were trained on, where classes are known."""
