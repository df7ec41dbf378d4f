"""The RPC boundary of every unary method: authorises callers, bounds and parses requests, counts, maps errors.

Behaviours (gRPC's word for the function that handles a call) are wrapped once, when they are registered. gRPC asks a
`grpc.ServerInterceptor` on every call, and shows it requests only after they were parsed (docs/decisions/0014).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Final, Protocol, TypeVar
from uuid import uuid4

from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from grpc import ServicerContext, StatusCode
from grpc_status.rpc_status import to_status
from msgspec import Struct

from riskd.core.errors import Problem, RiskdError
from riskd.server.calls.handlers import QueueMeter, take_turn
from riskd.server.faults import InvalidRequest
from riskd.server.identity.guard import Guard
from riskd.server.json_log import describe
from riskd.server.status import internal, status

_LOG: Final = logging.getLogger(__name__)
CODES: Final = {code.value[0]: code.name for code in StatusCode}
"""gRPC's name for each numeric status code."""
UNARY: Final = "unary"
STREAM: Final = "bidi_stream"
Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Input = TypeVar("Input")
Output = TypeVar("Output")


class RpcMeter(QueueMeter, Protocol):
    """Counts calls under the metric names that gRPC dashboards use. Must not raise or block."""

    def started(self, method: str, kind: str, /) -> None:
        """A call of `method` (`riskd.v1.RiskService/Assess`) arrived; a `UNARY` one counts as a message received."""
        ...

    def handled(self, method: str, kind: str, code: str, seconds: float, /) -> None:
        """The call ended with `code` (`OK`, `INVALID_ARGUMENT`); a `UNARY` one that is OK counts as a message sent."""
        ...

    def exchanged(self, method: str, received: int, sent: int, /) -> None:
        """A stream received and sent this many more messages."""
        ...


class Tracer(Protocol):
    """Traces calls."""

    def traced(
        self, method: str, behaviour: Callable[[Input, ServicerContext], Output]
    ) -> Callable[[Input, ServicerContext], Output]:
        """The behaviour, with a span around each call."""
        ...


class Boundary(Struct, frozen=True):
    """What calls pass on their way in and out. Without a `guard`, every client that reaches the server may call."""

    meter: RpcMeter
    guard: Guard | None = None
    tracer: Tracer | None = None


def unary(
    method: str,
    request_type: type[Request],
    behaviour: Callable[[Request, ServicerContext], Response],
    boundary: Boundary,
    max_bytes: int,
) -> Callable[[bytes, ServicerContext], bytes]:
    """The behaviour from bytes to bytes, so that parsing is bounded, timed and reported by riskd instead of gRPC.

    `max_bytes` bounds the request. With a guard, requests of unknown callers are not parsed. A RiskdError becomes its
    status. Any other exception becomes INTERNAL with an id, and a log line with the place in the code but not the
    exception's message, which may quote the request.
    """
    meter = boundary.meter
    if boundary.tracer is not None:
        behaviour = boundary.tracer.traced(method, behaviour)
    read = _reader(method, parser(request_type, max_bytes), _tenants(request_type), boundary.guard)

    def handle(message: bytes, context: ServicerContext) -> bytes:
        begun = perf_counter()
        meter.started(method, UNARY)
        request: Request | None = None
        try:
            take_turn()
            request = read(message, context)
            answer = behaviour(request, context).SerializeToString()
        except Exception as error:
            fault = status(error) if isinstance(error, RiskdError) else bug(method, error, request)
            meter.handled(method, UNARY, CODES[fault.code], perf_counter() - begun)
            context.abort_with_status(to_status(fault))
        meter.handled(method, UNARY, "OK", perf_counter() - begun)
        return answer

    return handle


def _reader(
    method: str, parse: Callable[[bytes], Request], tenants: Callable[[Request], tuple[str, ...]], guard: Guard | None
) -> Callable[[bytes, ServicerContext], Request]:
    """A function from bytes to message that checks the caller. It raises InvalidRequest, UnknownCaller, NotAllowed."""
    if guard is None:
        return lambda message, _: parse(message)

    def read(message: bytes, context: ServicerContext) -> Request:
        caller = guard.admit(method, context)
        request = parse(message)
        guard.check_tenants(caller, tenants(request), method)
        return request

    return read


def _tenants(request_type: type[Request]) -> Callable[[Request], tuple[str, ...]]:
    """A function from a message to its tenants: one, those of all requests of a batch, or none without such a field."""
    fields = request_type.DESCRIPTOR.fields_by_name
    if "tenant" in fields:
        return lambda request: (request.tenant,)  # type: ignore[attr-defined]  # as its descriptor says
    if "requests" in fields:
        return lambda request: tuple({each.tenant for each in request.requests})  # type: ignore[attr-defined]  # likewise
    return lambda _: ()


def parser(request_type: type[Request], max_bytes: int) -> Callable[[bytes], Request]:
    """A function from bytes to message. It raises InvalidRequest when they are too many or not a message."""
    from_string, name = request_type.FromString, request_type.DESCRIPTOR.full_name

    def parse(message: bytes) -> Request:
        if len(message) > max_bytes:
            raise InvalidRequest([Problem("request", f"has {len(message)} bytes", f"send at most {max_bytes}")])
        try:
            return from_string(message)
        except DecodeError:
            raise InvalidRequest([Problem("request", f"not a {name}", "build it from the riskd.v1 protos")]) from None

    return parse


def bug(method: str, error: Exception, request: Message | None) -> Status:
    """Log an unexpected exception and return its status. Logs its type, place and request id, but not its message,
    which may quote the request."""
    error_id = uuid4().hex
    fields = {"error_id": error_id, "method": method, **describe(error)}
    if request_id := getattr(request, "request_id", ""):
        fields["request_id"] = request_id
    _LOG.error("internal_error", extra={"fields": fields})
    return internal(error_id)
