"""Turns errors into google.rpc.Status messages with an ErrorInfo (AIP-193)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from riskd.core.errors import Problem, RiskdError
from riskd.server.faults import DOMAIN, FAULTS
from riskd.server.translate import wire_path

VIOLATIONS_BYTES: Final = 3072
"""Violations are listed up to this size. Clients accept 8 KiB of headers, and the status is sent there as base64."""
_SUMMARY_CHARACTERS: Final = 160
_MESSAGE_BYTES: Final = 1024
"""Longest message, without violations. It is sent twice: percent-encoded, and inside the status as base64."""
_RETRY: Final = {StatusCode.UNAVAILABLE: 1, StatusCode.RESOURCE_EXHAUSTED: 1}
"""Seconds to wait before a retry. Clients should not retry other codes (AIP-194)."""


def status(error: RiskdError) -> Status:
    """The status of an error. A reason that is missing in `FAULTS` is a bug and becomes INTERNAL."""
    reason = error.reason if error.reason in FAULTS else "INTERNAL"
    code = FAULTS[reason].code
    details: list[Message] = [ErrorInfo(reason=reason, domain=DOMAIN)]
    message = _message(error.problems)
    if code is StatusCode.INVALID_ARGUMENT:
        details[0] = ErrorInfo(reason=reason, domain=DOMAIN, metadata={"violations": str(len(error.problems))})
        details.append(_violations(error.problems))
        message = _summary(error.problems)
    if code in _RETRY:
        details.append(RetryInfo(retry_delay=Duration(seconds=_RETRY[code])))
    return _status(code, message, details)


def internal(error_id: str) -> Status:
    """The status of a bug. It holds only the id under which the bug was logged."""
    info = ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"error_id": error_id})
    return _status(StatusCode.INTERNAL, f"internal error {error_id}", [info])


def _status(code: StatusCode, message: str, details: Iterable[Message]) -> Status:
    made = Status(code=code.value[0], message=message)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        made.details.append(packed)
    return made


def _violations(problems: Iterable[Problem]) -> BadRequest:
    listed, size = BadRequest(), 0
    for problem in problems:
        violation = BadRequest.FieldViolation(field=wire_path(problem.where), description=_text(problem))
        size += violation.ByteSize() + 3
        if size > VIOLATIONS_BYTES:
            break
        listed.field_violations.append(violation)
    return listed


def _text(problem: Problem) -> str:
    return f"{problem.what}; {problem.remedy}" if problem.remedy else problem.what


def _line(problem: Problem) -> str:
    return f"{wire_path(problem.where)}: {_text(problem)}"


def _summary(problems: tuple[Problem, ...]) -> str:
    """The first problem, shortened, and the number of the others; the violations list them in full."""
    first = "".join(_line(problem) for problem in problems[:1])[:_SUMMARY_CHARACTERS]
    return f"{first}, and {len(problems) - 1} more" if len(problems) > 1 else first


def _message(problems: tuple[Problem, ...]) -> str:
    """A line for each problem, cut at `_MESSAGE_BYTES`."""
    text = "\n".join(_line(problem) for problem in problems).encode()
    return text[:_MESSAGE_BYTES].decode(errors="ignore") + (" ..." if len(text) > _MESSAGE_BYTES else "")
