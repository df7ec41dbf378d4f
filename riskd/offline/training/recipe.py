"""How a model is trained: every choice that is not in the data."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two trainings by the same recipe, of the same rows, by the same version of riskd, give the same bytes."""

    trees: int = 60
    leaves: int = 16
    """At most, of each tree."""
    learning_rate: float = 0.1
    l2: float = 10.0
    """Hessians that a leaf is drawn towards zero by."""
    min_rows: int = 40
    """Of a leaf."""
    fraud_share: float = 0.2
    """The share of the weight that all fraud has together, whatever its share of the rows. Classes of attack share it
    equally where they are known, so that a loud class does not drown a skilled one."""
    holdout: float = 0.25
    """The share of the rows, the latest, that the model is judged by."""
    tuning: float = 0.15
    """The share of the rows, those before the holdout, that the calibration is fitted to."""
    embargo_days: float = 2.0
    """Left out before the tuning and before the holdout rows: counts of the last day reach over the border."""
    prior: float | None = None
    """The share of attempts that is fraud where the model will serve; None: as in the rows."""
    without: tuple[str, ...] = ()
    """Classes of attack that are left out of training."""
    seed: int = 0


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
