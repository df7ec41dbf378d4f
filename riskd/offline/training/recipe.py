"""How a model is trained: every choice that does not come from the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

from msgspec import Struct

from riskd.core.errors import InvalidSettings, Problem
from riskd.core.model import MAX_LEAVES, MAX_TREES
from riskd.offline.labels import LabelSource

MOST_WEIGHT: Final = 100.0
"""The largest weight of a class of attack: with a larger one, nothing else would be learned."""


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same recipe, rows and version of riskd give the same bytes."""

    trees: int = 60
    leaves: int = 32
    """The largest number of leaves of a tree."""
    raising: int = 0
    """Additional trees on top, of as many leaves, without monotonic constraints; they can only raise the log-odds."""
    learning_rate: float = 0.2
    l2: float = 5.0
    """L2 regularisation of leaf values, in units of summed Hessians."""
    min_rows: int = 20
    """The smallest number of rows in a leaf."""
    base_share: float = 1.0
    """The share of the base's weights to keep. A weight is kept whole if the rows have at most one value of its
    feature. Trees with monotonic constraints can add to a weight, but not reduce it."""
    fraud_share: float = 0.2
    """The share of all weight that fraud has, in every journey, whatever its share of the rows."""
    class_weights: dict[str, float] = {}
    """Relative weights of classes of attack (default: 1), within the weight of all fraud."""
    holdout: float = 0.25
    """The share of the rows, the latest ones, on which the model is evaluated."""
    tuning: float = 0.15
    """The share of the rows, those before the holdout, on which the calibration is fitted."""
    embargo_days: float = 2.0
    """Days left out before the tuning rows and before the holdout, because features count events of the day before."""
    most_rows: int = 300_000
    """The largest number of good rows to train on, drawn at random: more add little and cost time and memory."""
    prior: float | None = None
    """The share of attempts that are fraud where the model will serve; None: as in the rows."""
    without: tuple[str, ...] = ()
    """Classes of attack that are left out of training."""
    seed: int = 0


def checked(**choices: Any) -> Recipe:  # noqa: ANN401 - the fields of a recipe
    """A recipe with these choices. Raises InvalidSettings that lists every one that is out of bounds."""
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
        what = f"{recipe.trees} and {recipe.raising} are more than riskd serves"
        yield Problem("--trees and --raising", what, f"together at most {MAX_TREES}")
    if recipe.holdout + recipe.tuning > 0.9:
        what = f"{recipe.holdout:g} and {recipe.tuning:g} leave nothing to train on"
        yield Problem("--holdout and --tuning", what, "together at most 0.9")


class Training(Struct, frozen=True, kw_only=True):
    """`training.json` in a bundle: what the model was trained on, how, and with what."""

    format: Literal["riskd.training/1"] = "riskd.training/1"
    recipe: Recipe
    base: str
    """Version of the bundle that the trees were boosted on; '' if there was none."""
    code: str
    """Version of riskd."""
    library: str
    """Name and version of the learning library."""
    data: str
    """SHA-256 over all rows."""
    sources: tuple[str, ...]
    """Names of the logs or data sets, without their directories."""
    labels: LabelSource
    rows: dict[str, int]
    """Number of rows by part (`train`, `tuning`, `holdout`) and label."""
    attacks: dict[str, int]
    """Number of training rows of each class of attack, where classes are known."""
    sample: str = ""
    """A sample of the rows that trees or calibration have seen (`seen.sample`), by which `riskd evaluate` knows them
    again; '' if the bundle is from before it was kept."""
