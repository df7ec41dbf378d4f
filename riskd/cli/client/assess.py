"""The client half of `riskd assess`, `outcome` and `events tell`, and how every client prints errors."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Final

import grpc
from google.protobuf.json_format import MessageToJson
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status.rpc_status import from_call
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd._proto.riskd.v1.assessment_pb2 import Reason, Tier
from riskd._proto.riskd.v1.attempt_pb2 import RiskLevel
from riskd.cli.client.connection import connect
from riskd.cli.terminal import complain, print_section
from riskd.core.attempt import Outcome, SecurityEvent
from riskd.core.errors import InvalidEvent, InvalidOutcome, Problem
from riskd.core.validation import event_violations, outcome_violations
from riskd.wording import quantity

BAD_INPUT: Final = 2
NO_ANSWER: Final = 3
FAILED: Final = 1
TIERS_FROM: Final = 10
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
Response = risk_pb2.AssessResponse | risk_pb2.RecordOutcomeResponse | risk_pb2.RecordSecurityEventResponse


def run(args: argparse.Namespace, call: Callable[[risk_pb2_grpc.RiskServiceStub], Response]) -> int:
    """Make the call and print the response. Returns the exit code."""
    try:
        with connect(args) as channel:
            response = call(risk_pb2_grpc.RiskServiceStub(channel))
    except grpc.RpcError as error:
        return failed(error)
    if args.json:
        print(MessageToJson(response, always_print_fields_with_no_presence=True))
    elif isinstance(response, risk_pb2.AssessResponse):
        _show(response, Console())
    elif isinstance(response, risk_pb2.RecordSecurityEventResponse):
        print("recorded")
    else:
        print(f"recorded; the attempt has taught {quantity(response.taught_units, 'unit')} of trust")
    if isinstance(response, risk_pb2.AssessResponse) and args.exit_tier:
        return TIERS_FROM + response.requirement.tier
    return 0


def outcome_request(outcome: Outcome) -> risk_pb2.RecordOutcomeRequest:
    """The request that reports an outcome. Raises InvalidOutcome with all its problems."""
    if violations := outcome_violations(outcome, time.time()):
        raise InvalidOutcome(violations)
    request = risk_pb2.RecordOutcomeRequest(assessment_id=outcome.assessment_id, tenant=outcome.tenant)
    if outcome.time is not None:
        request.event_time.FromMicroseconds(round(outcome.time * 1e6))
    group, _, end = outcome.kind.partition("_")
    if group == "challenge":
        challenge = risk_pb2.Challenge(result=f"RESULT_{end.upper()}", amr=outcome.amr)
        if outcome.seconds is not None:
            challenge.duration.FromNanoseconds(round(outcome.seconds * 1e9))
        request.challenge.CopyFrom(challenge)
    elif outcome.amr or outcome.seconds is not None:
        raise InvalidOutcome([Problem(outcome.kind, "takes no methods and no time", "leave out --amr and --seconds")])
    elif group == "recovery":
        request.recovery.CopyFrom(risk_pb2.Recovery(result=f"RESULT_{end.upper()}"))
    else:
        getattr(request, outcome.kind).SetInParent()
    return request


def event_request(event: SecurityEvent) -> risk_pb2.RecordSecurityEventRequest:
    """The request that reports a security event. Raises InvalidEvent with all its problems."""
    if violations := event_violations(event, time.time()):
        raise InvalidEvent(violations)
    request = risk_pb2.RecordSecurityEventRequest(
        tenant=event.tenant,
        domain=f"IDENTITY_DOMAIN_{event.domain.upper()}",
        subject=event.subject,
        issuer=event.issuer,
    )
    if event.time is not None:
        request.event_time.FromMicroseconds(round(event.time * 1e6))
    details = getattr(request, event.kind)
    details.SetInParent()
    if event.level:
        details.current_level = RiskLevel.Value(f"RISK_LEVEL_{event.level.upper()}")
    if event.credential_type:
        details.credential_type = event.credential_type
    if event.hijacked:
        details.hijacked = True
    return request


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


def _show(response: risk_pb2.AssessResponse, console: Console) -> None:
    """Print an assessment for people: the requirement first, then the reasons, then the gaps."""
    needed = response.requirement
    tier = Tier.Name(needed.tier).removeprefix("TIER_")
    level = RiskLevel.Name(response.level).removeprefix("RISK_LEVEL_").lower()
    grid = Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 2))
    grid.add_row("tier", Text(tier + (", already satisfied" if needed.satisfied else ""), style="bold"))
    grid.add_row("score", f"{response.score:.4f} ({level})")
    if needed.aal:
        grid.add_row("assurance", f"AAL{needed.aal}")
    if needed.acr_values:
        grid.add_row("acr_values", Text(" ".join(needed.acr_values)))
    if needed.HasField("max_age"):
        grid.add_row("max_age", f"{needed.max_age.seconds} s")
    if needed.amr:
        grid.add_row("amr", Text(" | ".join("+".join(each.methods) for each in needed.amr)))
    grid.add_row("coverage", f"{response.coverage:.0%}")
    if response.degraded:
        grid.add_row("degraded", Text(", ".join(response.causes), style="bold"))
    if response.next_signals:
        grid.add_row("next signals", Text(", ".join(response.next_signals)))
    grid.add_row("release", Text(f"{response.release}, model {response.model}"))
    grid.add_row("assessment", Text(response.assessment_id))
    console.print(grid)
    print_section(("reason", "log-odds", "because"), [_reason(each) for each in response.reasons])
    print_section(("gap", "why"), [(gap.source, gap.why) for gap in response.gaps])


def _reason(reason: Reason) -> tuple[str, str, str]:
    return reason.code, f"{reason.contribution:+.2f}" if reason.contribution else "", reason.text
