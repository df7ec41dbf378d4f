"""Admission control: whether a call may wait in its lane or is refused, decided on arrival, before it is read.

The caller is checked first, so that calls without a known caller do not count as load and take no place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, TypeAlias, TypeVar

import grpc
from grpc_status.rpc_status import to_status

from riskd.core.errors import Problem, RiskdError
from riskd.server.calls.boundary import STREAM, UNARY, Boundary
from riskd.server.calls.handlers import FULL, Lane
from riskd.server.calls.inbox import Inbox
from riskd.server.calls.reception import Admit, Arrivals, Reception, context_of, refuse
from riskd.server.calls.streams import Streams
from riskd.server.faults import Overloaded
from riskd.server.status import status

Request = TypeVar("Request")
Response = TypeVar("Response")
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
Check: TypeAlias = "Callable[[grpc.ServicerContext], str | grpc.Status]"
"""Returns the caller's name, or the status to refuse the call with."""
Refusal: TypeAlias = "Callable[[str], grpc.Status]"
"""Returns the status of a refused call of this caller; '' if callers have no names."""
_PROBLEM: Final = Problem(
    "server", "too many calls are waiting", "retry after the delay in RetryInfo, with growing pauses"
)
TOO_MANY: Final[grpc.Status] = to_status(status(Overloaded([_PROBLEM])))
"""The status of a call that is refused on arrival."""


class Pooled(Generic[Request, Response]):
    """A behaviour (gRPC's word for the function that handles a call) with a pool of its own.

    grpcio looks for the attribute `experimental_thread_pool` and submits the method's calls there.
    """

    def __init__(
        self, pool: ThreadPoolExecutor, behaviour: Callable[[Request, grpc.ServicerContext], Response]
    ) -> None:
        self._behaviour = behaviour
        self.experimental_thread_pool = pool

    def __call__(self, request: Request, context: grpc.ServicerContext) -> Response:
        return self._behaviour(request, context)


def method(
    name: str, lane: Lane, behaviour: Callable[[bytes, grpc.ServicerContext], bytes], boundary: Boundary, most: int
) -> Handler:
    """A unary method (`riskd.v1.RiskService/Assess`) whose calls wait in a lane or are refused.

    `most`: calls whose message has not fully arrived.
    """
    pool = waiting(lane, most, _refusal(name, UNARY, boundary), _check(name, UNARY, boundary))
    return grpc.unary_unary_rpc_method_handler(Pooled(pool, behaviour))


def stream_method(
    name: str,
    streams: Streams,
    behaviour: Callable[[Inbox, grpc.ServicerContext], Iterator[bytes]],
    boundary: Boundary,
) -> Handler:
    """A bidirectional streaming method whose calls are opened at once or refused."""
    pool = opening(streams, _refusal(name, STREAM, boundary), _check(name, STREAM, boundary))
    return grpc.stream_stream_rpc_method_handler(Pooled(pool, behaviour))


def too_many(_caller: str) -> grpc.Status:
    """The status of a call that is refused and not counted."""
    return TOO_MANY


def waiting(lane: Lane, most: int, refusal: Refusal = too_many, check: Check | None = None) -> Reception:
    """The pool of a unary method: its calls wait in the lane, or end with the status of `refusal`.

    `most`: calls whose message has not fully arrived. `check` comes first, and ends calls whose caller it does not know
    or allow.
    """
    return Reception(Arrivals(lane, most, lambda: refusal("")).take, _admission(lane.admits, refusal, check))


def opening(streams: Streams, refusal: Refusal = too_many, check: Check | None = None) -> Reception:
    """The pool of a streaming method: its calls are opened at once, or end likewise."""

    def take(run: Callable[..., object], *args: object) -> None:
        try:
            streams.submit(run, *args)
        except RuntimeError:  # no thread for it
            refuse(refusal(""), *args[1:3])

    return Reception(take, _admission(streams.admits, refusal, check))


def _admission(admits: Callable[[str], bool], refusal: Refusal, check: Check | None) -> Admit:
    """Returns the status of a call that is not admitted."""

    def admit(event: object, state: object) -> grpc.Status | None:
        caller = check(context_of(event, state)) if check is not None else ""
        if not isinstance(caller, str):
            return caller
        return None if admits(caller) else refusal(caller)

    return admit


def _check(name: str, kind: str, boundary: Boundary) -> Check | None:
    """Returns a check that refuses, and counts, calls whose caller is unknown or may not use the method."""
    meter, guard = boundary.meter, boundary.guard
    if guard is None:
        return None

    def check(context: grpc.ServicerContext) -> str | grpc.Status:
        try:
            return guard.check(name, context).name
        except RiskdError as error:
            fault: grpc.Status = to_status(status(error))
            meter.started(name, kind)
            meter.handled(name, kind, fault.code.name, 0.0)
            return fault

    return check


def _refusal(name: str, kind: str, boundary: Boundary) -> Refusal:
    """Counts a refused call, also for its caller, and returns its status: RESOURCE_EXHAUSTED with RetryInfo.

    The status is built once, because refusing must stay cheaper than arriving.
    """
    meter, guard = boundary.meter, boundary.guard

    def refusal(caller: str) -> grpc.Status:
        if guard is not None and caller:
            guard.count(Overloaded.reason, name, caller)
        meter.started(name, kind)
        meter.refused(name, FULL)
        meter.handled(name, kind, TOO_MANY.code.name, 0.0)
        return TOO_MANY

    return refusal
