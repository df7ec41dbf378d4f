"""Evaluates a candidate beside the champion and four baselines, in one run, on rows that none of them was trained
on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.model_file import read_manifest
from riskd.adapters.model_registry import Registry
from riskd.core.errors import InvalidFile, InvalidModel, Problem
from riskd.core.features import schema
from riskd.core.forest import Forest
from riskd.offline.evaluation.document import (
    CANDIDATE,
    CHAMPION,
    FREEMAN,
    ISOLATION_FOREST,
    LARGE_BOOSTED,
    RULES,
    Data,
    Difference,
    Evaluation,
    Goal,
    Judged,
)
from riskd.offline.evaluation.judging import ANY, Scored, judge, scored_by
from riskd.offline.evaluation.operating import Floats
from riskd.offline.labels import LabelSource
from riskd.offline.models import baselines
from riskd.offline.rows import FRAUD, GOOD, HONEST, UNKNOWN, Rows
from riskd.offline.training.recipe import Recipe, Training
from riskd.offline.training.seen import sample, share, training_of
from riskd.offline.training.train import Fitted, Material, base_log_odds, fit
from riskd.offline.training.weights import unreported, weights
from riskd.progress import Begin, Progress

TOLERANCE: Final = 0.02
"""Recall that a small forest may lose against the large one."""


class Contender(Struct, frozen=True, kw_only=True):
    """A bundle to judge. `samples`: of the rows that it, and what it was boosted on, were trained on (`seen.sample`);
    None if one of these does not say."""

    version: str
    forest: Forest
    samples: tuple[str, ...] | None = None

    def seen(self, rows: Rows) -> float | None:
        """The share of these rows that it was trained on."""
        return None if self.samples is None else max((share(each, rows) for each in self.samples), default=0.0)


class Question(Struct, frozen=True, kw_only=True):
    """What to evaluate, and on which rows. `material` and `recipe` are the candidate's; without a recipe, no class is
    left out."""

    domain: str
    code: str
    rows: Rows
    ages: Floats
    """Seconds from each attempt to the day on which the labels of its log were read."""
    labels: LabelSource
    candidate: Contender
    champion: Contender
    material: Material
    recipe: Recipe | None
    learned: frozenset[str] = frozenset()
    """Classes of attack that the candidate's base was trained on: no training without them is ignorant of them."""
    prior: float | None = None
    """The share of attempts that are fraud where the candidate will serve; None: as in the rows."""
    seed: int = 0
    resamples: int = 200


def base_of(bundle: Path, version: str, registry: Registry, domain: str) -> Path:
    """The bundle that a model was boosted on: beside it, or in the registry. Raises InvalidModel."""
    beside = bundle.parent / version
    return beside if beside.is_dir() else registry.path(domain, version)


def trainings_of(bundle: Path, registry: Registry, domain: str) -> list[Training | None]:
    """How a bundle was trained, and what it was boosted on; None where that is not known. Raises InvalidModel."""
    training = training_of(bundle)
    if training is None:
        return [None] if read_manifest(bundle).kind == "trained" else []
    if not training.base:
        return [training]
    try:
        base = base_of(bundle, training.base, registry, domain)
    except InvalidModel:
        return [training, None]
    return [training, *trainings_of(base, registry, domain)]


def contender(bundle: Path, forest: Forest, trainings: Sequence[Training | None]) -> Contender:
    """A bundle with its forest, and its trainings as `trainings_of`."""
    samples = tuple([training.sample if training else "" for training in trainings])
    return Contender(version=bundle.name, forest=forest, samples=samples if all(samples) else None)


def evaluate(question: Question, begin: Begin) -> Evaluation:
    """Evaluate all models on the rows of the question. Raises InvalidFile if no row is good, or none fraudulent, of
    those without a wrong credential."""
    rows = question.rows
    judged_by = rows.labels[~rows.wrong_credential]
    lacking = [word for word, label in (("good", GOOD), ("fraudulent", FRAUD)) if label not in judged_by]
    if lacking:
        what, remedy = "none without a wrong credential is", "evaluate on a longer log, or report more outcomes"
        raise InvalidFile([Problem("rows to judge by", f"{what} {word}", remedy) for word in lacking])
    attacks = sorted({str(each) for each in rows.attacks[rows.labels == FRAUD]} - {HONEST} - question.learned)
    left_out = attacks if question.recipe else []
    done = begin("scoring", 6 + len(left_out))
    scored: dict[str, Scored] = {}
    for name, score_model in _makers(question, left_out, done):
        scored[name] = score_model()
        done(1)
    judged = begin("judging", 1)
    models, differences = judge(
        rows,
        scored,
        seed=question.seed,
        resamples=question.resamples,
        candidate=CANDIDATE,
        prior=question.prior,
    )
    judged(1)
    learnt = share(sample((question.material.train,)), rows)
    seen = {CANDIDATE: question.candidate.seen(rows), CHAMPION: question.champion.seen(rows)}
    seen |= {FREEMAN: 0.0, RULES: 0.0, ISOLATION_FOREST: learnt, LARGE_BOOSTED: learnt}
    return Evaluation(
        domain=question.domain,
        code=question.code,
        seed=question.seed,
        resamples=question.resamples,
        data=_data(question),
        models={name: replace(model, seen=seen[name]) for name, model in models.items()},
        differences=differences,
        goals=tuple(_goals(models, differences)),
    )


