"""Calls are handled once their message is here: who sends half a call keeps nobody waiting.

gRPC's synchronous server waits for the message in the thread that is to handle the call, without a limit but the
caller's own. Five calls begun and never sent then hold up a worker for as long as their connection lives. What follows
does as `grpc._server` does, in the thread in which it would have heard of the message anyway (docs/decisions/0075).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, ParamSpec, Protocol

import grpc
from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # published without types

_NO_FLAGS: Final = 0
_EMPTY: Final = b"a call of this method has exactly one request message"
_Given = ParamSpec("_Given")


class Pool(Protocol):
    """Who runs calls."""

    def submit(self, fn: Callable[_Given, object], /, *args: _Given.args, **kwargs: _Given.kwargs) -> object:
        """Have the call run, sooner or later."""
        ...


class _Over(Future[Any]):
    """Of a call that is none of gRPC's any more: it counts by futures, and asks no more of them."""

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        fn(self)


_OVER: Final = _Over()


class Reception(ThreadPoolExecutor):
    """What gRPC takes for the pool of a method. In gRPC's thread it refuses each call, or has it taken.

    gRPC wants an instance of this base; none of its own threads is ever started.
    """

    def __init__(self, take: Callable[..., object], refusal: Callable[[], grpc.Status | None] = lambda: None) -> None:
        """`take` gets each call as `grpc._server` submits it. Before, and before anything of it is read, `refusal` is
        asked: the status with which it is refused, or None."""
        super().__init__(1)
        self._take = take
        self._refusal = refusal

    def submit(self, fn: Callable[_Given, Any], /, *args: _Given.args, **kwargs: _Given.kwargs) -> Future[Any]:
        """Take a call as `grpc._server` gives it."""
        refused = self._refusal()
        if refused is None:
            self._take(fn, *args)
        else:
            refuse(refused, *args[1:3])
        return _OVER


class Arrivals:
    """Calls whose message is not here yet. For gRPC's thread.

    What has come of a message lies in memory until it is whole or its connection is closed, and it is read before
    anybody is asked for a token. So they are bounded: one more takes the place of the oldest. A message comes with its
    call, or a moment later; who is slow in sending is refused before those who are not.
    """

    def __init__(self, pool: Pool, most: int, refusal: Callable[[], grpc.Status]) -> None:
        """`pool` runs each call once its message is here. Of more than `most` the oldest is refused with the status
        that `refusal` gives. One that its caller ends without a message is answered as gRPC does, which would have a
        thread wait for that; one that was cancelled before goes nowhere."""
        self._pool = pool
        self._most = most
        self._refusal = refusal
        self._begun: OrderedDict[_server._RPCState, cygrpc.BaseEvent] = OrderedDict()

    def take(self, run: Callable[..., object], *args: object) -> None:
        """Take a call as `grpc._server` submits it."""
        finish, event, state, behaviour, _, deserializer, serializer = args
        assert isinstance(event, cygrpc.BaseEvent)
        assert isinstance(state, _server._RPCState)
        assert deserializer is None
        received = _server._receive_message(state, event.call, None)

        def unless_gone() -> bytes | None:
            with state.condition:
                return message if _server._is_rpc_state_active(state) else None

        message: bytes | None = None

        def arrived(completed: object) -> object:
            nonlocal message
            done = received(completed)
            self._begun.pop(state, None)
            with state.condition:
                message, state.request = state.request, None
                if message is None and _server._is_rpc_state_active(state):
                    _server._abort(state, event.call, cygrpc.StatusCode.unimplemented, _EMPTY)
            if message is not None:
                self._pool.submit(run, finish, event, state, behaviour, unless_gone, deserializer, serializer)
            return done

        with state.condition:
            if _server._is_rpc_state_active(state):
                event.call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), arrived)
                state.due.add(_server._RECEIVE_MESSAGE_TOKEN)  # type: ignore[arg-type, call-arg]  # a wrong stub
                self._begun[state] = event
        if len(self._begun) > self._most:
            oldest, begun = self._begun.popitem(last=False)
            refuse(self._refusal(), begun, oldest)


def refuse(told: grpc.Status, event: object, state: object) -> None:
    """End a call with a status, as `grpc._server` does."""
    assert isinstance(event, cygrpc.BaseEvent)
    assert isinstance(state, _server._RPCState)
    with state.condition:
        state.code, state.trailing_metadata = told.code, told.trailing_metadata
        _server._abort(state, event.call, cygrpc.StatusCode.unknown, told.details.encode())
