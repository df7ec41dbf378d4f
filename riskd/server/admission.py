"""Which calls wait for their turn and which are refused, decided as they arrive, before anything of them is read."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, TypeAlias, TypeVar

import grpc
from grpc_status.rpc_status import to_status

from riskd.core.errors import Problem
from riskd.server.faults import Overloaded
from riskd.server.handlers import FULL, Lane
from riskd.server.interceptors import UNARY, RpcMeter
from riskd.server.reception import Reception
from riskd.server.status import status

Request = TypeVar("Request")
Response = TypeVar("Response")
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
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


def method(name: str, lane: Lane, handler: Handler, meter: RpcMeter) -> Handler:
    """A method (`riskd.v1.RiskService/Assess`) whose calls wait in a lane, or are refused with RESOURCE_EXHAUSTED and
    RetryInfo, as cheaply as it goes: what refuses must keep up with what comes."""
    assert handler.unary_unary is not None
    told: grpc.Status = to_status(status(Overloaded([_PROBLEM])))

    def refusal() -> grpc.Status | None:
        if lane.admits():
            return None
        meter.started(name, UNARY)
        meter.refused(name, FULL)
        meter.handled(name, UNARY, told.code.name, 0.0)
        return told

    return grpc.unary_unary_rpc_method_handler(By(Reception(lane, refusal), handler.unary_unary))
