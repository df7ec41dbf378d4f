"""Which calls wait for their turn and which are refused, decided as they arrive, before anything of them is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

import grpc
from grpc_status.rpc_status import to_status

from riskd.core.errors import Problem
from riskd.server.calls.boundary import STREAM, UNARY, RpcMeter
from riskd.server.calls.handlers import FULL, Lane
from riskd.server.calls.inbox import Inbox
from riskd.server.calls.reception import Arrivals, Reception, refuse
from riskd.server.calls.streams import Streams
from riskd.server.faults import Overloaded
from riskd.server.status import status

Request = TypeVar("Request")
Response = TypeVar("Response")
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
_PROBLEM: Final = Problem("server", "too many calls wait", "retry after the time given, with growing pauses")
TOO_MANY: Final[grpc.Status] = to_status(status(Overloaded([_PROBLEM])))
"""What is told of a call that is refused as it arrives."""


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


def method(name: str, lane: Lane, handler: Handler, meter: RpcMeter, most: int) -> Handler:
    """A method (`riskd.v1.RiskService/Assess`) whose calls wait in a lane, or are refused. Of so many at most a part
    may be here without the rest."""
    assert handler.unary_unary is not None
    refusal = _refusal(name, UNARY, meter)
    arrivals = Arrivals(lane, most, refusal)
    return grpc.unary_unary_rpc_method_handler(By(admitted(lane, arrivals.take, refusal), handler.unary_unary))


def stream_method(
    name: str,
    streams: Streams,
    behaviour: Callable[[Inbox, grpc.ServicerContext], Iterator[bytes]],
    meter: RpcMeter,
) -> Handler:
    """A method whose calls are streams both ways, or are refused."""
    refusal = _refusal(name, STREAM, meter)

    def take(run: Callable[..., object], *given: object) -> None:
        try:
            streams.submit(run, *given)
        except RuntimeError:
            refuse(refusal(), *given[1:3])

    reception = admitted(streams, take, refusal)
    return grpc.stream_stream_rpc_method_handler(By(reception, behaviour))


def admitted(admission: Admission, take: Callable[..., object], refusal: Callable[[], grpc.Status]) -> Reception:
    """What gRPC takes for a pool: `take` gets the calls that are admitted."""
    return Reception(take, lambda: None if admission.admits() else refusal())


def _refusal(name: str, kind: str, meter: RpcMeter) -> Callable[[], grpc.Status]:
    """RESOURCE_EXHAUSTED with RetryInfo for a call that is not admitted, as cheaply as it goes: what refuses must keep
    up with what comes."""

    def refusal() -> grpc.Status:
        meter.started(name, kind)
        meter.refused(name, FULL)
        meter.handled(name, kind, TOO_MANY.code.name, 0.0)
        return TOO_MANY

    return refusal
