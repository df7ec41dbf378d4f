"""Rows to audit: numbers in groups, and the truth of each row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from riskd.core.features import FEATURES
from riskd.offline.decision_rows import read_rows
from riskd.offline.truth import Truth, read_truth


class Sample(Struct, frozen=True, kw_only=True):
    """A matrix of numbers by row and column. `groups`: the group of each column; the other fields are columns of the
    rows."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    values: NDArray[np.float64]
    subjects: NDArray[np.str_]
    times: NDArray[np.float64]
    domains: NDArray[np.str_]
    journeys: NDArray[np.str_]
    attacks: NDArray[np.str_]
    campaigns: NDArray[np.str_]
    steps: NDArray[np.int64]
    begins: NDArray[np.str_]
    """The journey with which the visit of a row began."""
    segments: NDArray[np.str_]


def sampled(
    names: tuple[str, ...],
    groups: tuple[str, ...],
    values: NDArray[np.float64],
    rows: Sequence[tuple[str, float, str, str, Truth]],
) -> Sample:
    """A sample from rows of subject, time, domain, journey and truth."""
    return Sample(
        names=names,
        groups=groups,
        values=values,
        subjects=np.array([subject for subject, *_ in rows], dtype=np.str_),
        times=np.array([time for _, time, *_ in rows], dtype=np.float64),
        domains=np.array([domain for _, _, domain, _, _ in rows], dtype=np.str_),
        journeys=np.array([journey for *_, journey, _ in rows], dtype=np.str_),
        attacks=np.array([truth.attack for *_, truth in rows], dtype=np.str_),
        campaigns=np.array([truth.campaign for *_, truth in rows], dtype=np.str_),
        steps=np.array([truth.step for *_, truth in rows], dtype=np.int64),
        begins=np.array(_begins(rows), dtype=np.str_),
        segments=np.array([" ".join(truth.segments) for *_, truth in rows], dtype=np.str_),
    )


def _begins(rows: Sequence[tuple[str, float, str, str, Truth]]) -> list[str]:
    """The journey with which each visit began. What follows a login is a login's, also if a wrong name came first."""
    began: dict[tuple[str, str], str] = {}
    found = []
    for subject, _, _, journey, truth in rows:
        if truth.step == 0 or journey == "login":
            began[subject, truth.campaign] = journey
        found.append(began.get((subject, truth.campaign), journey))
    return found


def pooled(samples: Sequence[Sample]) -> Sample:
    """The rows of several worlds with the same columns."""
    first, rest = samples[0], Sample.__struct_fields__[2:]
    return replace(first, **{name: np.concatenate([getattr(each, name) for each in samples]) for name in rest})


def features(decisions: Path, truth: Path, domain: str) -> Sample:
    """The features that the engine computed for the attempts of a domain. Raises InvalidFile as `read_rows`."""
    rows, truths = read_rows(decisions, domain, truth=truth), read_truth(truth)
    identities = zip(rows.subjects, rows.times, rows.journeys, rows.ids, strict=True)
    return sampled(
        rows.names,
        tuple(feature.group for feature in FEATURES),
        rows.vectors,
        [
            (str(subject), float(time), domain, str(journey), truths[str(at)])
            for subject, time, journey, at in identities
        ],
    )
