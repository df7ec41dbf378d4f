"""Assessments as rows: what models are trained on and judged by, whatever they were read from."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

UNKNOWN, GOOD, FRAUD = -1, 0, 1
"""Labels of a row."""
HONEST: Final = ""
"""The class of attack of a row that is none, or of which nobody knows."""


class Rows(Struct, frozen=True, kw_only=True):
    """Assessments of one identity domain in order of time, one element of each column a row.

    Built point in time: a vector says what was known when its attempt was assessed, and a label counts from the
    moment at which it became known.
    """

    names: tuple[str, ...]
    """Of the features, in the order of the columns of `vectors`."""
    ids: NDArray[np.str_]
    """Assessment ids."""
    subjects: NDArray[np.str_]
    """Pseudonyms, hexadecimal: rows of one subject are not independent."""
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
    """Class of attack, `HONEST` for none. Simulated logs alone know it."""
    segments: NDArray[np.str_]
    """Sub-populations of a row, separated by spaces: `traveller vpn`. Simulated logs know them."""

    def __len__(self) -> int:
        return len(self.times)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Rows:
        """The rows of a mask, or at these positions."""
        columns = (name for name in self.__struct_fields__ if name != "names")
        return Rows(names=self.names, **{name: getattr(self, name)[chosen] for name in columns})

    def digest(self) -> str:
        """SHA-256 over names and columns, in hex: other rows, or the same in another order, have another."""
        found = sha256(repr(self.names).encode())
        for column in self.__struct_fields__[1:]:
            values: NDArray[np.generic] = getattr(self, column)
            found.update(f"{column} {values.dtype.kind} {values.shape}".encode())
            found.update(
                "\n".join(values.tolist()).encode() if values.dtype.kind == "U" else np.ascontiguousarray(values).data
            )
        return found.hexdigest()


def joined(parts: Sequence[Rows]) -> Rows:
    """Rows of several logs in one, each log's subjects its own. Within each, order of time is kept."""
    if len(parts) == 1:
        return parts[0]
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in Rows.__struct_fields__
        if name not in ("names", "subjects")
    }
    subjects = [np.char.add(f"{number}:", part.subjects) for number, part in enumerate(parts)]
    return Rows(names=parts[0].names, subjects=np.concatenate(subjects), **columns)
