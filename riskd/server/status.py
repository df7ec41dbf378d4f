"""What crosses the wire when something is wrong (AIP-193): a google.rpc.Status with one ErrorInfo."""

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
"""Violations are listed up to this size: clients accept 8 KiB of headers, and these travel as base64."""
_SUMMARY_CHARACTERS: Final = 160
_MESSAGE_BYTES: Final = 1024
"""Of a message that stands alone: it travels twice, as percent-encoded text and inside the status as base64."""
_RETRY: Final = {StatusCode.UNAVAILABLE: 1, StatusCode.RESOURCE_EXHAUSTED: 1}
"""Seconds to wait before a retry; other codes are not to be retried (AIP-194)."""


def status(error: RiskdError) -> Status:
    """The status of an error. A reason without a row is a bug, and says INTERNAL."""
    reason = error.reason if error.reason in FAULTS else "INTERNAL"
    code = FAULTS[reason].code
    details: list[Message] = [ErrorInfo(reason=reason, domain=DOMAIN)]
    message = _whole(error.problems)
    if code is StatusCode.INVALID_ARGUMENT:
        details[0] = ErrorInfo(reason=reason, domain=DOMAIN, metadata={"violations": str(len(error.problems))})
        details.append(_violations(error.problems))
        message = _summary(error.problems)
    if code in _RETRY:
        details.append(RetryInfo(retry_delay=Duration(seconds=_RETRY[code])))
    return _status(code, message, details)


def internal(error_id: str) -> Status:
    """The status of a bug; nothing about it but the id under which it was logged."""
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
    """A line, beside violations that say all."""
    first = "".join(_line(problem) for problem in problems[:1])[:_SUMMARY_CHARACTERS]
    return f"{first}, and {len(problems) - 1} more" if len(problems) > 1 else first


def _whole(problems: tuple[Problem, ...]) -> str:
    """A line for each problem: nothing else on the wire tells them."""
    said = "\n".join(_line(problem) for problem in problems).encode()
    return said[:_MESSAGE_BYTES].decode(errors="ignore") + (" ..." if len(said) > _MESSAGE_BYTES else "")
