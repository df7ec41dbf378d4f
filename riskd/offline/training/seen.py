"""Tells whether rows were trained on, from a sample of ids that is small enough for a bundle.

The sample has the smallest hashes of all ids (bottom-k: Cohen and Kaplan 2007). So for every row whose hash is small
enough to be in it, the sample says whether the row was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from riskd.adapters.model_file import TRAINING, read_training
from riskd.core.errors import UNDECODABLE, InvalidModel, Problem
from riskd.offline.rows import UNKNOWN, Rows
from riskd.offline.training.recipe import Training

KEPT: Final = 1_000
"""The largest number of hashes in a sample."""
_DIGITS: Final = 12


def sample(parts: Sequence[Rows]) -> str:
    """The smallest hashes of the ids of all labelled rows, in ascending order: 12 hexadecimal digits each."""
    return "".join(sorted({_hash(each) for rows in parts for each in _ids(rows)})[:KEPT])


class Seen:
    """Knows the rows of a sample again."""

    def __init__(self, sample: str) -> None:
        self._kept = {sample[at : at + _DIGITS] for at in range(0, len(sample), _DIGITS)}
        self._last = max(self._kept) if len(self._kept) == KEPT else "g"  # beyond every hash

    def has(self, name: str) -> bool | None:
        """Whether the row with this id is one that was sampled from; None if the sample does not tell."""
        hashed = _hash(name)
        return hashed in self._kept if hashed <= self._last else None


def share(sample: str, rows: Rows) -> float:
    """The share of the labelled rows that are among those of a sample: exact if these were fewer than `KEPT`, else an
    estimate. If it is above 0, some certainly are."""
    seen = Seen(sample)
    found = [told for name in _ids(rows) if (told := seen.has(name)) is not None]
    return sum(found) / len(found) if found else 0.0


def training_of(bundle: Path) -> Training | None:
    """How the model in this directory was trained, None if it does not say. Raises InvalidModel."""
    raw = read_training(bundle)
    try:
        return msgspec.json.decode(raw, type=Training) if raw else None
    except UNDECODABLE as error:
        what = f"does not describe a training: {error}"
        remedy = "train the model again, or remove the file and seal the bundle"
        raise InvalidModel([Problem(str(bundle / TRAINING), what, remedy)]) from error


def _ids(rows: Rows) -> Iterable[str]:
    ids: list[str] = rows.ids[rows.labels != UNKNOWN].tolist()
    return ids


def _hash(name: str) -> str:
    return sha256(name.encode()).hexdigest()[:_DIGITS]
