"""Splits rows in time, with an embargo, and with the labels that were known on the day of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from riskd.core.errors import InvalidFile, Problem
from riskd.core.history import DAY
from riskd.offline.evaluation.operating import Floats
from riskd.offline.rows import FRAUD, GOOD, UNKNOWN, Rows
from riskd.offline.training.recipe import Recipe
from riskd.wording import quantity

LEAST: Final = 30
"""The smallest number of rows of either label with which a model can be fitted."""


class Split(Struct, frozen=True, kw_only=True):
    """Rows in order of time. An embargo separates `train` from `tuning`, and `tuning` from `holdout`.

    Labels of `train` are those known when `tuning` begins; those of `tuning`, when `holdout` begins.
    """

    train: Rows
    tuning: Rows
    holdout: Rows
    trained: float
    """The time as of which the labels of `train` were read, in epoch seconds."""
    tuned: float
    read: float
    """The same of `holdout`."""


def split(rows: Rows, recipe: Recipe) -> Split:
    """Split the rows by the shares and the embargo of the recipe.

    Raises InvalidFile if a part has fewer than `LEAST` good or fraudulent rows.
    """
    problems = list(_too_few("all rows", rows))
    if problems:
        raise InvalidFile(problems)
    latest = np.quantile(rows.times, [1 - recipe.holdout - recipe.tuning, 1 - recipe.holdout])
    trained, tuned = float(latest[0]), float(latest[1])
    embargo = recipe.embargo_days * DAY
    found = Split(
        train=as_of(_between(rows, -np.inf, trained - embargo), trained),
        tuning=as_of(_between(rows, trained, tuned - embargo), tuned),
        holdout=_between(rows, tuned, np.inf),
        trained=trained,
        tuned=tuned,
        read=read_at(rows),
    )
    parts = {"train": found.train, "tuning": found.tuning, "holdout": found.holdout}
    problems = [problem for name, part in parts.items() for problem in _too_few(name, part)]
    if problems:
        raise InvalidFile(problems)
    return found


def _between(rows: Rows, since: float, until: float) -> Rows:
    """The rows from `since` on and before `until`. They are in order of time, so these are neighbours."""
    first, end = np.searchsorted(rows.times, [since, until])
    return rows.where(slice(first, end))


def read_at(rows: Rows) -> float:
    """The newest time in a log's rows (epoch seconds): what was reported later is not in them."""
    return float(max(rows.times.max(), rows.known[rows.labels != UNKNOWN].max(initial=0.0)))


def ages_of(parts: Sequence[Rows]) -> Floats:
    """Seconds from each attempt of several logs, one after the other, to the newest time in its log."""
    ages: Floats = np.concatenate([read_at(rows) - rows.times for rows in parts])
    return ages


def as_of(rows: Rows, moment: float) -> Rows:
    """The rows with the labels that were known at a time (epoch seconds).

    Fraud that was reported later becomes unlabelled, although it counted as good until then if its sign-in succeeded.
    """
    late = rows.known > moment
    return msgspec.structs.replace(
        rows,
        labels=np.where(late, UNKNOWN, rows.labels).astype(np.int8),
        known=np.where(late, np.inf, rows.known),
    )


def _too_few(name: str, rows: Rows) -> list[Problem]:
    return [
        Problem(name, f"{quantity(count, f'{word} row')}, fewer than {LEAST}", remedy)
        for word, label, remedy in (
            ("good", GOOD, "give a longer log, or fewer --embargo-days"),
            ("fraudulent", FRAUD, "report more outcomes, or give a longer log, or fewer --embargo-days"),
        )
        if (count := int(np.count_nonzero(rows.labels == label))) < LEAST
    ]
