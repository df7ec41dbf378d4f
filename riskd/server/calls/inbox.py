"""The inbox of a stream: a bounded queue of the messages that have arrived, read with a timeout.

gRPC's own iterator over the requests of a stream blocks its thread until the next message, without a limit. Here
gRPC's thread receives the messages, as `reception` does for unary calls (docs/decisions/0075, 0084).
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
"""Most messages of one stream that wait. While the inbox is full, gRPC's flow control makes the client wait."""
BYTES: Final = 256 * 1024
"""The inbox is also full once it holds this many bytes. Attempts usually have 250 bytes."""
TIMED_OUT: Final = "it was open too long, or silent too long"
_NO_FLAGS: Final = 0


class Inbox:
    """The messages that one stream has received. One thread calls `take`; gRPC's threads add messages."""

    def __init__(self, call: object, state: object) -> None:
        assert isinstance(state, _server._RPCState)
        self._call = call
        self._state = state
        self._received = _server._receive_message(state, call, None)
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._receiving = False
        self._ended = False
        self._closed = ""
        with state.condition:
            self._receive()

    @property
    def ended(self) -> bool:
        """Whether the client has closed its side of the stream and the call was not cancelled."""
        return self._ended and _server._is_rpc_state_active(self._state)

    def take(self, most: int, until: float) -> list[bytes]:
        """Wait for messages and return up to `most` of them, oldest first; an empty list at the end of the stream.

        Raises StreamOver when no message arrives by `until` (a time of `monotonic`), and when a closed inbox has been
        emptied.
        """
        with self._state.condition:
            while _server._is_rpc_state_active(self._state) and not (self._waiting or self._ended or self._closed):
                if not self._state.condition.wait(until - monotonic()):
                    self._closed = TIMED_OUT
            if not _server._is_rpc_state_active(self._state):
                return []
            if self._closed and not self._waiting:
                remedy = "open another stream, and send again every attempt that has no answer"
                raise StreamOver([Problem("stream", self._closed, remedy)])
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._bytes -= sum(map(len, taken))
            self._receive()
            return taken

    def close(self, why: str) -> None:
        """Receive no further messages. Those that wait can still be taken; after them `take` raises with `why`."""
        with self._state.condition:
            self._closed = self._closed or why
            self._state.condition.notify_all()

    def cancel(self) -> None:
        """Cancel the call, whatever it is waiting for."""
        self._call.cancel()  # type: ignore[attr-defined]  # of cygrpc, published without types

    def _receive(self) -> None:
        """Let gRPC receive the next message if there is room. The caller holds the state's condition."""
        full = len(self._waiting) >= MESSAGES or self._bytes >= BYTES
        if full or self._receiving or self._ended or self._closed or not _server._is_rpc_state_active(self._state):
            return
        self._receiving = True
        receive = (cygrpc.ReceiveMessageOperation(_NO_FLAGS),)
        self._call.start_server_batch(receive, self._arrived)  # type: ignore[attr-defined]  # of cygrpc, published without types
        self._state.due.add(_server._RECEIVE_MESSAGE_TOKEN)  # type: ignore[arg-type, call-arg]  # a wrong stub

    def _arrived(self, completed: object) -> object:
        """gRPC's callback: a message has arrived, or the client has sent its last. Returns what gRPC's own callback
        returns."""
        done = self._received(completed)
        with self._state.condition:
            message, self._state.request = self._state.request, None
            self._receiving = False
            if message is None:
                self._ended = True
            else:
                self._waiting.append(message)
                self._bytes += len(message)
            self._receive()
            self._state.condition.notify_all()
        return done
