"""The RPC boundary: callers, size, parsing, metrics, and the translation of errors, once for all methods.

Behaviours are wrapped when they are registered. A `grpc.ServerInterceptor` would be asked again at
every call, and sees requests only after they were parsed (docs/decisions/0014).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Final, Protocol, TypeVar
from uuid import uuid4

from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from grpc import RpcMethodHandler, ServicerContext, StatusCode, unary_unary_rpc_method_handler
from grpc_status.rpc_status import to_status

from riskd.core.errors import Problem, RiskdError
from riskd.server.calls.handlers import QueueMeter, take_turn
from riskd.server.faults import InvalidRequest
from riskd.server.identity.guard import Guard
from riskd.server.json_log import told
from riskd.server.status import internal, status

_LOG: Final = logging.getLogger(__name__)
CODES: Final = {code.value[0]: code.name for code in StatusCode}
"""gRPC's name of each number."""
UNARY: Final = "unary"
STREAM: Final = "bidi_stream"
Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Asked = TypeVar("Asked")
Told = TypeVar("Told")


class RpcMeter(QueueMeter, Protocol):
    """What the boundary counts, under the names that gRPC dashboards know. Must not raise or block."""

    def started(self, method: str, kind: str, /) -> None:
        """A call came in, `UNARY` with its message. `method` is `riskd.v1.RiskService/Assess`."""
        ...

    def handled(self, method: str, kind: str, code: str, seconds: float, /) -> None:
        """The call ended with `code` (`OK`, `INVALID_ARGUMENT`); where it is `UNARY`, OK sent one message."""
        ...

    def exchanged(self, method: str, received: int, sent: int, /) -> None:
        """A stream has received and sent so many messages more."""
        ...


class Tracer(Protocol):
    """Puts spans round calls."""

    def traced(
        self, method: str, behaviour: Callable[[Asked, ServicerContext], Told]
    ) -> Callable[[Asked, ServicerContext], Told]:
        """The behaviour, with a span round each call."""
        ...


def unary(
    method: str,
    request_type: type[Request],
    behaviour: Callable[[Request, ServicerContext], Response],
    meter: RpcMeter,
    max_bytes: int,
    *,
    guard: Guard | None = None,
    tracer: Tracer | None = None,
) -> RpcMethodHandler[bytes, bytes]:
    """A handler that takes and gives bytes, so that parsing is timed, bounded and its errors are ours.

    `max_bytes` bounds the request. With a `guard`, what is not of a known caller is not even parsed. RiskdErrors
    become their status; anything else becomes INTERNAL with an id, and a log line that tells the place in the code but
    nothing of the message.
    """
    if tracer is not None:
        behaviour = tracer.traced(method, behaviour)
    read = _reader(method, parser(request_type, max_bytes), _tenants(request_type), guard)

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

    return unary_unary_rpc_method_handler(handle)


def _reader(
    method: str, parse: Callable[[bytes], Request], tenants: Callable[[Request], tuple[str, ...]], guard: Guard | None
) -> Callable[[bytes, ServicerContext], Request]:
    """Bytes to message, for whoever may send it. Raises InvalidRequest, UnknownCaller, NotAllowed."""
    if guard is None:
        return lambda message, _: parse(message)

    def read(message: bytes, context: ServicerContext) -> Request:
        caller = guard.enter(method, context)
        request = parse(message)
        guard.check(caller, tenants(request), method)
        return request

    return read


def _tenants(request_type: type[Request]) -> Callable[[Request], tuple[str, ...]]:
    """The tenants that a message of this type is about: its own, or those of each request in a batch."""
    fields = request_type.DESCRIPTOR.fields_by_name
    if "tenant" in fields:
        return lambda request: (request.tenant,)  # type: ignore[attr-defined]  # as its descriptor says
    if "requests" in fields:
        return lambda request: tuple({each.tenant for each in request.requests})  # type: ignore[attr-defined]  # likewise
    return lambda _: ()


def parser(request_type: type[Request], max_bytes: int) -> Callable[[bytes], Request]:
    """Bytes to message. Raises InvalidRequest."""
    from_string, name = request_type.FromString, request_type.DESCRIPTOR.full_name

    def parse(message: bytes) -> Request:
        if len(message) > max_bytes:
            raise InvalidRequest([Problem("request", f"{len(message)} bytes", f"send at most {max_bytes}")])
        try:
            return from_string(message)
        except DecodeError:
            raise InvalidRequest([Problem("request", f"not a {name}", "build it from the riskd.v1 protos")]) from None

    return parse


def bug(method: str, error: Exception, request: Message | None) -> Status:
    """Logs the kind and the place, and which request it was. Messages of exceptions may quote it, so they are left
    out."""
    error_id = uuid4().hex
    fields = {"error_id": error_id, "method": method, **told(error)}
    if request_id := getattr(request, "request_id", ""):
        fields["request_id"] = request_id
    _LOG.error("internal_error", extra={"fields": fields})
    return internal(error_id)
