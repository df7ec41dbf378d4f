"""The client half of `riskd assess` and `riskd outcome`, and how every client of the command line tells errors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import grpc
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import MessageToJson, Parse, ParseDict, ParseError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status.rpc_status import from_call
from rich.console import Console
from rich.table import Table
from rich.text import Text

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd._proto.riskd.v1.assessment_pb2 import Reason, Tier
from riskd._proto.riskd.v1.attempt_pb2 import RiskLevel
from riskd.cli.client.connection import connect
from riskd.core.attempt import Outcome
from riskd.core.errors import InvalidAttempt, InvalidOutcome, Problem

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
_HINTS: Final = {
    grpc.StatusCode.UNAVAILABLE: "`riskd serve` says where it serves once it does; --target names another place, "
    "--ca is for TLS",
    grpc.StatusCode.UNIMPLEMENTED: "that is not served there: `subjects.serve` and `release.serve` say where it is",
}
"""What to look at after an error that gRPC itself makes."""
Response = risk_pb2.AssessResponse | risk_pb2.RecordOutcomeResponse


def run(args: argparse.Namespace, call: Callable[[risk_pb2_grpc.RiskServiceStub], Response]) -> int:
    """Call, print, and the exit code."""
    try:
        with connect(args) as channel:
            response = call(risk_pb2_grpc.RiskServiceStub(channel))
    except grpc.RpcError as error:
        return failed(error)
    if args.json:
        print(MessageToJson(response, always_print_fields_with_no_presence=True))
    elif isinstance(response, risk_pb2.AssessResponse):
        _show(response, Console())
    else:
        print(f"taught {response.taught_units} units")
    if isinstance(response, risk_pb2.AssessResponse) and args.exit_tier:
        return TIERS_FROM + response.requirement.tier
    return 0


def assess_request(document: str, fields: Iterable[tuple[str, str]]) -> risk_pb2.AssessRequest:
    """The request that a JSON document and (path, text) fields say. Raises InvalidAttempt with all mistakes."""
    request, problems = risk_pb2.AssessRequest(), []
    described = risk_pb2.DESCRIPTOR.message_types_by_name["AssessRequest"]
    remedy = "write the JSON form of riskd.v1.AssessRequest"
    if not document.lstrip().startswith("{"):
        problems.append(Problem("file", "is no JSON object", remedy))
    else:
        try:
            Parse(document, request)
        except ParseError as error:
            problems.append(Problem("file", str(error), remedy))
    for path, text in fields:
        try:
            ParseDict(_tree(described, path, text), request)
        except ParseError as error:
            problems.append(Problem(path, str(error)))
    if problems:
        raise InvalidAttempt(problems)
    return request


def _tree(message: Descriptor, path: str, text: str) -> dict[str, object]:
    """The JSON document that says one field. Raises ParseError when there is none of that name."""
    name, _, rest = path.partition(".")
    field = message.fields_by_name.get(name)
    if field is None:
        raise ParseError(f"{message.full_name} has no field {name!r}")
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        return {name: {rest: text}}
    if inner is not None and inner.file.package == message.file.package:
        return {name: _tree(inner, rest, text)}
    if rest:
        raise ParseError(f"{name} has no parts")
    return {name: _value(field, text)}


def _value(field: FieldDescriptor, text: str) -> object:
    """A field's value in JSON. Enum values may be written in their short form: `login`."""
    if field.is_repeated:
        return text.split(",")
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"true": True, "false": False}.get(text, text)
    if field.enum_type is not None:
        return _enum(field.enum_type, text)
    return text


def _enum(kind: EnumDescriptor, text: str) -> str:
    """The name of an enum's value, which may be written short. Raises ParseError with all of them where it is none."""
    unspecified, *names = [value.name for value in kind.values]
    prefix = unspecified.removesuffix("UNSPECIFIED")
    if (wanted := prefix + text.upper().removeprefix(prefix)) in names:
        return wanted
    raise ParseError(f"{text!r} is none of {', '.join(name.removeprefix(prefix).lower() for name in names)}")


def outcome_request(outcome: Outcome) -> risk_pb2.RecordOutcomeRequest:
    """The request that says an outcome. Raises InvalidOutcome where the wire has no place for what it says."""
    request = risk_pb2.RecordOutcomeRequest(assessment_id=outcome.assessment_id, tenant=outcome.tenant)
    group, _, end = outcome.kind.partition("_")
    if group == "challenge":
        challenge = risk_pb2.Challenge(result=f"RESULT_{end.upper()}", amr=outcome.amr)
        if outcome.seconds is not None:
            challenge.duration.FromNanoseconds(round(outcome.seconds * 1e9))
        request.challenge.CopyFrom(challenge)
    elif outcome.amr or outcome.seconds is not None:
        raise InvalidOutcome([Problem(outcome.kind, "has neither methods nor a time", "leave --amr and --seconds out")])
    elif group == "recovery":
        request.recovery.CopyFrom(risk_pb2.Recovery(result=f"RESULT_{end.upper()}"))
    else:
        getattr(request, outcome.kind).SetInParent()
    return request


def failed(error: grpc.RpcError) -> int:
    """Tell why a call failed; the exit code."""
    for line in _explain(error):
        print(f"riskd: {line}", file=sys.stderr)
    return _EXIT.get(error.code(), FAILED)


def _explain(error: grpc.RpcError) -> Iterator[str]:
    """The status of a call that failed: a line for it, and one for each violation."""
    status, info, bad = from_call(error), ErrorInfo(), BadRequest()
    for detail in status.details if status is not None else ():
        detail.Unpack(info)
        detail.Unpack(bad)
    yield (
        f"{error.code().name} {info.reason}: {error.details()}"
        if info.reason
        else f"{error.code().name}: {error.details()}"
    )
    if not info.reason and (hint := _HINTS.get(error.code())):
        yield f"  {hint}"
    for violation in bad.field_violations:
        yield f"  {violation.field}: {violation.description}"


def _show(response: risk_pb2.AssessResponse, console: Console) -> None:
    """An answer for people: the requirement first, then why, then what was missing."""
    needed = response.requirement
    tier = Tier.Name(needed.tier).removeprefix("TIER_")
    level = RiskLevel.Name(response.level).removeprefix("RISK_LEVEL_").lower()
    grid = Table.grid(padding=(0, 2))
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
        grid.add_row("ask next", Text(", ".join(response.next_signals)))
    grid.add_row("release", Text(f"{response.release}, model {response.model}"))
    grid.add_row("assessment", Text(response.assessment_id))
    console.print(grid)
    listed(console, ("reason", "log-odds", "because"), [_reason(each) for each in response.reasons])
    listed(console, ("gap", "why"), [(gap.source, gap.why) for gap in response.gaps])


def _reason(reason: Reason) -> tuple[str, str, str]:
    return reason.code, f"{reason.contribution:+.2f}" if reason.contribution else "", reason.text


def listed(console: Console, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table, if it has rows."""
    if rows:
        table = Table(*heads, box=None, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print()
        console.print(table)
