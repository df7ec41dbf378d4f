"""SubjectService: one method per RPC, and the translation of its messages."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from typing import Final, Protocol

from riskd._proto.riskd.v1 import subject_pb2
from riskd.core.dossier import Open, Seen, Summary
from riskd.core.errors import InvalidSubject, Problem
from riskd.server.risk_servicer import Call, time_left
from riskd.server.translate import DOMAIN_WORDS, timestamp
from riskd.subjects import Erased, Exported, Page, Subject

SECONDS: Final = 30.0
"""Longest time for one erasure; the caller's deadline can shorten it."""
Request = subject_pb2.GetSubjectSummaryRequest | subject_pb2.ExportSubjectRequest | subject_pb2.EraseSubjectRequest


class Subjects(Protocol):
    """The operations behind the RPCs. Each raises InvalidSubject and Unavailable."""

    def summary(self, subject: Subject) -> Summary:
        """What a support agent needs to know about the subject."""
        ...

    def export(self, subject: Subject, size: int, token: bytes) -> Page:
        """A page of at most `size` of the subject's records. `token`: where it begins, empty for the first page."""
        ...

    def erase(self, subject: Subject, timeout: float) -> Erased:
        """Erase all of the subject's records, within `timeout` seconds."""
        ...


class SubjectServicer:
    """SubjectService over the operations on subjects."""

    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects

    def get_subject_summary(
        self, request: subject_pb2.GetSubjectSummaryRequest, call: Call
    ) -> subject_pb2.GetSubjectSummaryResponse:
        """What is known about the subject."""
        time_left(call, SECONDS)
        return _summary(self._subjects.summary(_subject(request)))

    def export_subject(
        self, request: subject_pb2.ExportSubjectRequest, call: Call
    ) -> subject_pb2.ExportSubjectResponse:
        """A page of all that is stored about the subject."""
        time_left(call, SECONDS)
        page = self._subjects.export(_subject(request), request.page_size, _token(request.page_token))
        return subject_pb2.ExportSubjectResponse(
            records=[_record(record) for record in page.records],
            next_page_token=urlsafe_b64encode(page.token).decode("ascii"),
        )

    def erase_subject(self, request: subject_pb2.EraseSubjectRequest, call: Call) -> subject_pb2.EraseSubjectResponse:
        """Erase all that is stored about the subject."""
        erased = self._subjects.erase(_subject(request), time_left(call, SECONDS))
        return subject_pb2.EraseSubjectResponse(
            erased_records={kind: count for kind, count in erased.records.items() if count},
            log_erase_time=timestamp(erased.log_by),
        )


def _subject(request: Request) -> Subject:
    return Subject(request.tenant, DOMAIN_WORDS[request.domain], request.subject)


def _token(text: str) -> bytes:
    try:
        return b64decode(text.encode(), altchars=b"-_", validate=True)
    except Base64Error:
        raise InvalidSubject(
            [Problem("page_token", "is not a token of an export", "send the last one unchanged")]
        ) from None


def _summary(known: Summary) -> subject_pb2.GetSubjectSummaryResponse:
    return subject_pb2.GetSubjectSummaryResponse(
        known_since_time=timestamp(known.since),
        last_sign_in_time=timestamp(known.last),
        taught_units=known.units,
        attempt_count=known.attempts,
        failure_count=known.failures,
        seen_values=[_seen(value) for value in known.seen],
        sensitive_steps=[
            subject_pb2.SensitiveStep(kind=step.kind, event_time=timestamp(step.time)) for step in known.steps
        ],
        open_receipts=[_open(receipt) for receipt in known.open],
    )


def _seen(value: Seen) -> subject_pb2.SeenValue:
    return subject_pb2.SeenValue(
        table=value.table,
        value=value.value,
        first_week_time=timestamp(value.first),
        last_week_time=timestamp(value.last),
        taught_units=value.units,
        trust=value.trust,
    )


def _open(receipt: Open) -> subject_pb2.OpenReceipt:
    return subject_pb2.OpenReceipt(
        assessment_id=receipt.id,
        event_time=timestamp(receipt.time),
        journey=receipt.journey,
        tier=receipt.tier,
        taught_units=receipt.units,
        outcomes=receipt.reported,
        expire_time=timestamp(receipt.expires),
    )


def _record(record: Exported) -> subject_pb2.SubjectRecord:
    return subject_pb2.SubjectRecord(
        kind=record.kind, key=record.key, expire_time=timestamp(record.expires), json=record.content.decode("utf-8")
    )
