"""`riskd assess --stream`: reads attempts as JSON lines, and prints answers as JSON lines, over StreamAssess.

The service ends every stream after a minute. The client then opens another and sends the attempts without an answer
again. Every attempt has a request id, its own or a generated one, so none is counted twice.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Protocol
from uuid import uuid4

import grpc
from google.protobuf.json_format import MessageToJson

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd.cli.client.backlog import Backlog
from riskd.cli.client.connection import call_metadata, connect
from riskd.cli.client.request import assess_request
from riskd.cli.client.status import BAD_INPUT, details_of, failed
from riskd.cli.terminal import complain, show_count
from riskd.core.errors import InvalidAttempt, Problem


class Stream(Protocol):
    """A call in progress: iterating over it yields the answers."""

    def __iter__(self) -> Iterator[risk_pb2.StreamAssessResponse]: ...

    def cancel(self) -> object:
        """End the call."""
        ...


def run(args: argparse.Namespace, lines: Iterable[str], fields: list[tuple[str, str]]) -> int:
    """Assess every line and print every answer. Returns the exit code."""
    backlog = Backlog()
    metadata = call_metadata(args)
    begun, error = time.monotonic(), None
    threading.Thread(target=backlog.fill, args=(_requests(lines, fields),), daemon=True).start()
    with connect(args) as channel:
        stub = risk_pb2_grpc.RiskServiceStub(channel)
        while backlog.more() and (error is None or _over(error)):
            error = _one_stream(stub.StreamAssess(backlog.requests(), metadata=metadata), backlog, args.timeout)
            backlog.rewind()
    seconds, answered, refused = time.monotonic() - begun, backlog.answered, backlog.refused
    print(f"{answered} answered, {refused} of them refused, {answered / seconds:.0f} per second", file=sys.stderr)
    for problem in backlog.problems:
        complain(problem)
    if error is not None and not _over(error):
        return failed(error)
    return BAD_INPUT if refused or not backlog.whole else 0


def _one_stream(stream: Stream, backlog: Backlog, patience: float) -> grpc.RpcError | None:
    """Print the answers of one stream until it ends. Returns its error, or None if every attempt was answered.

    The stream is cancelled when no answer has come for `patience` seconds.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(min(patience, 1.0) / 4):
            if backlog.waits() > patience:
                stream.cancel()

    threading.Thread(target=watch, daemon=True).start()
    try:
        for response in stream:
            backlog.take(response.results)
            for result in response.results:
                print(MessageToJson(result, indent=None, always_print_fields_with_no_presence=True))
            sys.stdout.flush()
            if not sys.stdout.isatty():
                show_count(backlog.answered, "answer")
    except grpc.RpcError as error:
        return error
    finally:
        done.set()
    return None


def _over(error: grpc.RpcError) -> bool:
    """Whether the service ended the stream because of its age."""
    return bool(details_of(error)[0].reason == "STREAM_OVER")


def _requests(lines: Iterable[str], fields: list[tuple[str, str]]) -> Iterator[risk_pb2.AssessRequest]:
    """An attempt with a request id for each line that is not empty. Raises InvalidAttempt that names the line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            request = assess_request(line, fields, "attempt")
        except InvalidAttempt as error:
            raise InvalidAttempt([Problem(f"line {number}", str(each)) for each in error.problems]) from None
        request.request_id = request.request_id or uuid4().hex
        yield request
