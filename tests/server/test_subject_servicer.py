"""SubjectService: what it passes on and what it shows, over a fake that records requests."""

from __future__ import annotations

from typing import Any, Final

import pytest
from google.protobuf.json_format import MessageToDict

from riskd._proto.riskd.v1 import subject_pb2
from riskd._proto.riskd.v1.attempt_pb2 import IDENTITY_DOMAIN_MACHINE
from riskd.core.dossier import Open, Seen, Step, Summary
from riskd.core.errors import InvalidSubject
from riskd.server.faults import DeadlinePassed
from riskd.server.subject_servicer import SECONDS, SubjectServicer
from riskd.subjects import Erased, Exported, Page, Subject
from tests.server.world import Left

WHO = Subject("acme", "machine", "robot")
NAMED: Final[dict[str, Any]] = {"tenant": "acme", "domain": IDENTITY_DOMAIN_MACHINE, "subject": "robot"}
TOKEN = b"\xff\xef\xbe next"
"""Base64 of it has both characters in which the alphabets differ."""


class Kept:
    """A subject whose every fact has another value, and the requests about it."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def summary(self, subject: Subject) -> Summary:
        self.asked.append(subject)
        return Summary(
            since=1.0,
            last=2.0,
            units=3,
            attempts=4.0,
            failures=5.0,
            seen=(Seen("device", "d", 6.0, 7.0, 8, 9.0),),
            steps=(Step("payment", 10.0),),
            open=(Open("id", 11.0, "login", "HIGH", 12, ("met",), 13.0),),
        )

    def export(self, subject: Subject, size: int, token: bytes) -> Page:
        self.asked.append((subject, size, token))
        return Page((Exported("profile", "ab", 1.0, '{"ä": 1}'.encode()),), TOKEN)

    def erase(self, subject: Subject, timeout: float) -> Erased:
        self.asked.append((subject, timeout))
        return Erased({"profile": 2, "reply": 0}, 1.0)


def at(second: int) -> str:
    return f"1970-01-01T00:00:{second:02}Z"


def test_a_summary_is_shown_in_full() -> None:
    """Each fact of a summary is shown under its own name."""
    kept = Kept()
    answer = SubjectServicer(kept).get_subject_summary(subject_pb2.GetSubjectSummaryRequest(**NAMED), Left())
    assert kept.asked == [WHO]
    assert MessageToDict(answer) == {
        "knownSinceTime": at(1),
        "lastSignInTime": at(2),
        "taughtUnits": "3",
        "attemptCount": 4.0,
        "failureCount": 5.0,
        "seenValues": [
            {
                "table": "device",
                "value": "d",
                "firstWeekTime": at(6),
                "lastWeekTime": at(7),
                "taughtUnits": "8",
                "trust": 9.0,
            }
        ],
        "sensitiveSteps": [{"kind": "payment", "eventTime": at(10)}],
        "openReceipts": [
            {
                "assessmentId": "id",
                "eventTime": at(11),
                "journey": "login",
                "tier": "HIGH",
                "taughtUnits": "12",
                "outcomes": ["met"],
                "expireTime": at(13),
            }
        ],
    }


def test_an_export_continues_where_its_page_ended() -> None:
    """A page shows each record, and its token, sent back, is the one that the export returned."""
    kept = Kept()
    asked = subject_pb2.ExportSubjectRequest(page_size=3, **NAMED)
    page = SubjectServicer(kept).export_subject(asked, Left())
    asked.page_token = page.next_page_token
    SubjectServicer(kept).export_subject(asked, Left())
    assert kept.asked == [(WHO, 3, b""), (WHO, 3, TOKEN)]
    (record,) = page.records
    assert MessageToDict(record) == {"kind": "profile", "key": "ab", "expireTime": at(1), "json": '{"ä": 1}'}


@pytest.mark.parametrize("token", ["?", "a", "YQ=", "é"])
def test_a_made_up_page_token_is_refused(token: str) -> None:
    """A page token that is no base64 is refused, and nothing is read."""
    kept = Kept()
    with pytest.raises(InvalidSubject, match="page_token"):
        SubjectServicer(kept).export_subject(subject_pb2.ExportSubjectRequest(page_token=token, **NAMED), Left())
    assert kept.asked == []


def test_an_erasure_says_what_is_gone() -> None:
    """An erasure gets the time that the caller has, up to a bound, and names only kinds of which there were records."""
    kept = Kept()
    for left in (2.0, SECONDS + 1):
        answer = SubjectServicer(kept).erase_subject(subject_pb2.EraseSubjectRequest(**NAMED), Left(left))
        assert MessageToDict(answer) == {"erasedRecords": {"profile": "2"}, "logEraseTime": at(1)}
    assert kept.asked == [(WHO, 2.0), (WHO, SECONDS)]


def test_nothing_is_done_too_late() -> None:
    """A request whose deadline has passed does nothing."""
    kept = Kept()
    servicer, late = SubjectServicer(kept), Left(0.0)
    for call in (
        lambda: servicer.get_subject_summary(subject_pb2.GetSubjectSummaryRequest(**NAMED), late),
        lambda: servicer.export_subject(subject_pb2.ExportSubjectRequest(**NAMED), late),
        lambda: servicer.erase_subject(subject_pb2.EraseSubjectRequest(**NAMED), late),
    ):
        with pytest.raises(DeadlinePassed):
            call()
    assert kept.asked == []
