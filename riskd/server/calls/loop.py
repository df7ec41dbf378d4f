"""One thread that hears of calls and runs them: what has arrived first of all, then the call whose turn it is.

gRPC's server for Python hears of calls in a thread of its own and hands them to others. Under load the two take the
interpreter's lock from each other: whoever computes lets go of it at every record of the store and has it back before
the other has woken up, so that calls wait unheard of, and are neither refused nor begun (docs/decisions/0083). Here
gRPC's thread itself takes a turn whenever nothing has arrived.
"""

from __future__ import annotations

from threading import get_ident
from time import monotonic, time
from typing import Final

import grpc
from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # published without types

from riskd.background import begun
from riskd.server.calls.handlers import SPARES, Turns, held_up

EVENTS: Final = 64
"""Most events between two turns: some twenty refusals. However much comes, something is answered."""
_AT_ONCE: Final = 0.0
_POLL_SECONDS: Final = 1.0


class Loop(cygrpc.CompletionQueue):  # type: ignore[misc]  # it has no types
    """The queue that gRPC's thread asks for the next event. While there is none, that thread runs the calls that wait.

    A thread in a call to a disk that does not answer cannot be called back, and nobody would hear of any call. While it
    is held up, another stands in for it; `SPARES` at a time may. An event that waits for a lock can hold it up, too.
    """

    def __new__(cls, *_: object) -> Loop:
        made: Loop = super().__new__(cls)
        return made

    def __init__(self, state: _server._ServerState, turns: Turns, held_up_s: float) -> None:
        """`held_up_s`: seconds after which a thread that is away counts as held up."""
        self._state = state
        self._turns = turns
        self._held_up_s = held_up_s
        self._watched = False
        self._spares = 0
        self._away: dict[int, float] = {}
        self._events = 0

    def poll(self, deadline: float | None = None) -> cygrpc.BaseEvent:
        """The next event, or one that says that there was none by the deadline (seconds since the epoch)."""
        if not self._watched:
            self._watched = begun(self._watch, "watch") is not None
        turns, thread = self._turns, get_ident()
        while turns.due:
            if self._events < EVENTS:
                event = super().poll(_AT_ONCE)
                if event.completion_type is not cygrpc.CompletionType.queue_timeout:
                    self._events += 1
                    self._away[thread] = monotonic()
                    return event
            self._events = 0
            self._away[thread] = monotonic()
            turns.timed(turns.next_turn)
        if self._state.termination_event.is_set():
            raise SystemExit  # of a thread that was held up until another had heard of the end
        self._away.pop(thread, None)
        event = super().poll(deadline)
        self._away[thread] = monotonic()
        return event

    def _watch(self) -> None:
        while not self._state.termination_event.wait(self._held_up_s / 2):
            if self._spares < SPARES and held_up(self._away, 1 + self._spares, self._held_up_s):
                self._spares += 1
                if begun(self._stand_in, "spare", self._spares) is None:
                    self._spares -= 1

    def _stand_in(self, number: int) -> None:
        """Do as gRPC's thread does, as long as so many others are away; and leave no call that this thread has heard of
        to one that sleeps."""
        thread = get_ident()
        while self._turns.due or sum(other != thread for other in list(self._away)) >= number:
            if self._state.termination_event.is_set():
                break
            event = self.poll(time() + _POLL_SECONDS)
            if event.completion_type is not cygrpc.CompletionType.queue_timeout:
                _server._process_event_and_continue(self._state, event)
            del event  # of a call that is over, it would keep the queue awake: as in `grpc._server`
        self._away.pop(thread, None)
        self._spares -= 1


def install(server: grpc.Server, turns: Turns, held_up_s: float) -> None:
    """Have the thread of this server, which is not yet started, take the turns.

    Names of grpcio that it does not publish: `tests/server/test_loop.py` holds what they are used for.
    """
    state = _state_of(server)
    loop = Loop(state, turns, held_up_s)
    state.server.register_completion_queue(loop)
    state.completion_queue = loop


def busy(server: grpc.Server) -> bool:
    """Whether a call is under way. One is until its answer is with the connection."""
    return bool(_state_of(server).rpc_states)


def _state_of(server: grpc.Server) -> _server._ServerState:
    state: _server._ServerState = server._state  # type: ignore[attr-defined]  # see above
    return state
