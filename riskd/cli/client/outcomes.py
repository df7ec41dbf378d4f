"""`riskd outcome --file`: reports many outcomes, read as JSON lines, with several calls under way at a time."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import grpc
import msgspec
from msgspec import Struct

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd.cli.client.assess import BAD_INPUT, explained, failed, outcome_request
from riskd.cli.client.connection import PATIENT, call_metadata, connect
from riskd.cli.terminal import complain, print_json, show_count
from riskd.core.attempt import Outcome
from riskd.core.errors import UNDECODABLE, InvalidOutcome, Problem
from riskd.offline.importers.event import moment
from riskd.wording import quantity

WINDOW: Final = 16
"""How many calls may wait for an answer at a time."""
SHOWN: Final = 10
"""How many refused lines are shown."""
_ABOUT_ONE: Final = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
"""Errors that concern one outcome. With any other the next call would fail, too."""


class _Line(Struct, frozen=True, forbid_unknown_fields=True):
    """An outcome as a line of the file. `time`: ISO 8601 or epoch seconds."""

    assessment_id: str
    kind: str
    tenant: str = ""
    time: str | float | None = None
    amr: tuple[str, ...] = ()
    seconds: float | None = None


_LINE: Final = msgspec.json.Decoder(_Line)


class Report:
    """What became of the lines so far."""

    def __init__(self) -> None:
        self.recorded = 0
        self.refused = 0
        self.done = 0
        """The line up to which all are recorded or refused."""
        self.first: list[Problem] = []

    def refuse(self, number: int, what: str) -> None:
        """A line was refused. The first few are shown."""
        self.refused += 1
        if len(self.first) < SHOWN:
            self.first.append(Problem(f"line {number}", what))

    def print(self, *, as_json: bool) -> None:
        """Print the counts, and the first refused lines."""
        if as_json:
            counts = {"recorded": self.recorded, "refused": self.refused, "done_lines": self.done}
            print_json({**counts, "first_refused": self.first})
            return
        for problem in self.first:
            complain(problem)
        if self.refused > len(self.first):
            complain(f"and {self.refused - len(self.first):,} more")
        print(f"recorded {quantity(self.recorded, 'outcome')}, refused {self.refused:,}")


class _Calls:
    """The calls under way, oldest first. The outcomes of one assessment are reported in the order of the file."""

    def __init__(self, channel: grpc.Channel, args: argparse.Namespace, report: Report) -> None:
        self._record = risk_pb2_grpc.RiskServiceStub(channel).RecordOutcome
        self._metadata = call_metadata(args)
        self._timeout = args.timeout
        self._report = report
        self._waiting: deque[tuple[int, str, grpc.Future[risk_pb2.RecordOutcomeResponse]]] = deque()

    def add(self, number: int, request: risk_pb2.RecordOutcomeRequest) -> None:
        """Report an outcome. Waits while there are too many calls. Raises RpcError."""
        one = request.assessment_id
        while len(self._waiting) >= WINDOW or any(other == one for _, other, _ in self._waiting):
            self._finish()
        call = self._record.future(request, timeout=self._timeout, metadata=self._metadata)
        self._waiting.append((number, one, call))

    def finish(self) -> None:
        """Wait for all calls. Raises RpcError."""
        while self._waiting:
            self._finish()

    def _finish(self) -> None:
        number, _, call = self._waiting.popleft()
        try:
            call.result()
            self._report.recorded += 1
        except grpc.RpcError as error:
            if error.code() not in _ABOUT_ONE:
                raise
            self._report.refuse(number, "; ".join(each.strip() for each in explained(error)))
        self._report.done = number


def run(args: argparse.Namespace, lines: Iterable[str]) -> int:
    """Report the outcome of each line. Returns the exit code. If it is interrupted, it says how far it came."""
    report, error = Report(), None
    with connect(args, PATIENT) as channel:
        calls = _Calls(channel, args, report)
        try:
            for number, request in _requests(lines, report):
                calls.add(number, request)
                show_count(number, "line")
            calls.finish()
        except (grpc.RpcError, KeyboardInterrupt) as met:
            error = met
    report.print(as_json=args.json)
    if error is not None:
        rest = f"tail -n +{report.done + 1} FILE | riskd outcome --file -"
        complain(f"stopped after line {report.done}; the rest: {rest}")
    if isinstance(error, KeyboardInterrupt):
        raise error
    if error is not None:
        return failed(error)
    return BAD_INPUT if report.refused else 0


def _requests(lines: Iterable[str], report: Report) -> Iterator[tuple[int, risk_pb2.RecordOutcomeRequest]]:
    """The request of each line that is not empty, and the line's number. Other lines are refused."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, outcome_request(_outcome(line))
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
