"""Explains what moved one score, and which features matter overall, with exact contributions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from riskd.adapters.decision_log import read_segment, readable, record_of, segments_of, size, size_of
from riskd.core.assess import reasons
from riskd.core.assessment import Reason
from riskd.core.errors import InvalidFile, Problem
from riskd.core.features import FEATURES, NAMES
from riskd.core.forest import Forest
from riskd.core.record import AssessmentRecord, decode, other_beginnings
from riskd.counts import Counts
from riskd.progress import Begin

_OTHERS: Final = other_beginnings(AssessmentRecord)


class Part(Struct, frozen=True, kw_only=True):
    """One feature's part in a score. `contribution`: how much lower the log-odds would be if the feature were
    `usual`."""

    feature: str
    unit: str
    value: float | None
    usual: float | None
    contribution: float


class Explained(Struct, frozen=True, kw_only=True):
    """A score and its parts, the strongest first. `recorded`: the score in the log, by the model `recorded_model`."""

    model: str
    score: float
    log_odds: float
    parts: tuple[Part, ...]
    reasons: tuple[Reason, ...]
    recorded: float | None = None
    recorded_model: str = ""


class Importance(Struct, frozen=True, kw_only=True):
    """A feature's effect over many rows.

    `moves`: the mean absolute contribution to the log-odds; `mean`: the mean contribution; `share`: the share of rows
    that it moves at all.
    """

    feature: str
    moves: float
    mean: float
    share: float


def explained(forest: Forest, vector: Sequence[float], record: AssessmentRecord | None = None) -> Explained:
    """The explained score of a vector by a model. Features that moved nothing are left out."""
    explanation = forest.explain(vector)
    moved = explanation.contributions or ()
    order = sorted(range(len(moved)), key=lambda column: -abs(moved[column]))
    parts = tuple(
        Part(
            feature=NAMES[column],
            unit=FEATURES[column].unit,
            value=_known(vector[column]),
            usual=_known(forest.references[column]),
            contribution=moved[column],
        )
        for column in order
        if moved[column]
    )
    return Explained(
        model=forest.version,
        score=explanation.probability,
        log_odds=explanation.log_odds,
        parts=parts,
        reasons=reasons((), list(vector), moved),
        recorded=record.score if record else None,
        recorded_model=record.model if record else "",
    )


def importance(forest: Forest, vectors: Sequence[Sequence[float]]) -> list[Importance]:
    """Every feature that moves a score of these vectors, the strongest first."""
    size = len(NAMES)
    moves, mean, hits = [0.0] * size, [0.0] * size, [0] * size
    for vector in vectors:
        for column, moved in enumerate(forest.contributions(vector)):
            if moved:
                moves[column] += abs(moved)
                mean[column] += moved
                hits[column] += 1
    rows = max(len(vectors), 1)
    importances = [
        Importance(feature=NAMES[at], moves=moves[at] / rows, mean=mean[at] / rows, share=hits[at] / rows)
        for at in range(size)
        if hits[at]
    ]
    return sorted(importances, key=lambda each: -each.moves)


def sample(log: Path, domain: str, most: int, counts: Counts, begin: Begin) -> list[AssessmentRecord]:
    """At most `most` assessments of a domain, spread evenly over the log. `counts` counts unreadable lines. Progress is
    in bytes.

    Raises InvalidFile for a log that cannot be read, or has none.
    """
    drawn: list[AssessmentRecord] = []
    step, at = 1, 0
    paths = segments_of(log)
    done = begin("decisions", size(paths))
    for path in paths:
        for line in _lines(path):
            if domain.encode() not in line:
                continue
            at += 1
            if at % step:
                continue
            record = record_of(line, path, counts, decode)
            if isinstance(record, AssessmentRecord) and _fits(record, domain):
                drawn.append(record)
                if len(drawn) > most:
                    drawn, step = drawn[1::2], 2 * step
        done(size_of(path))
    if not drawn:
        what = f"has no assessment of {domain} with the features of this version of riskd"
        raise InvalidFile([Problem(str(log), what, "`riskd replay` converts a log of another version")])
    return drawn


def _fits(record: AssessmentRecord, domain: str) -> bool:
    return record.domain == domain and len(record.vector) == len(NAMES)


def _lines(path: Path) -> Iterator[bytes]:
    with readable(path):
        for line in read_segment(path):
            if not line.startswith(_OTHERS):
                yield line


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
