"""grpc.health.v1: Check and Watch for the health of this worker, written so that no client blocks another.

grpcio's own servicer blocks a thread until each message arrives, and notifies watchers under a lock, for as long as one
of them does not read. Either delays every later probe. It also keeps every name that was ever watched. Here probes wait
in a lane behind sign-ins, and answers are sent without waiting (docs/decisions/0075).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from threading import Lock
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # published without types
from grpc_health.v1 import health_pb2

from riskd.server.calls.admission import Pooled, waiting
from riskd.server.calls.handlers import Limits, Turns

SERVICE: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
PROBES: Final = 64
"""Most probes of one method whose message has not arrived."""
_WAITING: Final = Limits(calls=1024, burst_s=5.0, standing_s=5.0)
"""Generous: balancers rarely wait longer for the answer to a probe."""
_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_STOPPING: Final = b"the service is stopping"
_NO_FLAGS: Final = 0
_OPERATION: Final = "send_health"
"""Name of the pending send among the operations that gRPC waits for before a call is over."""


class Health:
    """The health service. It answers NOT_SERVING until `set` says otherwise."""

    def __init__(self, services: Sequence[str], turns: Turns) -> None:
        """`services`: the names that can be asked for, in addition to '', the server as a whole. Probes have lower
        priority than the lanes that were made before."""
        self._lane = turns.lane(SERVICE, _WAITING, _NoMeter())
        self._services = frozenset(("", *services))
        self._state = _NOT_SERVING
        self._watchers: dict[_Watcher, bool] = {}
        self._ended = False
        self._lock = Lock()

    def set(self, *, serving: bool) -> None:
        """Change the state that is answered from now on, and send it to the watchers."""
        with self._lock:
            self._state = _SERVING if serving else _NOT_SERVING
            for watcher, known in list(self._watchers.items()):
                if known:
                    watcher.send(self._state)

    def end(self) -> None:
        """End the streams of all watchers, and of those that still arrive. The server's stop would wait for them."""
        with self._lock:
            self._ended = True
            for watcher in list(self._watchers):
                watcher.end()

    def handler(self) -> grpc.GenericRpcHandler:
        """The handler of the service's methods, from bytes to bytes."""
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Check": grpc.unary_unary_rpc_method_handler(Pooled(waiting(self._lane, PROBES), self._check)),
            "Watch": grpc.unary_stream_rpc_method_handler(_Watch(waiting(self._lane, PROBES), self._watch)),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _check(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if _service(request, context) not in self._services:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return _encoded(self._state)

    def _watch(self, request: bytes, context: grpc.ServicerContext) -> None:
        """Watchers of an unknown service get SERVICE_UNKNOWN and nothing more: services are not added later."""
        known, watcher = _service(request, context) in self._services, _Watcher(context)
        with self._lock:
            if self._ended:
                watcher.end()
                return
            self._watchers[watcher] = known
            if context.add_callback(partial(self._forget, watcher)):
                watcher.send(self._state if known else _UNKNOWN)
            else:
                self._forget(watcher)  # the call has ended already

    def _forget(self, watcher: _Watcher) -> None:
        del self._watchers[watcher]


class _Watch(Pooled[bytes, None]):
    """A behaviour that leaves the stream open when it returns: grpcio looks for `experimental_non_blocking`.

    grpcio then also passes a function that sends an answer. It is not used, because it blocks until each was sent.
    """

    experimental_non_blocking = True

    def __call__(self, request: bytes, context: grpc.ServicerContext, _send: object = None) -> None:
        super().__call__(request, context)


class _Watcher:
    """One open Watch stream. A client that does not read skips states: only the latest is kept."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        assert isinstance(context, _server._Context)
        self._call = context._rpc_event.call
        self._state = context._state
        self._next: int | None = None
        self._sending = False

    def send(self, state: int) -> None:
        """Send a state, as soon as the one before was sent."""
        with self._state.condition:
            self._next = state
            self._send_next()

    def end(self) -> None:
        """End the stream with UNAVAILABLE; cancel it if the client has not read the last state."""
        with self._state.condition:
            if self._sending:
                self._call.cancel()
            elif _server._is_rpc_state_active(self._state):
                _server._abort(self._state, self._call, cygrpc.StatusCode.unavailable, _STOPPING)

    def _send_next(self) -> None:
        """The caller holds the state's condition."""
        if self._next is None or self._sending or not _server._is_rpc_state_active(self._state):
            return
        operations = [cygrpc.SendMessageOperation(_encoded(self._next), _NO_FLAGS)]
        if self._state.initial_metadata_allowed:
            operations.insert(0, _server._get_initial_metadata_operation(self._state, None))
            self._state.initial_metadata_allowed = False
        self._next, self._sending = None, True
        self._call.start_server_batch(operations, self._sent)
        self._state.due.add(_OPERATION)  # type: ignore[arg-type, call-arg]  # a wrong stub

    def _sent(self, completed: object) -> object:
        """gRPC's callback: the message was sent, or the call has ended. Returns what gRPC's own callback returns."""
        done = _server._send_message(self._state, _OPERATION)(completed)
        with self._state.condition:
            self._sending = False
            self._send_next()
        return done


class _NoMeter:
    """Probes are not counted: they say nothing about load."""

    def queued(self, method: str, seconds: float, /) -> None:
        """See `QueueMeter`."""

    def refused(self, method: str, why: str, /) -> None:
        """See `QueueMeter`."""


def _service(request: bytes, context: grpc.ServicerContext) -> str:
    try:
        return str(health_pb2.HealthCheckRequest.FromString(request).service)
    except DecodeError:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a grpc.health.v1.HealthCheckRequest")


def _encoded(state: int) -> bytes:
    return bytes(health_pb2.HealthCheckResponse(status=state).SerializeToString())
