"""grpc.health.v1: whether this worker serves, told to whoever asks or watches. Nobody is in another's way.

grpcio's own servicer has a thread wait for each message, and tells watchers under a lock for as long as one of them
does not read: either holds up every probe behind it. It also remembers each name that was ever watched. Here each
takes a turn, behind sign-ins, and nobody waits for another (docs/decisions/0075).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # published without types
from grpc_health.v1 import health_pb2

from riskd.server.calls.admission import TOO_MANY, By, admitted
from riskd.server.calls.handlers import Limits, Turns
from riskd.server.calls.reception import Arrivals

SERVICE: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
PROBES: Final = 64
"""Probes of one method that are here without their message, at most."""
_WAITING: Final = Limits(calls=1024, burst_s=5.0, standing_s=5.0)
"""Nobody who probes waits for longer than that."""
_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_STOPS: Final = b"the service stops"
_NO_FLAGS: Final = 0
_DUE: Final = "send_health"


class Health:
    """What is told: NOT_SERVING until somebody says else."""

    def __init__(self, services: Sequence[str], turns: Turns) -> None:
        """`services`: those that it tells of, beside the server as a whole, whose name is ''. Its turns come behind
        those of lanes that were made before."""
        self._lane = turns.lane(SERVICE, _WAITING, _Uncounted())
        self._services = frozenset(("", *services))
        self._state = _NOT_SERVING
        self._watchers: dict[_Watcher, bool] = {}
        self._over = False
        self._lock = Lock()

    def tell(self, *, serving: bool) -> None:
        """What is answered from now on, and told at once to those who watch."""
        with self._lock:
            self._state = _SERVING if serving else _NOT_SERVING
            for watcher, known in list(self._watchers.items()):
                if known:
                    watcher.tell(self._state)

    def end(self) -> None:
        """End the streams of those who watch, and of those who still come to: a stop would wait for them."""
        with self._lock:
            self._over = True
            for watcher in list(self._watchers):
                watcher.end()

    def handler(self) -> grpc.GenericRpcHandler:
        """Its methods. They take and give bytes."""
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Check": grpc.unary_unary_rpc_method_handler(By(self._reception(), self._check)),
            "Watch": grpc.unary_stream_rpc_method_handler(_Watch(self._reception(), self._watch)),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _reception(self) -> ThreadPoolExecutor:
        return admitted(self._lane, Arrivals(self._lane, PROBES, lambda: TOO_MANY).take, lambda: TOO_MANY)

    def _check(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if _service(request, context) not in self._services:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return _said(self._state)

    def _watch(self, request: bytes, context: grpc.ServicerContext) -> None:
        """Of a service that there is not nothing else will ever be told: there will be none later, either."""
        known, watcher = _service(request, context) in self._services, _Watcher(context)
        with self._lock:
            if self._over:
                watcher.end()
                return
            self._watchers[watcher] = known
            if context.add_callback(partial(self._forget, watcher)):
                watcher.tell(self._state if known else _UNKNOWN)
            else:
                self._forget(watcher)  # whose call is over already

    def _forget(self, watcher: _Watcher) -> None:
        del self._watchers[watcher]


class _Watch(By[bytes, None]):
    """A behaviour after which the stream stays open: grpcio looks for the attribute, and gives a way to answer that
    waits until each answer has gone. A watcher does not."""

    experimental_non_blocking = True

    def __call__(self, request: bytes, context: grpc.ServicerContext, _answer: object = None) -> None:
        super().__call__(request, context)


class _Watcher:
    """One stream of states. Who does not read hears, if ever, the last one."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        assert isinstance(context, _server._Context)
        self._call = context._rpc_event.call
        self._state = context._state
        self._next: int | None = None
        self._sending = False

    def tell(self, state: int) -> None:
        """Send it as soon as the one before has gone."""
        with self._state.condition:
            self._next = state
            self._send()

    def end(self) -> None:
        """Tell that there will be no more; who has not even read what was told is told nothing."""
        with self._state.condition:
            if self._sending:
                self._call.cancel()
            elif _server._is_rpc_state_active(self._state):
                _server._abort(self._state, self._call, cygrpc.StatusCode.unavailable, _STOPS)

    def _send(self) -> None:
        """With the state's condition held."""
        if self._next is None or self._sending or not _server._is_rpc_state_active(self._state):
            return
        operations = [cygrpc.SendMessageOperation(_said(self._next), _NO_FLAGS)]
        if self._state.initial_metadata_allowed:
            operations.insert(0, _server._get_initial_metadata_operation(self._state, None))
            self._state.initial_metadata_allowed = False
        self._next, self._sending = None, True
        self._call.start_server_batch(operations, self._sent)
        self._state.due.add(_DUE)  # type: ignore[arg-type, call-arg]  # a wrong stub

    def _sent(self, completed: object) -> object:
        """It has gone, or the call is over. In gRPC's thread, which asks for the answer that its own handler gives."""
        done = _server._send_message(self._state, _DUE)(completed)
        with self._state.condition:
            self._sending = False
            self._send()
        return done


class _Uncounted:
    """Probes are no load: they have no series, not even `other`."""

    def queued(self, method: str, seconds: float, /) -> None:
        """See `QueueMeter`."""

    def refused(self, method: str, why: str, /) -> None:
        """See `QueueMeter`."""


def _service(request: bytes, context: grpc.ServicerContext) -> str:
    try:
        return str(health_pb2.HealthCheckRequest.FromString(request).service)
    except DecodeError:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a grpc.health.v1.HealthCheckRequest")


def _said(state: int) -> bytes:
    return bytes(health_pb2.HealthCheckResponse(status=state).SerializeToString())
