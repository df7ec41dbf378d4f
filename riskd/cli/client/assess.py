"""The client half of `riskd assess`, `outcome` and `events tell`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

import grpc
from google.protobuf.json_format import MessageToJson
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd._proto.riskd.v1.assessment_pb2 import Reason, Tier
from riskd._proto.riskd.v1.attempt_pb2 import RiskLevel
from riskd.cli.client.connection import call_metadata, connect
from riskd.cli.client.status import failed
from riskd.cli.terminal import print_section
from riskd.core.attempt import Outcome, SecurityEvent
from riskd.core.errors import InvalidEvent, InvalidOutcome, Problem
from riskd.core.validation import event_violations, outcome_violations
from riskd.wording import quantity

TIERS_FROM: Final = 10
Request = TypeVar("Request")
Response = TypeVar(
    "Response", bound=risk_pb2.AssessResponse | risk_pb2.RecordOutcomeResponse | risk_pb2.RecordSecurityEventResponse
)
Method: TypeAlias = "Callable[[risk_pb2_grpc.RiskServiceStub], grpc.UnaryUnaryMultiCallable[Request, Response]]"


def run(args: argparse.Namespace, method: Method[Request, Response], request: Request) -> int:
    """Call the method with the request, and print the response. Returns the exit code."""
    metadata = call_metadata(args)
    try:
        with connect(args) as channel:
            call = method(risk_pb2_grpc.RiskServiceStub(channel))
            response = call(request, timeout=args.timeout, metadata=metadata)
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
