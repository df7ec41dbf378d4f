"""Receives the request message of a call before a thread is assigned to it.

gRPC's synchronous server assigns a thread first and then waits in it for the message, with no limit but the client's
deadline. A client that starts five calls and never sends their messages would block a worker for as long as its
connection lives. This module does what `grpc._server` does, but on gRPC's own polling thread (docs/decisions/0075).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, ParamSpec, Protocol, TypeAlias

import grpc
from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # published without types

_NO_FLAGS: Final = 0
_EMPTY: Final = b"a call of this method has exactly one request message"
Admit: TypeAlias = "Callable[[object, object], grpc.Status | None]"
"""Decides about a call by its event and state: the status to refuse it with, or None."""
_Given = ParamSpec("_Given")


class Pool(Protocol):
    """Runs calls."""

    def submit(self, fn: Callable[_Given, object], /, *args: _Given.args, **kwargs: _Given.kwargs) -> object:
        """Queue the call to be run."""
        ...


class _Done(Future[Any]):
    """The future that gRPC gets for each submitted call. gRPC only uses it to count active calls, so it is done."""

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        fn(self)


_DONE: Final = _Done()


class Reception(ThreadPoolExecutor):
    """The pool to which gRPC submits a method's calls. On gRPC's thread it refuses each call or passes it on.

    gRPC requires a ThreadPoolExecutor; this one never starts a thread.
    """

    def __init__(self, take: Callable[..., object], admit: Admit) -> None:
        """`admit` is called first, before the message is read. `take` gets every call that it admits, with the
        arguments that `grpc._server` submits. Neither may raise: that would end gRPC's thread."""
        super().__init__(1)
        self._take = take
        self._admit = admit

    def submit(self, fn: Callable[_Given, Any], /, *args: _Given.args, **kwargs: _Given.kwargs) -> Future[Any]:
        """Refuse the call or pass it on. The arguments are those of `grpc._server`."""
        refused = self._admit(*args[1:3])
        if refused is None:
            self._take(fn, *args)
        else:
            refuse(refused, *args[1:3])
        return _DONE


class Arrivals:
    """Calls whose message has not fully arrived. Used by gRPC's thread only.

    Parts of a message stay in memory until the message is complete or its connection is closed. So the number of such
    calls is bounded: a new one evicts the oldest. A message usually arrives with its call or a moment later, so slow
    senders are refused first.
    """

    def __init__(self, pool: Pool, most: int, refusal: Callable[[], grpc.Status]) -> None:
        """`pool` runs each call once its message is complete. Beyond `most` calls, the oldest is refused with the
        status that `refusal` returns. A call that its client closes without a message gets gRPC's own answer to that,
        UNIMPLEMENTED. A call that is already cancelled is dropped."""
        self._pool = pool
        self._most = most
        self._refusal = refusal
        self._pending: OrderedDict[_server._RPCState, cygrpc.BaseEvent] = OrderedDict()

    def take(self, run: Callable[..., object], *args: object) -> None:
        """Receive the message of a call, then submit the call to the pool. The arguments are those of
        `grpc._server`."""
        finish, event, state, behaviour, _, deserializer, serializer = args
        assert isinstance(event, cygrpc.BaseEvent)
        assert isinstance(state, _server._RPCState)
        assert deserializer is None
        received = _server._receive_message(state, event.call, None)

        def request() -> bytes | None:
            """The message; None tells `grpc._server` that the call was cancelled meanwhile."""
            with state.condition:
                return message if _server._is_rpc_state_active(state) else None

        message: bytes | None = None

        def arrived(completed: object) -> object:
            nonlocal message
            done = received(completed)
            self._pending.pop(state, None)
            with state.condition:
                message, state.request = state.request, None
                if message is None and _server._is_rpc_state_active(state):
                    _server._abort(state, event.call, cygrpc.StatusCode.unimplemented, _EMPTY)
            if message is not None:
                self._pool.submit(run, finish, event, state, behaviour, request, deserializer, serializer)
            return done

        with state.condition:
            if _server._is_rpc_state_active(state):
                event.call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), arrived)
                state.due.add(_server._RECEIVE_MESSAGE_TOKEN)  # type: ignore[arg-type, call-arg]  # a wrong stub
                self._pending[state] = event
        if len(self._pending) > self._most:
            oldest, its_event = self._pending.popitem(last=False)
            refuse(self._refusal(), its_event, oldest)


def context_of(event: object, state: object) -> grpc.ServicerContext:
    """What is known of a call whose message has not been read: its metadata and its connection's certificate."""
    assert isinstance(event, cygrpc.BaseEvent)
    assert isinstance(state, _server._RPCState)
    return _server._Context(event, state, None)


def refuse(refused: grpc.Status, event: object, state: object) -> None:
    """End a call with this status. `_abort` prefers the code in `state` to the one that it is given."""
    assert isinstance(event, cygrpc.BaseEvent)
    assert isinstance(state, _server._RPCState)
    with state.condition:
        state.code, state.trailing_metadata = refused.code, refused.trailing_metadata
        _server._abort(state, event.call, cygrpc.StatusCode.unknown, refused.details.encode())
