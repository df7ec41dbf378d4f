"""The messages of a stream, as they come: a bounded number waits, and nobody waits for the next one for ever.

gRPC's own iterator over the requests of a stream has the thread wait for each message, without a limit. Here messages
are taken in gRPC's thread as they come, as `reception` does for single ones (docs/decisions/0075, 0084).
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import Final

from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # published without types

from riskd.core.errors import Problem
from riskd.server.faults import StreamOver

MESSAGES: Final = 256
"""Messages of one stream that wait. Until there is room, gRPC's flow control holds its sender."""
BYTES: Final = 256 * 1024
"""Bytes of them, one message apart: attempts have 250 bytes each, and some have more."""
LONG: Final = "it was open, or silent, for long"
_NO_FLAGS: Final = 0


class Inbox:
    """The messages that one stream has received. `take` is for one thread; gRPC fills it in threads of its own."""

    def __init__(self, call: object, state: object) -> None:
        assert isinstance(state, _server._RPCState)
        self._call = call
        self._state = state
        self._received = _server._receive_message(state, call, None)
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._asked = False
        self._ended = False
        self._over = ""
        with state.condition:
            self._ask()

    @property
    def ended(self) -> bool:
        """Whether the sender has ended its side in good order."""
        return self._ended and _server._is_rpc_state_active(self._state)

    def take(self, most: int, until: float) -> list[bytes]:
        """Up to `most` messages, the oldest first, as soon as there is one; none once there will be no more.

        Raises StreamOver when the moment `until` (of `monotonic`) passes without one, and once a closed stream's
        messages have been taken.
        """
        with self._state.condition:
            while _server._is_rpc_state_active(self._state) and not (self._waiting or self._ended or self._over):
                if not self._state.condition.wait(until - monotonic()):
                    self._over = LONG
            if not _server._is_rpc_state_active(self._state):
                return []
            if self._over and not self._waiting:
                raise StreamOver([Problem("stream", self._over, "open another, send again what has no answer")])
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._bytes -= sum(map(len, taken))
            self._ask()
            return taken

    def close(self, why: str) -> None:
        """Receive no more: what waits can still be taken."""
        with self._state.condition:
            self._over = self._over or why
            self._state.condition.notify_all()

    def cancel(self) -> None:
        """End the call, whatever it waits for."""
        self._call.cancel()  # type: ignore[attr-defined]  # of cygrpc, published without types

    def _ask(self) -> None:
        """Have gRPC receive the next message, where there is room for it. With the state's condition held."""
        full = len(self._waiting) >= MESSAGES or self._bytes >= BYTES
        if full or self._asked or self._ended or self._over or not _server._is_rpc_state_active(self._state):
            return
        self._asked = True
        receive = (cygrpc.ReceiveMessageOperation(_NO_FLAGS),)
        self._call.start_server_batch(receive, self._arrived)  # type: ignore[attr-defined]  # of cygrpc, published without types
        self._state.due.add(_server._RECEIVE_MESSAGE_TOKEN)  # type: ignore[arg-type, call-arg]  # a wrong stub

    def _arrived(self, completed: object) -> object:
        """A message came, or will not. In gRPC's thread, which asks for the answer that its own handler gave."""
        done = self._received(completed)
        with self._state.condition:
            message, self._state.request = self._state.request, None
            self._asked = False
            if message is None:
                self._ended = True
            else:
                self._waiting.append(message)
                self._bytes += len(message)
            self._ask()
            self._state.condition.notify_all()
        return done
