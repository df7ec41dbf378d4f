"""Training from beginning to end: rows in; a forest and the rows held out from it out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from riskd.core.model import ForestDocument, Split, Tree
from riskd.offline.evaluation.operating import Floats
from riskd.offline.rows import FRAUD, GOOD, UNKNOWN, Rows, joined
from riskd.offline.training.boosting import boost, boost_raising
from riskd.offline.training.calibration import Curve, fit_curve, knots, shifted
from riskd.offline.training.export import export_forest, log_odds
from riskd.offline.training.recipe import Recipe
from riskd.offline.training.split import split
from riskd.offline.training.weights import Delay, reporting_delay, weights
from riskd.progress import Begin, ignore_progress

STEPS: Final = 4


class Material(Struct, frozen=True, kw_only=True):
    """What a recipe is applied to: the parts of all sources, and the base's log-odds for their rows.

    `ages` are seconds from an attempt to the day on which its part's labels were read.
    """

    train: Rows
    train_ages: Floats
    train_given: Floats
    tuning: Rows
    tuning_ages: Floats
    tuning_given: Floats
    holdout: Rows
    holdout_ages: Floats
    delay: Delay
    base: ForestDocument | None
    """The base, scaled as the recipe says."""


class Fitted(Struct, frozen=True, kw_only=True):
    """Estimators, each boosted on those before it and all of them on a base, and their calibration."""

    estimators: tuple[HistGradientBoostingClassifier, ...]
    curve: Curve

    def log_odds(self, vectors: Floats, given: Floats) -> Floats:
        """The log-odds of rows for which the base's log-odds are `given`."""
        return _on_top(given, self.estimators, vectors)


class Trained(Struct, frozen=True, kw_only=True):
    """A served forest, its calibration, and the rows that it was trained and will be evaluated on.

    `base`: what it was boosted on, before the recipe's share was taken of it.
    """

    document: ForestDocument
    base: ForestDocument | None
    curve: Curve
    material: Material


def train(
    sources: Sequence[Rows], recipe: Recipe, base: ForestDocument | None = None, begin: Begin = ignore_progress
) -> Trained:
    """Train with a recipe, on top of `base` if there is one.

    1. Split each source in time, with an embargo and labels as of the day. 2. Weigh rows by how likely their label
    would be known; boost with monotonic constraints, then raising trees. 3. Calibrate on the tuning rows. 4. Export,
    and compare with the estimator on the holdout.

    Raises InvalidFile for rows that cannot be learned from, and InvalidModel for an export that does not agree.
    """
    done = begin("training", STEPS)
    material = prepare(sources, recipe, base)  # (1)
    done(1)
    fitted = fit(material, recipe)  # (2), (3)
    done(2)
    document = exported(fitted, material)  # (4)
    done(1)
    return Trained(document=document, base=base, curve=fitted.curve, material=material)


def prepare(sources: Sequence[Rows], recipe: Recipe, base: ForestDocument | None) -> Material:
    """Split and join the sources, and compute the base's log-odds. Raises InvalidFile."""
    parts = [split(rows, recipe) for rows in sources]
    learnt, tuning = joined([part.train for part in parts]), joined([part.tuning for part in parts])
    if base is not None:
        base = scaled(base, recipe.base_share, unvaried(learnt))
    names, ages = learnt.names, np.concatenate([part.trained - part.train.times for part in parts])
    if (positions := _drawn(learnt, recipe)) is not None:
        learnt, ages = learnt.where(positions), ages[positions]
    return Material(
        train=learnt,
        train_ages=ages,
        train_given=base_log_odds(base, names, learnt.vectors),
        tuning=tuning,
        tuning_ages=np.concatenate([part.tuned - part.tuning.times for part in parts]),
        tuning_given=base_log_odds(base, names, tuning.vectors),
        holdout=joined([part.holdout for part in parts]),
        holdout_ages=np.concatenate([part.read - part.holdout.times for part in parts]),
        delay=reporting_delay([(part.train, part.trained) for part in parts]),
        base=base,
    )


def _drawn(rows: Rows, recipe: Recipe) -> NDArray[np.intp] | None:
    """Positions of all fraud and of `most_rows` good rows, in order; None if there are no more of these.

    Unlabelled rows, which teach nothing, take no place of a good one.
    """
    good = np.flatnonzero(rows.labels == GOOD)
    if len(good) <= recipe.most_rows:
        return None
    drawn = np.random.default_rng(recipe.seed).choice(good, recipe.most_rows, replace=False)
    positions: NDArray[np.intp] = np.sort(np.concatenate([np.flatnonzero(rows.labels == FRAUD), drawn]))
    return positions


