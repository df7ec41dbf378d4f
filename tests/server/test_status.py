"""The status that a caller gets for each error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from grpc_status.rpc_status import to_status

from riskd.core.errors import InvalidAttempt, InvalidFile, Problem, RiskdError, Unavailable, UnknownAssessment
from riskd.ports import IncompleteRead
from riskd.server import faults
from riskd.server.identity import callers_file
from riskd.server.status import internal, status

Detail = TypeVar("Detail", bound=Message)
FURTHER: dict[type[RiskdError], tuple[object, ...]] = {IncompleteRead: ([], [], frozenset())}
"""What an error needs besides its problems."""
HEADER_BYTES = 8192
"""What clients accept of metadata by default."""


def kinds(root: type[RiskdError]) -> Iterator[type[RiskdError]]:
    yield root
    for kind in root.__subclasses__():
        yield from kinds(kind)


def detail(made: Status, kind: type[Detail]) -> Detail | None:
    """The detail of this kind, if there is one."""
    found = [each for each in made.details if each.Is(kind.DESCRIPTOR)]
    assert len(found) <= 1
    if not found:
        return None
    message = kind()
    found[0].Unpack(message)
    return message


@pytest.mark.parametrize("kind", list(kinds(RiskdError)), ids=lambda kind: kind.__name__)
def test_every_error_has_its_row(kind: type[RiskdError]) -> None:
    """Every error class has a row in the table of faults and gives its status."""
    assert kind.reason in faults.FAULTS
    made = status(kind([Problem("here", "wrong")], *FURTHER.get(kind, ())))
    info = detail(made, ErrorInfo)
    assert info is not None
    assert (info.reason, info.domain) == (kind.reason, "riskd.dev")
    assert made.code == faults.FAULTS[kind.reason].code.value[0]
    assert (detail(made, BadRequest) is not None) == (made.code == StatusCode.INVALID_ARGUMENT.value[0])


def test_every_row_has_its_error() -> None:
    """Every row belongs to an error class."""
    assert callers_file.InvalidCallers in set(kinds(RiskdError))
    assert {kind.reason for kind in kinds(RiskdError)} == set(faults.FAULTS)


def test_all_violations_are_listed_under_the_caller_s_names() -> None:
    """All violations are listed in one answer, under the names of wire fields."""
    made = status(InvalidAttempt([Problem("subject", "missing", "send one"), Problem("time", "in the future")]))
    bad = detail(made, BadRequest)
    assert bad is not None
    assert [(each.field, each.description) for each in bad.field_violations] == [
        ("subject", "missing; send one"),
        ("event_time", "in the future"),
    ]
    assert made.message == "subject: missing; send one, and 1 more"


def test_the_worst_request_still_gets_its_answer() -> None:
    """Statuses travel in headers, which are bounded: a long list of violations is cut and its true length reported."""
    worst = [Problem(f"attributes[{'é' * 60}]", "不" * 60, "declare it") for _ in range(500)]
    made = status(InvalidAttempt(worst))
    sent = to_status(made)
    header = sum(len(value) * 4 / 3 for _, value in sent.trailing_metadata)
    assert header + 3 * len(sent.details.encode()) < HEADER_BYTES
    info, bad = detail(made, ErrorInfo), detail(made, BadRequest)
    assert info is not None
    assert info.metadata["violations"] == "500"
    assert bad is not None
    assert 5 < len(bad.field_violations) < 500


def test_an_error_without_violations_has_its_whole_message() -> None:
    """An error without field violations has all its problems with their remedies in the message."""
    remedy = "outcomes are accepted for as long as the policy keeps receipts: 90 days, unless it says otherwise"
    unknown = Problem("assessment_id", f"no assessment {'0' * 32} of this tenant", remedy)
    assert status(UnknownAssessment([unknown])).message.endswith(f"of this tenant; {remedy}")
    problems = [Problem(f"customer.yaml:{line}:1", "unknown tier 'MORE'", "use one of: BASELINE") for line in range(9)]
    assert status(InvalidFile(problems)).message.splitlines() == [
        f"{problem.where}: {problem.what}; {problem.remedy}" for problem in problems
    ]


def test_the_worst_file_still_gets_its_answer() -> None:
    """A message that does not fit into a header is cut and ends with an ellipsis."""
    sent = to_status(made := status(InvalidFile([Problem("不" * 60, "不" * 60)] * 500)))
    header = sum(len(value) * 4 / 3 for _, value in sent.trailing_metadata)
    assert header + 3 * len(sent.details.encode()) < HEADER_BYTES
    assert made.message.endswith("不 ...")


@pytest.mark.parametrize("kind", [Unavailable, UnknownAssessment])
def test_only_what_may_pass_is_to_be_retried(kind: type[RiskdError]) -> None:
    """RetryInfo comes with UNAVAILABLE, and not with errors that a retry cannot fix."""
    retry = detail(status(kind([])), RetryInfo)
    assert (retry is not None) == (kind is Unavailable)
    assert retry is None or retry.retry_delay.seconds == 1


def test_a_problem_with_invalid_text_can_be_sent() -> None:
    """A problem with invalid Unicode, such as a file name, can be sent to callers and other processes."""
    problem = Problem("/etc/riskd/\udcff.yaml", "caf\xe9 \ud83d", "rename \U0001f3d4")
    assert status(InvalidFile([problem])).message == r"/etc/riskd/\udcff.yaml: café \ud83d; rename 🏔"
    assert msgspec.json.decode(msgspec.json.encode(problem), type=Problem) == problem


def test_an_error_without_a_row_is_a_bug() -> None:
    """An error with an unknown reason is sent as INTERNAL."""
    stranger = RiskdError([Problem("here", "wrong")])
    stranger.reason = "STRANGE"
    info = detail(status(stranger), ErrorInfo)
    assert info is not None
    assert info.reason == "INTERNAL"


def test_an_internal_error_shows_only_its_id() -> None:
    """An internal error has only an id for the caller; the log has the details."""
    made = internal("1234")
    info = detail(made, ErrorInfo)
    assert info is not None
    assert dict(info.metadata) == {"error_id": "1234"}
    assert made.message == "internal error 1234"
