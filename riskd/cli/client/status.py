"""Why a call failed: its exit code, and what every client prints about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status.rpc_status import from_call

from riskd.cli.terminal import complain

BAD_INPUT: Final = 2
NO_ANSWER: Final = 3
FAILED: Final = 1
_EXIT: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: BAD_INPUT,
    grpc.StatusCode.UNAVAILABLE: NO_ANSWER,
    grpc.StatusCode.DEADLINE_EXCEEDED: NO_ANSWER,
    grpc.StatusCode.CANCELLED: NO_ANSWER,
    grpc.StatusCode.RESOURCE_EXHAUSTED: NO_ANSWER,
}
_HINTS: Final = (
    (
        "UNAVAILABLE",
        "unix:",
        "is `riskd serve` running? Run this as the user of the service and with its settings (`state.dir`, sockets)",
    ),
    ("UNAVAILABLE", "CERTIFICATE_VERIFY_FAILED", "--ca must name the authority that signed the server's certificate"),
    ("UNAVAILABLE", "Hostname Verification", "the server's certificate names another host than --target does"),
    ("UNAVAILABLE", "Socket closed", "the server may speak TLS: give --ca"),
    (
        "UNAVAILABLE",
        "",
        "is `riskd serve` running? It prints its address when it starts. --target sets the address, --ca turns on TLS",
    ),
    ("UNIMPLEMENTED", "", "this address does not serve it: see the settings `subjects.serve` and `release.serve`"),
)
"""Hints for errors that gRPC itself raises: status code, part of its message, hint. The first that matches is
printed."""


def failed(error: grpc.RpcError) -> int:
    """Print why a call failed, and return the exit code."""
    for line in explained(error):
        complain(line)
    return _EXIT.get(error.code(), FAILED)


def explained(error: grpc.RpcError) -> Iterator[str]:
    """The lines that explain a failed call: its status, a hint if there is one, and each violation."""
    info, bad = details_of(error)
    heading = " ".join(filter(None, (error.code().name, info.reason)))
    yield f"{heading}:" if bad.field_violations else f"{heading}: {error.details()}"
    message = error.details() or ""
    hints = (hint for code, part, hint in _HINTS if code == error.code().name and part in message)
    if not info.reason and (hint := next(hints, "")):
        yield f"  {hint}"
    for violation in bad.field_violations:
        yield f"  {violation.field}: {violation.description}"


def details_of(error: grpc.RpcError) -> tuple[ErrorInfo, BadRequest]:
    """The reason of a failed call, and the fields that it names. Empty if the error does not come from riskd."""
    status, info, bad = from_call(error), ErrorInfo(), BadRequest()
    for detail in status.details if status is not None else ():
        detail.Unpack(info)
        detail.Unpack(bad)
    return info, bad
