"""Which calls wait for their turn and which are refused, decided as they arrive, before anything of them is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Final, Generic, ParamSpec, Protocol, TypeAlias, TypeVar

import grpc
from grpc_status.rpc_status import to_status
from msgspec import Struct

from riskd.core.errors import Problem
from riskd.server.faults import Overloaded
from riskd.server.handlers import FULL, Lane
from riskd.server.inbox import Inbox
from riskd.server.interceptors import STREAM, UNARY, RpcMeter
from riskd.server.reception import Reception
from riskd.server.status import status
from riskd.server.streams import Streams

Request = TypeVar("Request")
Response = TypeVar("Response")
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")
_PROBLEM: Final = Problem("server", "too many calls wait", "retry after the time given, with growing pauses")


class By(Generic[Request, Response]):
    """A behaviour whose calls go to a pool of their own, by the attribute that grpcio looks for."""

    def __init__(
        self, pool: ThreadPoolExecutor, behaviour: Callable[[Request, grpc.ServicerContext], Response]
    ) -> None:
        self._behaviour = behaviour
        self.experimental_thread_pool = pool

    def __call__(self, request: Request, context: grpc.ServicerContext) -> Response:
        return self._behaviour(request, context)


class Admission(Protocol):
    """Decides about each call of a method as it arrives."""

    def admits(self) -> bool:
        """Whether one that comes now is taken."""
        ...


class Method(Struct, frozen=True):
    """A method: its calls are handled, after a wait perhaps, or refused."""

    admission: Admission
    handler: Handler
    refusal: Handler


class Gate(grpc.ServiceRpcHandler):
    """The methods of a service. gRPC asks it for each call as it arrives, in the thread in which it then submits it."""

    def __init__(self, name: str, methods: Mapping[str, Method]) -> None:
        self._name = name
        self._methods = {f"/{name}/{method}": found for method, found in methods.items()}

    def service_name(self) -> str:
        """As in the proto."""
        return self._name

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Who handles this call; None where there is no such method."""
        found = self._methods.get(handler_call_details.method)
        if found is None:
            return None
        return found.handler if found.admission.admits() else found.refusal


def method(name: str, lane: Lane, handler: Handler, meter: RpcMeter) -> Method:
    """A method (`riskd.v1.RiskService/Assess`) whose calls wait in a lane."""
    assert handler.unary_unary is not None
    waiting: Handler = grpc.unary_unary_rpc_method_handler(By(Reception(lane), handler.unary_unary))
    return Method(lane, waiting, _refusal(name, meter))


def stream_method(
    name: str,
    streams: Streams,
    behaviour: Callable[[Inbox, grpc.ServicerContext], Iterator[bytes]],
    meter: RpcMeter,
) -> Method:
    """A method whose calls are streams both ways."""
    handler: Handler = grpc.stream_stream_rpc_method_handler(By(streams, behaviour))
    return Method(streams, handler, _refusal(name, meter, STREAM))


def _refusal(name: str, meter: RpcMeter, kind: str = UNARY) -> Handler:
    """Answers RESOURCE_EXHAUSTED with RetryInfo, as cheaply as it goes: what refuses must keep up with what comes.

    It takes a stream, which on the wire is what a single message is, too: so nobody waits for the message. And it runs
    in the thread of gRPC that asks, for it waits for nothing.
    """
    told = to_status(status(Overloaded([_PROBLEM])))

    def refuse(_: object, context: grpc.ServicerContext) -> bytes:
        begun = perf_counter()
        meter.started(name, kind)
        meter.refused(name, FULL)
        meter.handled(name, kind, "RESOURCE_EXHAUSTED", perf_counter() - begun)
        context.abort_with_status(told)

    return grpc.stream_unary_rpc_method_handler(By(_Here(1), refuse))


class _Here(ThreadPoolExecutor):
    """Runs what it is given at once, in the thread that gives it."""

    def submit(self, fn: Callable[_Given, _Result], /, *args: _Given.args, **kwargs: _Given.kwargs) -> Future[_Result]:
        done: Future[_Result] = Future()
        done.set_result(fn(*args, **kwargs))
        return done
