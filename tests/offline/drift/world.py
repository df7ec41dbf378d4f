"""Decision logs in which every signal has a constant distribution, unless a test shifts one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct

from riskd.adapters.model_file import load_model
from riskd.config import data_directory
from riskd.core.features import DEFINITIONS, NAMES
from riskd.core.forest import Forest
from riskd.offline.drift.bins import DAY, Batch
from tests import decision_log
from tests.decision_log import decision

BEGIN: Final = 20_000 * DAY
BUNDLE: Final = data_directory("models") / "customer" / "hand-set-4"
MODEL: Final = load_model(BUNDLE, DEFINITIONS)
_KIND: Final = np.random.default_rng(0).integers(4, size=len(NAMES))
"""The kind of each signal: a flag, a small count, a measurement, or a measurement that is often missing."""


SCORED: Final = {"log_odds": 0.0, "score": 0.01}


class Shift(Struct, frozen=True):
    """From `day` on, a signal is `by` of its spread higher, or `missing` more often."""

    signal: str
    day: int
    by: float = 0.0
    missing: float = 0.0


def rows(seed: int, size: int = 4000, *, users: int = 400, days: int = 14, shift: Shift | None = None) -> Batch:
    """Rows of users who differ from each other, so that a user's rows are correlated."""
    dice = np.random.default_rng(seed)
    habits = dice.normal(size=(users, len(NAMES))) * 0.7
    user = dice.integers(users, size=size)
    times = BEGIN + np.sort(dice.random(size)) * days * DAY
    raw = habits[user] + dice.normal(size=(size, len(NAMES)))
    late = times >= BEGIN + (shift.day if shift else days) * DAY
    if shift:
        raw[late, NAMES.index(shift.signal)] += shift.by * 1.22
    vectors = np.select([_KIND == 0, _KIND == 1], [(raw > 1.2) * 1.0, np.maximum(np.floor(raw), 0)], raw)
    vectors[(dice.random(vectors.shape) < 0.3) & (_KIND == 3)] = np.nan
    if shift:
        vectors[late & (dice.random(size) < shift.missing), NAMES.index(shift.signal)] = np.nan
    return Batch(times, [f"{seed:016x}{each:016x}" for each in user.tolist()], vectors)


def write(directory: Path, batch: Batch, *, domain: str = "customer", segments: int = 2) -> Path:
    """Write a decision log of these rows, as the service does."""
    lines = [
        decision(at, time, domain=domain, subject=subject, vector=tuple(vector.tolist()), model="hand-set-4", **SCORED)
        for at, (time, subject, vector) in enumerate(
            zip(batch.times.tolist(), batch.subjects, batch.vectors, strict=True)
        )
    ]
    for part in range(segments):
        decision_log.write(directory / f"20240101T00000{part}.000000-{domain}.jsonl", *lines[part::segments])
    return directory


def forest() -> Forest:
    """The model whose scores are logged."""
    return MODEL


def known(references: Mapping[str, float]) -> list[float]:
    """A vector with these features set to unusual values."""
    return [references.get(name, usual) for name, usual in zip(NAMES, MODEL.references, strict=True)]
