"""Assessments as rows of a table, whatever they were read from. Models are trained and evaluated on them."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from riskd.core.forest import Forest

UNKNOWN, GOOD, FRAUD = -1, 0, 1
"""Labels of a row."""
HONEST: Final = ""
"""The class of attack of a row that is not an attack, or not known to be one."""
_CHUNK: Final = 4096


class Rows(Struct, frozen=True, kw_only=True):
    """Assessments of one identity domain in order of time. Every column has one element per row.

    Point in time: a vector holds what was known when its attempt was assessed, and a label counts from the time at
    which it became known.
    """

    names: tuple[str, ...]
    """Names of the features, in the order of the columns of `vectors`."""
    ids: NDArray[np.str_]
    """Assessment ids."""
    subjects: NDArray[np.str_]
    """Pseudonyms in hexadecimal. Rows of one subject are not independent."""
    times: NDArray[np.float64]
    """Epoch seconds of the attempts."""
    journeys: NDArray[np.str_]
    vectors: NDArray[np.float64]
    """Shape (rows, features); NaN where a feature was missing."""
    labels: NDArray[np.int8]
    """`UNKNOWN`, `GOOD` or `FRAUD`."""
    known: NDArray[np.float64]
    """Epoch seconds at which the label became known; infinite for `UNKNOWN`."""
    attacks: NDArray[np.str_]
    """Class of attack, `HONEST` for none. Only simulated logs know it."""
    segments: NDArray[np.str_]
    """The sub-populations that a row belongs to, separated by spaces: `traveller vpn`. Only simulated logs know
    them."""

    def __len__(self) -> int:
        return len(self.times)

    @property
    def wrong_credential(self) -> NDArray[np.bool_]:
        """Which rows are tries with a wrong credential, as their feature says. Whatever riskd says, they let nobody
        in and challenge nobody."""
        wrong: NDArray[np.bool_] = self.vectors[:, self.names.index("credential_failed")] == 1.0
        return wrong

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Rows:
        """The rows that a mask, an array of positions or a slice selects. Those of a slice are not copied."""
        columns = (name for name in self.__struct_fields__ if name != "names")
        return Rows(names=self.names, **{name: getattr(self, name)[chosen] for name in columns})

    def digest(self) -> str:
        """SHA-256 of names and columns, in hex. Different rows, or the same rows in another order, have another
        digest."""
        hasher = sha256(repr(self.names).encode())
        for column in self.__struct_fields__[1:]:
            values: NDArray[np.generic] = getattr(self, column)
            hasher.update(f"{column} {values.dtype.kind} {values.shape}".encode())
            hasher.update(
                "\n".join(values.tolist()).encode() if values.dtype.kind == "U" else np.ascontiguousarray(values).data
            )
        return hasher.hexdigest()


def scores_of(forest: Forest, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The log-odds and the probability of each vector, shape (rows, 2)."""
    scores = np.empty((len(vectors), 2))
    for at in range(0, len(vectors), _CHUNK):  # as Python floats, a vector takes four times as much memory
        chunk = vectors[at : at + _CHUNK].tolist()
        scores[at : at + _CHUNK] = [forest.score(vector) for vector in chunk]
    return scores


def log_odds_of(forest: Forest, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The log-odds of each vector, before calibration."""
    return scores_of(forest, vectors)[:, 0].copy()


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of several logs in one table. Subjects of different logs stay distinct; each log keeps its order of
    time."""
    if len(parts) == 1:
        return parts[0]
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in Rows.__struct_fields__
        if name not in ("names", "subjects")
    }
    subjects = [np.char.add(f"{number}:", part.subjects) for number, part in enumerate(parts)]
    return Rows(names=parts[0].names, subjects=np.concatenate(subjects), **columns)
