"""`riskd outcome --file`: reports many outcomes, read as JSON lines, with several calls under way at a time."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd.cli.client.assess import outcome_request
from riskd.cli.client.connection import PATIENT, call_metadata, connect
from riskd.cli.client.lines import Report, call_each
from riskd.cli.terminal import print_json
from riskd.core.attempt import Outcome
from riskd.core.errors import UNDECODABLE, InvalidOutcome, Problem
from riskd.offline.importers.event import moment
from riskd.wording import quantity

WINDOW: Final = 16
"""How many calls may wait for an answer at a time."""


class _Line(Struct, frozen=True, forbid_unknown_fields=True):
    """An outcome as a line of the file. `time`: ISO 8601 or epoch seconds."""

    assessment_id: str
    kind: str
    tenant: str = ""
    time: str | float | None = None
    amr: tuple[str, ...] = ()
    seconds: float | None = None


_LINE: Final = msgspec.json.Decoder(_Line)


def run(args: argparse.Namespace, lines: Iterable[str]) -> int:
    """Report the outcome of each line. Returns the exit code. If it is interrupted, it says how far it came."""
    report = Report()
    with connect(args, PATIENT) as channel:
        record = risk_pb2_grpc.RiskServiceStub(channel).RecordOutcome.future
        call = partial(record, timeout=args.timeout, metadata=call_metadata(args))
        call_each(call, _requests(lines, report), report, WINDOW)
    if args.json:
        print_json(report.as_json("recorded"))
    else:
        report.complain()
        print(f"recorded {quantity(report.accepted, 'outcome')}, refused {report.refused:,}")
    return report.exit_code("riskd outcome --file -")


def _requests(lines: Iterable[str], report: Report) -> Iterator[tuple[int, str, risk_pb2.RecordOutcomeRequest]]:
    """The request of each line, with the line's number and assessment. Skips empty lines, and refuses invalid ones."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                outcome = _outcome(line)
                yield number, outcome.assessment_id, outcome_request(outcome)
            except InvalidOutcome as error:
                report.refuse(number, "; ".join(map(str, error.problems)))


def _outcome(line: str) -> Outcome:
    try:
        read = _LINE.decode(line)
    except (*UNDECODABLE, UnicodeEncodeError) as error:
        remedy = 'write it as {"assessment_id": "...", "kind": "confirmed_fraud"}'
        raise InvalidOutcome([Problem("outcome", f"is not valid: {error}", remedy)]) from None
    time = moment(read.time) if isinstance(read.time, str) else read.time
    if time is None and read.time is not None:
        raise InvalidOutcome([Problem("time", f"{read.time!r} is not a time", "write it as 2026-01-31T12:00:00Z")])
    return Outcome(**{**msgspec.structs.asdict(read), "time": time})
