"""Outcomes of a decision log by assessment id, joined in bounded memory."""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from riskd.offline.labels import BIT, label

_ID: Final = 16
_ROW: Final = _ID + 2
"""Bytes of an id, and of an id with its bit set of outcome kinds."""


def row(assessment_id: str, kind: str) -> bytes:
    """One outcome in 18 bytes. Raises ValueError for an id, and KeyError for a kind, that riskd never writes."""
    return _key(assessment_id) + BIT[kind].to_bytes(2, "big")


def write_outcomes(path: Path, parts: Iterable[bytes]) -> int:
    """Write rows to a file, sorted and merged by assessment. Returns the number of assessments.

    Sorting takes about 50 bytes of memory per outcome; reading the file needs no memory of its own.
    """
    packed = bytearray()
    for part in parts:
        packed += part
    if not packed:
        path.write_bytes(b"")
        return 0
    np.frombuffer(packed, dtype=f"S{_ROW}").sort()
    rows = np.frombuffer(packed, dtype=[("id", f"S{_ID}"), ("kinds", ">u2")])
    first = np.flatnonzero(np.concatenate([[True], rows["id"][1:] != rows["id"][:-1]]))
    merged = rows[first]
    merged["kinds"] = np.bitwise_or.reduceat(rows["kinds"], first)
    merged.tofile(path)
    return len(merged)


class Outcomes:
    """Reads a file of `write_outcomes`. Processes share it through the page cache."""

    def __init__(self, path: Path) -> None:
        size = path.stat().st_size
        with path.open("rb") as file:
            self._rows = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        self._places = range(size // _ROW)
        # The first row for each first byte of an id: this saves most steps of every search.
        self._edges = [self._place(bytes([first]), 0, len(self._places)) for first in range(256)]
        self._edges.append(len(self._places))

    def label(self, assessment_id: str) -> int:
        """The index in `LABELS` for an assessment. Raises ValueError for an id that riskd never writes."""
        return label(self.kinds(assessment_id))

    def kinds(self, assessment_id: str) -> int:
        """The bit set of the kinds of its outcomes; 0 if there is none. Raises ValueError as `label`."""
        rows, wanted = self._rows, _key(assessment_id)
        place = self._place(wanted, self._edges[wanted[0]], self._edges[wanted[0] + 1])
        if place == len(self._places) or rows[place * _ROW : place * _ROW + _ID] != wanted:
            return 0
        return int.from_bytes(rows[place * _ROW + _ID : (place + 1) * _ROW], "big")

    def attack(self, assessment_id: str) -> str:
        """The class of attack: always '', because outcomes do not tell it."""
        return ""

    def _place(self, wanted: bytes, first: int, end: int) -> int:
        rows = self._rows
        return bisect_left(self._places, wanted, first, end, key=lambda at: rows[at * _ROW : at * _ROW + _ID])


def _key(assessment_id: str) -> bytes:
    key = bytes.fromhex(assessment_id)
    if len(key) != _ID:
        raise ValueError(assessment_id)
    return key
