"""The boundary of StreamAssess: many attempts on one call. Each has its own result; an error does not end the stream.

Attempts that have arrived meanwhile are assessed as a group and answered in one message. gRPC for Python takes 140 us
of CPU to receive a message and send one, and half of that per attempt in groups of sixteen (docs/decisions/0084).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Final

import grpc
from grpc_status.rpc_status import to_status
from msgspec import Struct

from riskd._proto.riskd.v1 import risk_pb2
from riskd.core.errors import RiskdError
from riskd.server.calls.boundary import CODES, STREAM, Boundary, bug, parser
from riskd.server.calls.inbox import Inbox
from riskd.server.calls.streams import Streams
from riskd.server.identity.callers import Caller
from riskd.server.status import status

GONE: Final = grpc.StatusCode.CANCELLED.name


class Group(Struct, frozen=True):
    """Messages of one stream that are answered together. `caller`: who sent them, None where there is no guard."""

    messages: list[bytes]
    caller: Caller | None


def streaming(
    method: str,
    assess: Callable[[risk_pb2.AssessRequest, grpc.ServicerContext], risk_pb2.AssessResponse],
    streams: Streams,
    boundary: Boundary,
    max_bytes: int,
) -> Callable[[Inbox, grpc.ServicerContext], Iterator[bytes]]:
    """The behaviour of StreamAssess, from bytes to bytes. `max_bytes` bounds each message."""
    meter, guard, tracer = boundary.meter, boundary.guard, boundary.tracer
    parse = parser(risk_pb2.StreamAssessRequest, max_bytes)

    def answer(group: Group, context: grpc.ServicerContext) -> risk_pb2.StreamAssessResponse:
        return risk_pb2.StreamAssessResponse(
            results=[one(message, group.caller, context) for message in group.messages]
        )

    def one(message: bytes, caller: Caller | None, context: grpc.ServicerContext) -> risk_pb2.StreamAssessResult:
        request: risk_pb2.AssessRequest | None = None
        try:
            request = parse(message).request
            if guard is not None and caller is not None:
                guard.check_tenants(caller, (request.tenant,), method)
            response = assess(request, context)
        except Exception as error:
            fault = status(error) if isinstance(error, RiskdError) else bug(method, error, request)
            return risk_pb2.StreamAssessResult(request_id=request.request_id if request else "", error=fault)
        return risk_pb2.StreamAssessResult(request_id=request.request_id, response=response)

    traced = tracer.traced(method, answer) if tracer is not None else answer

    def handle(inbox: Inbox, context: grpc.ServicerContext) -> Iterator[bytes]:
        begun, code = perf_counter(), grpc.StatusCode.UNKNOWN.name
        meter.started(method, STREAM)
        try:
            caller = guard.admit(method, context) if guard is not None else None
            for messages in streams.groups(inbox):
                with streams.turn:
                    response = traced(Group(messages, caller), context).SerializeToString()
                meter.exchanged(method, len(messages), 1)
                yield response
            code = "OK" if inbox.ended else GONE
        except RiskdError as error:
            fault = status(error)
            code = CODES[fault.code]
            context.abort_with_status(to_status(fault))
        except GeneratorExit:  # gRPC closes the generator when the client is gone
            code = GONE
            raise
        finally:
            meter.handled(method, STREAM, code, perf_counter() - begun)

    return handle
