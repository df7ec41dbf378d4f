"""Finds what the decision log says about one assessment, and which assessments it has of one subject."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.decision_log import (
    PACKED,
    FileLogArchive,
    head,
    log_in,
    opened,
    readable,
    record_of,
    segments_of,
    size,
    size_of,
)
from riskd.adapters.decision_log.archive import SCAN
from riskd.core.assess import reasons
from riskd.core.assessment import Reason
from riskd.core.decide import RESTRICTED_METHOD, gap_reason, learning_reason
from riskd.core.features import NAMES
from riskd.core.history import SEQUENCE_SECONDS
from riskd.core.logged import vector_of
from riskd.core.pseudonym import Pseudonyms
from riskd.core.record import (
    AssessmentRecord,
    OutcomeRecord,
    Record,
    RepeatRecord,
    SecurityEventRecord,
    ShadowRecord,
    decode,
    other_beginnings,
    written,
)
from riskd.core.stored import PLACE
from riskd.counts import Counts
from riskd.progress import Begin, Progress

_NO_EVENTS: Final = other_beginnings(SecurityEventRecord)
_LINES: Final = 1_000
"""How many lines are requested at a time."""


class OnRecord(Struct, frozen=True, kw_only=True):
    """The lines about one assessment, in the order of writing. `assessment` is None if the log has only what followed.

    `features`: its vector by name, None if it has another feature schema. `reasons`: its codes, with the contribution
    and text of each as far as the log knows them. `events`: what other parties had reported about the subject before
    the assessment, as far back as any policy remembers. `required_by`: what would have required the tier by itself;
    only the policy knows (`policies.why`).
    """

    assessment: AssessmentRecord | None
    features: dict[str, float | None] | None
    reasons: tuple[Reason, ...]
    repeats: tuple[RepeatRecord, ...]
    shadows: tuple[ShadowRecord, ...]
    outcomes: tuple[OutcomeRecord, ...]
    events: tuple[SecurityEventRecord, ...]
    required_by: tuple[str, ...] = ()


class Listed(Struct, frozen=True, kw_only=True):
    """One of several assessments: what was required, why, and what followed. `time`: epoch seconds."""

    id: str
    time: float
    journey: str
    tier: str
    satisfied: bool
    reasons: tuple[str, ...]
    outcomes: tuple[str, ...]


class Account(Struct, frozen=True):
    """What the log has about one subject, the newest first: its assessments, and security events."""

    assessments: list[Listed]
    events: list[SecurityEventRecord]


def on_record(
    log: Path, assessment_id: str, begin: Begin, counts: Counts, pseudonyms: Pseudonyms | None = None
) -> OnRecord | None:
    """The lines about an assessment; None if there are none. Erased lines are not found.

    `assessment_id`: 32 hexadecimal digits, beginning with those of the subject's pseudonym. `pseudonyms`: the
    service's; without them, events from before a rotation of the pepper are not found. Progress is in bytes; `counts`
    counts unreadable lines that may have been about the subject. Raises InvalidFile if there is no log, or it cannot be
    read to its end, and Unavailable if it cannot be read.
    """
    records = [
        record
        for record in _search(log, [bytes.fromhex(assessment_id)], begin, counts)
        if isinstance(record, SecurityEventRecord) or _of(record) == assessment_id
    ]
    one = next((record for record in records if isinstance(record, AssessmentRecord)), None)
    names = {one.subject} if one is not None else set()
    if one is not None and pseudonyms is not None and pseudonyms.layers:
        earlier = list(_under_fewer_layers(log, one, pseudonyms, begin, counts))
        names.update(event.subject for event in earlier)
        records += earlier
    records.sort(key=written)
    if all(isinstance(record, SecurityEventRecord) for record in records):
        return None
    return _result(records, one, names)


def _under_fewer_layers(
    log: Path, one: AssessmentRecord, pseudonyms: Pseudonyms, begin: Begin, counts: Counts
) -> Iterator[SecurityEventRecord]:
    """Events reported while the subject had an earlier pseudonym. It cannot be derived from the present one: each
    event's own pseudonym has to be converted and compared."""
    known = one.subject[: 2 * PLACE].encode()
    for line, path in _lines(log, begin("events", size(segments_of(log)))):
        event = None if line.startswith(_NO_EVENTS) or known in line else record_of(line, path, counts, decode)
        if isinstance(event, SecurityEventRecord) and _becomes(event, one, pseudonyms):
            yield event


def _lines(log: Path, progress: Progress) -> Iterator[tuple[bytes, Path]]:
    """Every line that is not erased, and its segment."""
    archive = FileLogArchive(log_in(log), 0.0, 0.0)  # its times matter only for erasures
    for path in segments_of(log):
        for now in (path, path.with_name(path.name + PACKED)):  # it may have been compressed meanwhile
            with readable(now), suppress(FileNotFoundError):
                yield from ((line, now) for line in archive.lines(now))
                break
        progress(size_of(path))


def _becomes(event: SecurityEventRecord, one: AssessmentRecord, pseudonyms: Pseudonyms) -> bool:
    """Whether later pepper layers turn the event's subject into that of the assessment."""
    under = None
    if (event.tenant, event.domain) == (one.tenant, one.domain) and event.subject != one.subject:
        under = pseudonyms.layers_under(event.tenant, event.domain, "domain", "", event.keyed)
    if under is None:
        return False
    older, subject = bytes.fromhex(event.subject), bytes.fromhex(one.subject)
    return subject in accumulate(pseudonyms.layers[under:], lambda name, layer: layer.over(name), initial=older)


