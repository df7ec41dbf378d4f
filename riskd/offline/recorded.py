"""One assessment, and all that the decision log says of it: what was answered, again and in shadow, and what came of
it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from riskd.adapters.decision_log import FileLogArchive, log_in, segments_of, size
from riskd.adapters.decision_log.archive import SCAN
from riskd.core.assess import reasons
from riskd.core.assessment import Reason
from riskd.core.features import NAMES
from riskd.core.record import AssessmentRecord, OutcomeRecord, Record, RepeatRecord, ShadowRecord, decode, written
from riskd.progress import Begin

_LINES: Final = 1_000
"""Asked for at a time."""


class Recorded(Struct, frozen=True, kw_only=True):
    """The lines of one assessment, in the order of writing. `assessment` is None where the log has but what followed.

    `features` are its vector by name, None where it was made of another feature table. `reasons` are its codes, with
    what each moved and the sentence of its feature, as far as contributions were recorded.
    """

    assessment: AssessmentRecord | None
    features: dict[str, float | None] | None
    reasons: tuple[Reason, ...]
    repeats: tuple[RepeatRecord, ...]
    shadows: tuple[ShadowRecord, ...]
    outcomes: tuple[OutcomeRecord, ...]


def recorded(log: Path, assessment_id: str, begin: Begin) -> Recorded | None:
    """The lines of it; None where there are none. Lines that are to be erased are not found.

    `assessment_id`: 32 hexadecimal digits, of which the first are those of its subject's pseudonym. Progress is in
    bytes. Raises InvalidFile where there is no log, Unavailable where it cannot be read.
    """
    progress = begin("segments", size(segments_of(log)))
    archive = FileLogArchive(log_in(log), 0.0, 0.0)  # its times are for those who erase
    place, cursor = bytes.fromhex(assessment_id), b""
    found: list[Record] = []
    while True:
        lines, cursor = archive.find([place], cursor, _LINES)
        found += [record for line in lines if (record := _decoded(line)) and _of(record) == assessment_id]
        progress(SCAN)
        if not cursor:
            return _told(sorted(found, key=written)) if found else None


def _decoded(line: bytes) -> Record | None:
    try:
        return decode(line)
    except msgspec.DecodeError:
        return None


def _of(record: Record) -> str:
    return record.assessment_id if isinstance(record, OutcomeRecord) else record.id


def _told(found: list[Record]) -> Recorded:
    one = next((record for record in found if isinstance(record, AssessmentRecord)), None)
    known = one is not None and len(one.vector) == len(NAMES)
    return Recorded(
        assessment=one,
        features=dict(zip(NAMES, one.vector, strict=True)) if one and known else None,
        reasons=_reasons(one) if one else (),
        repeats=tuple(record for record in found if isinstance(record, RepeatRecord)),
        shadows=tuple(record for record in found if isinstance(record, ShadowRecord)),
        outcomes=tuple(record for record in found if isinstance(record, OutcomeRecord)),
    )


def _reasons(one: AssessmentRecord) -> tuple[Reason, ...]:
    """Its codes as they were answered. What rules and gaps had to say for theirs is not in the log."""
    given = tuple(Reason(code, 0.0, "") for code in one.reasons)
    if one.contributions is None or len(one.vector) != len(NAMES):
        return given
    vector = [math.nan if value is None else value for value in one.vector]
    said = reasons((), vector, tuple(one.contributions.get(name, 0.0) for name in NAMES))
    by_code = {reason.code: reason for reason in said}
    return tuple(by_code.get(reason.code, reason) for reason in given)
