"""Runs calls on gRPC's own polling thread: it first handles what has arrived, then runs the call whose turn it is.

gRPC's Python server polls for events in one thread and runs calls in others. Under load these compete for the
interpreter lock. The thread that computes releases it at every record of the store, but takes it again before the
polling thread wakes up. So arriving calls wait unnoticed, and are neither refused nor started (docs/decisions/0083).
Here the polling thread itself runs a call whenever nothing has arrived.
"""

from __future__ import annotations

from contextlib import suppress
from threading import get_ident
from time import monotonic, time
from typing import Final

import grpc
from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # published without types

from riskd.host.background import start_thread
from riskd.server.calls.handlers import SPARES, Turns, held_up

EVENTS: Final = 64
"""Most events handled between two calls, enough for about twenty refusals. So a flood cannot stop all answers."""
_AT_ONCE: Final = 0.0
_POLL_SECONDS: Final = 1.0


class Loop(cygrpc.CompletionQueue):  # type: ignore[misc]  # it has no types
    """The completion queue that gRPC's thread polls. While there is no event, `poll` runs the calls that wait.

    If that thread is held up, by a disk that does not answer or by an event that waits for a lock, no event would be
    handled. So a watchdog starts a substitute thread, up to `SPARES` at the same time, until it is back.
    """

    def __new__(cls, *_: object) -> Loop:
        made: Loop = super().__new__(cls)
        return made

    def __init__(self, state: _server._ServerState, turns: Turns, held_up_s: float) -> None:
        """`held_up_s`: seconds after which a thread that has not returned to `poll` counts as held up."""
        self._state = state
        self._turns = turns
        self._held_up_s = held_up_s
        self._watched = False
        self._spares = 0
        self._away: dict[int, float] = {}
        self._events = 0

    def poll(self, deadline: float | None = None) -> cygrpc.BaseEvent:
        """The next event, or an event that says that there was none by the deadline (epoch seconds)."""
        if not self._watched:
            self._watched = start_thread(self._watch, "watch") is not None
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
            raise SystemExit  # ends a thread that was held up while a substitute handled the shutdown
        self._away.pop(thread, None)
        event = super().poll(deadline)
        self._away[thread] = monotonic()
        return event

    def _watch(self) -> None:
        while not self._state.termination_event.wait(self._held_up_s / 2):
            if self._spares < SPARES and held_up(self._away, 1 + self._spares, self._held_up_s):
                self._spares += 1
                if start_thread(self._substitute, "spare", self._spares) is None:
                    self._spares -= 1

    def _substitute(self, number: int) -> None:
        """Do the work of gRPC's thread as long as `number` other threads are held up.

        Goes on while calls wait, so that no call that this thread has received is left to one that sleeps in `poll`.
        """
        thread = get_ident()
        with suppress(SystemExit):  # held up until the server had stopped
            while self._turns.due or sum(other != thread for other in list(self._away)) >= number:
                if self._state.termination_event.is_set():
                    break
                event = self.poll(time() + _POLL_SECONDS)
                if event.completion_type is not cygrpc.CompletionType.queue_timeout:
                    _server._process_event_and_continue(self._state, event)
                del event  # as in `grpc._server`: the event of a finished call would keep its queue alive
        self._away.pop(thread, None)
        self._spares -= 1


def install(server: grpc.Server, turns: Turns, held_up_s: float) -> None:
    """Make the polling thread of this server, which is not started yet, run the calls.

    This uses private names of grpcio. `tests/server/test_loop.py` checks that they still behave as needed.
    """
    state = _state_of(server)
    loop = Loop(state, turns, held_up_s)
    state.server.register_completion_queue(loop)
    state.completion_queue = loop


def busy(server: grpc.Server) -> bool:
    """Whether a call is under way: its answer has not been handed to the connection yet."""
    return bool(_state_of(server).rpc_states)


def stopped(server: grpc.Server) -> bool:
    """Whether a server that was told to stop has closed its last connection."""
    return _state_of(server).stage is _server._ServerStage.STOPPED


def cancel(server: grpc.Server) -> None:
    """Cancel all calls and close all connections, without waiting for it."""
    state = _state_of(server)
    with state.lock:
        if not stopped(server):
            state.server.cancel_all_calls()


def _state_of(server: grpc.Server) -> _server._ServerState:
    state: _server._ServerState = server._state  # type: ignore[attr-defined]  # see above
    return state