def account(log: Path, pseudonyms: Sequence[bytes], begin: Begin, counts: Counts) -> Account:
    """Everything about the subject with these pseudonyms. Raises, and counts, as `on_record`."""
    found = _Found(pseudonyms)
    for record in _search(log, pseudonyms, begin, counts):
        found.add(record)
    return found.account()


def accounts(log: Path, subjects: Sequence[Sequence[bytes]], begin: Begin, counts: Counts) -> list[Account]:
    """What `account` returns for each of these subjects. Reads the log once, however many they are."""
    found = [_Found(pseudonyms) for pseudonyms in subjects]
    whose: dict[str, list[_Found]] = {}
    for pseudonyms, one in zip(subjects, found, strict=True):
        for pseudonym in pseudonyms:
            whose.setdefault(pseudonym[:PLACE].hex(), []).append(one)
    for line, path in _lines(log, begin("segments", size(segments_of(log)))):
        ours = head(line + b"\n")
        concerned = whose.get(ours.place) if ours is not None else None
        if concerned and (record := record_of(line, path, counts, decode)) is not None:
            for one in concerned:
                one.add(record)
    return [one.account() for one in found]


class _Found:
    """What was found about the subject with these pseudonyms."""

    def __init__(self, pseudonyms: Sequence[bytes]) -> None:
        self._names = {pseudonym.hex() for pseudonym in pseudonyms}
        self._listed: dict[str, Listed] = {}
        self._kinds: dict[str, list[str]] = {}
        self._events: list[SecurityEventRecord] = []

    def add(self, record: Record) -> None:
        """Note a record, unless it is of another subject."""
        if isinstance(record, AssessmentRecord) and record.subject in self._names:
            self._listed[record.id] = Listed(
                id=record.id,
                time=record.time,
                journey=record.journey,
                tier=record.tier,
                satisfied=record.satisfied,
                reasons=record.reasons,
                outcomes=(),
            )
        elif isinstance(record, SecurityEventRecord) and record.subject in self._names:
            self._events.append(record)
        elif isinstance(record, OutcomeRecord):
            self._kinds.setdefault(record.assessment_id, []).append(record.kind)

    def account(self) -> Account:
        """All of it, the newest first."""
        kinds = {name: tuple(dict.fromkeys(several)) for name, several in self._kinds.items()}
        listed = sorted(self._listed.values(), key=lambda one: -one.time)
        events = sorted(self._events, key=lambda one: -one.time)
        return Account([replace(one, outcomes=kinds.get(one.id, ())) for one in listed], events)


def _search(log: Path, places: Sequence[bytes], begin: Begin, counts: Counts) -> Iterator[Record]:
    """The records of all subjects whose pseudonym begins like one of these."""
    progress = begin("segments", size(segments_of(log)))
    archive = FileLogArchive(log_in(log), 0.0, 0.0)  # its times matter only for erasures
    cursor, more = b"", True
    spoilt: dict[bytes, Exception] = {}
    while more:
        lines, cursor = archive.find(places, cursor, _LINES)
        for line in lines:
            try:
                yield decode(line)
            except msgspec.DecodeError as error:
                spoilt[line] = error
        progress(SCAN)
        more = bool(cursor)
    if spoilt:
        _locate(log, spoilt, counts)


def _locate(log: Path, spoilt: Mapping[bytes, Exception], counts: Counts) -> None:
    """Count unreadable lines with their file and number, which a search does not report. They are few."""
    for path in segments_of(log):
        with readable(path), suppress(FileNotFoundError), opened(path) as segment:
            for number, line in enumerate(segment, 1):
                if (error := spoilt.get(line[:-1])) is not None:
                    counts.damaged(error, str(path), number)


def _of(record: AssessmentRecord | OutcomeRecord | RepeatRecord | ShadowRecord) -> str:
    return record.assessment_id if isinstance(record, OutcomeRecord) else record.id


def _result(found: list[Record], one: AssessmentRecord | None, names: set[str]) -> OnRecord:
    known = one is not None and len(one.vector) == len(NAMES)
    return OnRecord(
        assessment=one,
        features=dict(zip(NAMES, one.vector, strict=True)) if one and known else None,
        reasons=reasons_of(one) if one else (),
        repeats=tuple(record for record in found if isinstance(record, RepeatRecord)),
        shadows=tuple(record for record in found if isinstance(record, ShadowRecord)),
        outcomes=tuple(record for record in found if isinstance(record, OutcomeRecord)),
        events=tuple(
            record
            for record in found
            if isinstance(record, SecurityEventRecord)
            and one is not None
            and written(record) <= written(one)
            and record.subject in names
            and record.time > one.time - SEQUENCE_SECONDS
        ),
    )


def reasons_of(one: AssessmentRecord, said: Mapping[str, str] | None = None) -> tuple[Reason, ...]:
    """The reasons as they were answered. `said`: the texts of rules by code, which are not in the log."""
    own = [RESTRICTED_METHOD, *map(gap_reason, one.gaps), *([learning_reason(one.withheld)] if one.withheld else ())]
    texts = {reason.code: reason.text for reason in own} | dict(said or {})
    moved: dict[str, Reason] = {}
    if one.contributions is not None and len(one.vector) == len(NAMES):
        explained = reasons((), vector_of(one), tuple(one.contributions.get(name, 0.0) for name in NAMES))
        moved = {reason.code: reason for reason in explained}
    unmoved = Reason("", 0.0, "")
    found = ((code, moved.get(code, unmoved)) for code in one.reasons)
    return tuple(Reason(code, reason.contribution, texts.get(code) or reason.text) for code, reason in found)
