"""Reads a decision log into rows: assessments of one identity domain in order of time, joined with their outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from riskd.adapters.decision_log import decoded, readable, segments_of, size, size_of
from riskd.core.bounds import Id, Moment, Pseudonym
from riskd.core.errors import InvalidFile, Problem
from riskd.core.features import NAMES
from riskd.core.record import AssessmentRecord, OutcomeRecord, other_beginnings
from riskd.core.vocabulary import Domain, Journey, Outcome
from riskd.counts import Counts
from riskd.offline.columns import Ids, Vectors, labels_by_id, order_of, truth_by_id
from riskd.offline.rows import FRAUD, GOOD, HONEST, Rows
from riskd.progress import Begin, ignore_progress

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


_DECODER: Final = msgspec.json.Decoder(_Assessed | _Outcome)
_OTHERS: Final = other_beginnings(AssessmentRecord, OutcomeRecord)


def read_rows(
    directory: Path,
    domain: str,
    *,
    truth: Path | None = None,
    by_truth: bool = False,
    counts: Counts | None = None,
    begin: Begin = ignore_progress,
) -> Rows:
    """The rows of a decision log, sorted by time and id.

    Labels follow `columns.labelled` from the outcomes; with `by_truth` they come from the truth, and are known at once.
    `counts` counts unreadable lines. Progress is in bytes. Besides the result, it needs memory for the outcomes. Raises
    InvalidFile for a directory without segments, vectors of another feature schema, or a truth that lacks an
    assessment.
    """
    counts = Counts() if counts is None else counts
    columns, paths = _Columns(), segments_of(directory)
    done = begin("reading", size(paths))
    for path in paths:
        with readable(path):
            for record in decoded(path, counts, _DECODER.decode, _OTHERS):
                if record.domain == domain:
                    columns.add(record, path)
        done(size_of(path))
    return columns.rows(truth, by_truth=by_truth)


class _About(Struct, frozen=True):
    """Columns of some assessments, besides their vectors."""

    ids: Ids
    times: NDArray[np.float64]
    subjects: NDArray[np.bytes_]
    journeys: NDArray[np.str_]


class _Told(Struct, frozen=True):
    """Columns of some outcomes."""

    ids: Ids
    times: NDArray[np.float64]
    kinds: NDArray[np.str_]


class _Columns:
    """Collects rows while they are read."""

    def __init__(self) -> None:
        self._assessed: list[_Assessed] = []
        self._outcomes: list[_Outcome] = []
        self._abouts = [_about(())]
        self._told = [_told(())]
        self._vectors = Vectors(len(NAMES))

    def add(self, record: _Assessed | _Outcome, path: Path) -> None:
        """Add one line."""
        if isinstance(record, _Outcome):
            self._outcomes.append(record)
        elif len(record.vector) == len(NAMES):
            self._assessed.append(record)
        else:
            what = f"has vectors of {len(record.vector)} features; this version of riskd has {len(NAMES)}"
            remedy = "`riskd replay LOG --out DIR` makes a log with the features of this version"
            raise InvalidFile([Problem(str(path), what, remedy)])
        if max(len(self._assessed), len(self._outcomes)) == _CHUNK:
            self._pack()

    def rows(self, truth: Path | None, *, by_truth: bool) -> Rows:
        """All rows, labelled and sorted; a line that was written twice counts once."""
        self._pack()
        about = _About(*_joined(self._abouts))
        order = order_of(about.ids, about.times)
        ids, times = about.ids[order], about.times[order]
        attacks, segments = truth_by_id(truth, ids)
        if by_truth:
            labels, known = np.where(attacks == HONEST, GOOD, FRAUD).astype(np.int8), times.copy()
        else:
            labels, known = labels_by_id(ids, *_joined(self._told))
        return Rows(
            names=NAMES,
            ids=ids.astype(np.str_),
            subjects=about.subjects[order].astype(np.str_),
            times=times,
            journeys=about.journeys[order],
            vectors=self._vectors.taken(order),
            labels=labels,
            known=known,
            attacks=attacks,
            segments=segments,
        )

    def _pack(self) -> None:
        self._abouts.append(_about(self._assessed))
        self._told.append(_told(self._outcomes))
        if self._assessed:
            self._vectors.extend(np.array([one.vector for one in self._assessed], dtype=np.float64))
        self._assessed.clear()
        self._outcomes.clear()


def _joined(parts: list[_About] | list[_Told]) -> Iterator[NDArray[Any]]:
    """Each column of all parts, which are then forgotten."""
    columns = list(zip(*[structs.astuple(part) for part in parts], strict=True))
    parts.clear()
    return map(np.concatenate, columns)


def _about(lines: Sequence[_Assessed]) -> _About:
    return _About(
        ids=np.array([one.id for one in lines], dtype=np.bytes_),
        times=np.array([one.time for one in lines], dtype=np.float64),
        subjects=np.array([one.subject for one in lines], dtype=np.bytes_),
        journeys=np.array([one.journey for one in lines], dtype=np.str_),
    )


def _told(lines: Sequence[_Outcome]) -> _Told:
    return _Told(
        ids=np.array([one.assessment_id for one in lines], dtype=np.bytes_),
        times=np.array([one.time for one in lines], dtype=np.float64),
        kinds=np.array([one.kind for one in lines], dtype=np.str_),
    )
