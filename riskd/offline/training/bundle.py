"""Writes a training's results: the bundle, with its card, its recipe and its figures on the holdout."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import sklearn
from msgspec import Struct

from riskd.adapters.model_file import REFERENCE, TRAINING, Manifest, write_bundle
from riskd.core.drift import Reference
from riskd.core.features import DEFINITIONS
from riskd.core.forest import Forest
from riskd.offline.drift.bins import Batch, reference, thinned
from riskd.offline.evaluation.document import CANDIDATE, CHAMPION, RATES, Judged
from riskd.offline.evaluation.judging import judge, scored_by
from riskd.offline.labels import LabelSource
from riskd.offline.logs import attacks_of
from riskd.offline.rows import FRAUD, GOOD, UNKNOWN
from riskd.offline.training.card import card
from riskd.offline.training.recipe import Recipe, Training
from riskd.offline.training.seen import sample
from riskd.offline.training.train import Trained
from riskd.progress import Begin, ignore_progress

RESAMPLES: Final = 100
REFERENCE_ROWS: Final = 50_000
_LABELS: Final = {"good": GOOD, "fraud": FRAUD, "unlabelled": UNKNOWN}


class Origin(Struct, frozen=True, kw_only=True):
    """Where the rows came from. `base`: version of the bundle that the trees were boosted on, '' if none."""

    domain: str
    sources: tuple[str, ...]
    data: str
    labels: LabelSource
    base: str
    code: str
    created: str


class Report(Struct, frozen=True, kw_only=True):
    """What `riskd train --json` prints."""

    bundle: str
    training: Training
    calibration: str
    trees: int
    models: dict[str, Judged]
    """Figures on the holdout of the candidate and, as `champion`, of its base."""


def _training(trained: Trained, recipe: Recipe, origin: Origin) -> Training:
    """`training.json`."""
    material = trained.material
    parts = {"train": material.train, "tuning": material.tuning, "holdout": material.holdout}
    counted = material.train.where(material.train.labels == FRAUD)
    return Training(
        recipe=recipe,
        base=origin.base,
        code=origin.code,
        library=f"scikit-learn {sklearn.__version__}",
        data=origin.data,
        sources=origin.sources,
        labels=origin.labels,
        rows={
            f"{part} {name}": int(np.count_nonzero(rows.labels == label))
            for part, rows in parts.items()
            for name, label in _LABELS.items()
        },
        attacks={name: rows for name, rows in attacks_of(counted).items() if name not in recipe.without},
        sample=sample((material.train, material.tuning)),
    )


def on_holdout(trained: Trained, recipe: Recipe, begin: Begin = ignore_progress) -> dict[str, Judged]:
    """The figures on the holdout of the candidate and its base, by their served forests."""
    rows, scored = trained.material.holdout, {}
    documents = {CANDIDATE: trained.document} | ({CHAMPION: trained.base} if trained.base else {})
    done = begin("judging", 2 * len(documents))
    for name, document in documents.items():
        scored[name] = scored_by(Forest(document, rows.names), rows)
        done(1)
    figures, _ = judge(rows, scored, seed=recipe.seed, resamples=RESAMPLES, candidate=CANDIDATE, prior=recipe.prior)
    done(len(documents))
    return figures


def save(path: Path, trained: Trained, recipe: Recipe, origin: Origin, begin: Begin = ignore_progress) -> Report:
    """Write the bundle to directory `path`. Raises InvalidModel if it could not be served, or exists already."""
    training, models = _training(trained, recipe, origin), on_holdout(trained, recipe, begin)
    judged = models[CANDIDATE]
    manifest = Manifest(
        name=f"{origin.domain} {path.name}",
        domain=origin.domain,
        version=path.name,
        kind="trained",
        created=origin.created,
        data=origin.data,
        code=origin.code,
        metrics=metrics_of(judged),
    )
    write_bundle(
        path,
        trained.document,
        card(
            path.name,
            origin.domain,
            trained=trained,
            training=training,
            judged=judged,
            base=models.get(CHAMPION),
        ),
        manifest,
        DEFINITIONS,
        beside={
            TRAINING: msgspec.json.format(msgspec.json.encode(training), indent=2) + b"\n",
            REFERENCE: msgspec.json.encode(expected(trained, origin.domain)) + b"\n",
        },
    )
    return Report(
        bundle=str(path),
        training=training,
        calibration=trained.curve.method,
        trees=len(trained.document.trees),
        models=models,
    )


def expected(trained: Trained, domain: str) -> Reference:
    """The drift reference: the distribution of the latest rows, those for calibration and evaluation."""
    parts = (trained.material.tuning, trained.material.holdout)
    batches = (Batch(rows.times, rows.subjects.tolist(), rows.vectors) for rows in parts)
    names = trained.material.train.names
    return reference(domain, names, Forest(trained.document, names), thinned(batches, REFERENCE_ROWS))


def metrics_of(judged: Judged) -> dict[str, float]:
    """The manifest's figures: recall over all attacks, over those with a right credential and of each class, and the
    calibration errors."""
    metrics = {
        f"recall at {rate}{'' if each is judged.overall else f' of {each.name}'}": value
        for each in (judged.overall, judged.right_credential, *judged.classes)
        for rate in RATES
        if (value := each.at[rate].value) is not None
    }
    if judged.reliability:
        metrics |= {"ece": round(judged.reliability.ece, 6), "brier": round(judged.reliability.brier, 6)}
    return metrics