def unvaried(rows: Rows) -> set[str]:
    """Names of features with at most one value in these rows, from which their meaning cannot be learned."""
    most = np.fmax.reduce(rows.vectors, axis=0, initial=-np.inf)
    least = np.fmin.reduce(rows.vectors, axis=0, initial=np.inf)
    return {name for name, alike in zip(rows.names, most <= least, strict=True) if alike}


def scaled(document: ForestDocument, share: float, whole: Collection[str] = ()) -> ForestDocument:
    """The forest with this share of its log-odds, and without its calibration unless the share is 1.

    Step functions of features in `whole` are kept unscaled, because they could not be learned again. Those scaled to
    nothing are left out.
    """
    if share == 1.0:
        return document
    factors = [(each, 1.0 if each.feature in whole else share) for each in document.steps]
    steps = [
        msgspec.structs.replace(
            each, values=tuple([factor * value for value in each.values]), missing=factor * each.missing
        )
        for each, factor in factors
        if factor
    ]
    trees = [tuple([node if isinstance(node, Split) else share * node for node in tree]) for tree in document.trees]
    return msgspec.structs.replace(
        document, baseline=share * document.baseline, calibration=(), steps=tuple(steps), trees=tuple(trees)
    )


def base_log_odds(base: ForestDocument | None, names: Sequence[str], vectors: Floats) -> Floats:
    """The log-odds of a base, before its calibration; zero without one."""
    return np.zeros(len(vectors)) if base is None else log_odds(base, names, vectors)


def fit(material: Material, recipe: Recipe) -> Fitted:
    """Boost and calibrate."""
    rows = _without(material.train, recipe)
    weighed = weights(rows, material.train_ages, material.delay, recipe.fraud_share, recipe.class_weights)
    used = weighed > 0
    vectors, fraud, weighed, given = (
        rows.vectors[used],
        rows.labels[used] == FRAUD,
        weighed[used],
        material.train_given[used],
    )
    constrained = boost(vectors, fraud, weighed, names=rows.names, recipe=recipe, given=given)
    estimators = [constrained]
    if recipe.raising:
        given = _on_top(given, estimators, vectors)
        estimators.append(boost_raising(vectors, fraud, weighed, recipe=recipe, given=given))
    return Fitted(estimators=tuple(estimators), curve=_calibrated(estimators, material, recipe))


def _on_top(given: Floats, estimators: Sequence[HistGradientBoostingClassifier], vectors: Floats) -> Floats:
    """The log-odds of rows by a base and what is boosted on it."""
    total: Floats = sum((estimator.decision_function(vectors) for estimator in estimators), given)
    return total


def _without(rows: Rows, recipe: Recipe) -> Rows:
    """The rows, with the label removed from classes that are left out."""
    hidden = np.isin(rows.attacks, recipe.without)
    if not hidden.any():
        return rows
    return msgspec.structs.replace(rows, labels=np.where(hidden, UNKNOWN, rows.labels).astype(np.int8))


def _calibrated(estimators: Sequence[HistGradientBoostingClassifier], material: Material, recipe: Recipe) -> Curve:
    """The calibration, fitted to the tuning rows and adjusted to the recipe's prior."""
    rows = _without(material.tuning, recipe)
    weighed = weights(rows, material.tuning_ages, material.delay, None)
    used = weighed > 0
    fraud, weighed = rows.labels[used] == FRAUD, weighed[used]
    raw = _on_top(material.tuning_given[used], estimators, rows.vectors[used])
    curve = fit_curve(raw, fraud, weighed)
    return shifted(curve, float(weighed[fraud].sum() / weighed.sum()), recipe.prior)


def exported(fitted: Fitted, material: Material) -> ForestDocument:
    """The forest as it is served. Raises InvalidModel if it differs from the estimators on the holdout."""
    rows, references = material.holdout, usual(material.train)
    document = material.base or ForestDocument(baseline=0.0, references={})
    for estimator in fitted.estimators:
        document = export_forest(estimator, rows.names, references, rows.vectors, base=document)
    return msgspec.structs.replace(document, calibration=knots(fitted.curve, *_reach(document)))


def usual(rows: Rows) -> dict[str, float | None]:
    """The median of each feature among good rows; None if most of them lack it."""
    good = rows.vectors[rows.labels == GOOD]
    medians: dict[str, float | None] = {}
    for column, name in enumerate(rows.names):
        present = good[~np.isnan(good[:, column]), column]
        medians[name] = float(np.round(np.median(present), 6)) if 2 * len(present) > len(good) else None
    return medians


def _reach(document: ForestDocument) -> tuple[float, float]:
    """The lowest and the highest log-odds that a forest can produce."""

    def leaves(tree: Tree) -> list[float]:
        return [node for node in tree if not isinstance(node, Split)]

    trees = [leaves(tree) for tree in document.all_trees()]
    return document.baseline + sum(map(min, trees)), document.baseline + sum(map(max, trees))
