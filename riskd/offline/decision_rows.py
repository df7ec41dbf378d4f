"""Reads a decision log into rows: assessments of one identity domain in order of time, joined with their outcomes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from riskd.adapters.decision_log import damaged, read_segment, readable, segments_of
from riskd.core.bounds import Id, Moment, Pseudonym
from riskd.core.errors import UNDECODABLE, InvalidFile, Problem
from riskd.core.features import NAMES
from riskd.core.vocabulary import Domain, Journey, Outcome
from riskd.counts import Counts
from riskd.offline.labels import label
from riskd.offline.rows import FRAUD, GOOD, HONEST, Rows
from riskd.offline.truth import truths

_CHUNK: Final = 4096


class _Assessed(Struct, frozen=True, tag_field="type", tag="assessment", gc=False):
    id: Id
    time: Moment
    domain: Domain
    journey: Journey
    subject: Pseudonym
    vector: tuple[float | None, ...]


class _Outcome(Struct, frozen=True, tag_field="type", tag="outcome", gc=False):
    assessment_id: Id
    time: Moment
    domain: Domain
    kind: Outcome


class _Repeat(Struct, frozen=True, tag_field="type", tag="repeat", gc=False):
    pass


class _Shadow(Struct, frozen=True, tag_field="type", tag="shadow", gc=False):
    pass


class _Event(Struct, frozen=True, tag_field="type", tag="event", gc=False):
    pass


_Line = _Assessed | _Outcome | _Repeat | _Shadow | _Event
_DECODER: Final = msgspec.json.Decoder(_Line)


def read_rows(
    directory: Path,
    domain: str,
    *,
    truth: Path | None = None,
    by_truth: bool = False,
    counts: Counts | None = None,
) -> Rows:
    """The rows of a decision log, sorted by time and id.

    Labels follow `labels.label` from the outcomes; with `by_truth` they come from the truth, and are known at once.
    `counts` counts unreadable lines. Takes about 700 bytes of memory per row. Raises InvalidFile for a directory
    without segments, vectors of another feature schema, or a truth that lacks an assessment.
    """
    counts = Counts() if counts is None else counts
    columns = _Columns()
    outcomes: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for path in segments_of(directory):
        for record in _records(path, counts):
            if isinstance(record, _Assessed):
                if record.domain == domain:
                    columns.add(record, path)
            elif isinstance(record, _Outcome) and record.domain == domain:
                outcomes[record.assessment_id].append((record.time, record.kind))
    return columns.rows(outcomes, truth, by_truth=by_truth)


def _records(path: Path, counts: Counts) -> Iterator[_Line]:
    with readable(path):
        for line in read_segment(path):
            try:
                record = _DECODER.decode(line)
            except UNDECODABLE as error:
                damaged(counts, path, line, error)
                continue
            yield record


class _Columns:
    """Collects rows while they are read."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float, str]] = {}
        self._waiting: list[tuple[float | None, ...]] = []
        self._chunks: list[NDArray[np.float64]] = []

    def add(self, record: _Assessed, path: Path) -> None:
        """Add one assessment; a line that was written twice counts once."""
        if len(record.vector) != len(NAMES):
            what = f"has vectors of {len(record.vector)} features; this version of riskd has {len(NAMES)}"
            remedy = "`riskd replay LOG --out DIR` makes a log with the features of this version"
            raise InvalidFile([Problem(str(path), what, remedy)])
        if record.id in self._seen:
            return
        self._seen[record.id] = record.subject, record.time, record.journey
        self._waiting.append(record.vector)
        if len(self._waiting) == _CHUNK:
            self._pack()

    def rows(self, outcomes: Mapping[str, list[tuple[float, str]]], truth: Path | None, *, by_truth: bool) -> Rows:
        """All rows, labelled and sorted."""
        self._pack()
        known = truths(truth, list(self._seen))
        columns = list(self._seen.values())
        if by_truth:
            labels = [
                (GOOD if each.attack == HONEST else FRAUD, time)
                for each, (_, time, _) in zip(known, columns, strict=True)
            ]
        else:
            labels = [label(outcomes.get(each, ())) for each in self._seen]
        unsorted = Rows(
            names=NAMES,
            ids=_text(list(self._seen)),
            subjects=_text([subject for subject, _, _ in columns]),
            times=np.array([time for _, time, _ in columns], dtype=np.float64),
            journeys=_text([journey for _, _, journey in columns]),
            vectors=np.concatenate([np.empty((0, len(NAMES))), *self._chunks]),
            labels=np.array([value for value, _ in labels], dtype=np.int8),
            known=np.array([since for _, since in labels], dtype=np.float64),
            attacks=_text([each.attack for each in known]),
            segments=_text([" ".join(each.segments) for each in known]),
        )
        return unsorted.where(np.lexsort((unsorted.ids, unsorted.times)))

    def _pack(self) -> None:
        if self._waiting:
            self._chunks.append(np.array(self._waiting, dtype=np.float64))
            self._waiting.clear()


def _text(values: list[str]) -> NDArray[np.str_]:
    return np.array(values, dtype=np.str_)