def _makers(question: Question, left_out: Sequence[str], done: Progress) -> Iterator[tuple[str, Callable[[], Scored]]]:
    rows, train = question.rows, question.material.train
    yield CANDIDATE, lambda: replace(_by(question.candidate, rows), left_out=_left_out(question, left_out, done))
    yield CHAMPION, lambda: _by(question.champion, rows)
    yield FREEMAN, lambda: Scored(scores=baselines.freeman(rows))
    yield RULES, lambda: Scored(scores=baselines.rules(rows))
    yield ISOLATION_FOREST, lambda: Scored(scores=baselines.isolation_forest(train, rows, question.seed))
    yield LARGE_BOOSTED, lambda: _large(question)


def _by(contender: Contender, rows: Rows) -> Scored:
    return scored_by(contender.forest, rows, contender.version)


def _large(question: Question) -> Scored:
    """Trained on the same rows as the candidate, with the same weight for all fraud, and no class heavier than
    another."""
    material, recipe = question.material, question.recipe or Recipe()
    weighed = weights(material.train, material.train_ages, material.delay, recipe.fraud_share)
    used = weighed > 0
    estimator = baselines.large_boosted(
        material.train.vectors[used], material.train.labels[used] == FRAUD, weighed[used], question.seed
    )
    return Scored(scores=estimator.decision_function(question.rows.vectors))


def _left_out(question: Question, attacks: Sequence[str], done: Progress) -> dict[str, Floats]:
    """Scores by the candidate's recipe, trained without each class in turn. If no other class is left to learn from,
    the scores are those of the base."""
    if question.recipe is None:
        return {}
    rows, material, scores = question.rows, question.material, {}
    base_scores = base_log_odds(material.base, rows.names, rows.vectors)
    for attack in attacks:
        if all(((part.labels == FRAUD) & (part.attacks != attack)).any() for part in (material.train, material.tuning)):
            fitted: Fitted = fit(material, replace(question.recipe, without=(attack,)))
            scores[attack] = fitted.log_odds(rows.vectors, base_scores)
        else:
            scores[attack] = base_scores
        done(1)
    return scores


def _data(question: Question) -> Data:
    rows = question.rows
    fraud = rows.labels == FRAUD
    return Data(
        sha256=rows.digest(),
        schema=schema(),
        labels=question.labels,
        rows=len(rows),
        good=int(np.count_nonzero(rows.labels == GOOD)),
        wrong_credential=int(np.count_nonzero((rows.labels == GOOD) & rows.wrong_credential)),
        fraud=int(np.count_nonzero(fraud)),
        unknown=int(np.count_nonzero(rows.labels == UNKNOWN)),
        prior=question.prior,
        unreported=round(unreported(rows, question.ages, question.material.delay), 6),
        subjects=len(np.unique(rows.subjects)),
        first=float(rows.times.min()),
        last=float(rows.times.max()),
        attacks=_counts(str(each) or ANY for each in rows.attacks[fraud]),
        segments=_counts(name for each in rows.segments for name in str(each).split()),
    )


def _counts(names: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _goals(models: Mapping[str, Judged], differences: Sequence[Difference]) -> Iterator[Goal]:
    """The goals of the candidate at a false-positive rate of 1 %, for each class of attack."""
    wanted: tuple[tuple[str, str, str, float], ...] = (
        (f"as large boosted trees, less {TOLERANCE * 100:g} points", LARGE_BOOSTED, "class", TOLERANCE),
        ("as Freeman", FREEMAN, "class", 0.0),
        ("as rules of thumb", RULES, "class", 0.0),
        ("left out of training, as Freeman", FREEMAN, "left_out", 0.0),
        ("left out of training, as the champion", CHAMPION, "left_out", 0.0),
    )
    for name, other, part, tolerance in wanted:
        if other not in models:
            continue
        for each in differences:
            if (each.other, each.part, each.rate) != (other, part, "1%") or each.difference.value is None:
                continue
            margin = each.difference.value + tolerance
            bound = each.difference.low if margin >= 0 else each.difference.high
            sure = bound is not None and (bound + tolerance >= 0) == (margin >= 0)
            yield Goal(name=name, attack=each.name, margin=round(margin, 6), met=margin >= 0, sure=sure)
