"""Lanes, which are queues of calls with priorities and limits, and the threads that run the calls.

Each method has a `Lane`. `admission` asks it whether an arriving call may wait. A call that waited too long anyway is
not started: the boundary first calls `take_turn`, which refuses it (docs/decisions/0070). The calls of the lanes are
run by gRPC's own polling thread (`loop`) or by a pool of threads (`Handlers`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import get_ident
from time import monotonic, sleep
from typing import Final, ParamSpec, Protocol, TypeVar

from msgspec import Struct

from riskd.core.errors import Problem
from riskd.host.background import log_no_thread
from riskd.server.calls.shares import Shares
from riskd.server.faults import Overloaded

SPARES: Final = 4
"""Most threads that a pool adds, or that replace a held-up thread of a loop at the same time."""
FAIR: Final = 8
"""Every eighth turn goes to another lane than the first, in rotation, so that full lanes starve none behind them."""
FULL: Final = "full"
WAITED: Final = "waited"
GONE: Final = "gone"
SMOOTHING: Final = 16
"""Calls over which the mean duration of a call is taken (an exponential moving average).

A call counts as at most twice the mean, so that one pause does not look like a trend. A call that waited too long
counts as twice the mean, because calls evidently take longer than expected.
"""
MEMORY: Final = 5
"""Cap on the excess that a lane remembers, in multiples of `burst_s`. Without it, a long overload would leave the lane
strict for as long again."""
_POLL_SECONDS: Final = 0.0005
Waiting = tuple[Callable[[], object], float]
"""A call that waits, and since when (`monotonic`)."""
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class QueueMeter(Protocol):
    """Counts calls that wait. Must not raise or block."""

    def queued(self, method: str, seconds: float, /) -> None:
        """A call of this method waited this long for its turn."""
        ...

    def refused(self, method: str, why: str, /) -> None:
        """A call was not started: the lane was `full` on arrival, the call `waited` too long, or its client was
        `gone`."""
        ...


class Limits(Struct, frozen=True, kw_only=True):
    """How many calls may wait in a lane, and how long.

    A lane normally tolerates an expected wait of `burst_s`, to absorb bursts. Once more work has been offered,
    refused calls included, than can be done in `burst_s`, the limit is `standing_s` until the excess is worked off:
    a long queue would only make every call late. (A virtual queue, after Kunniyur and Srikant, SIGCOMM 2001.)
    """

    calls: int = 256
    burst_s: float = 0.1
    standing_s: float = 0.1


class _Turn(threading.local):
    """What a thread knows about the call that it runs."""

    late = False
    """Whether the call waited too long."""
    taken = False
    """Whether the call reached the boundary; gRPC drops a call whose client has cancelled before that."""
    ended = 0.0
    """When the thread's last call ended."""
    borrowed = False
    """Whether it is gRPC's thread, which runs the call because its pool cannot have one."""


_TURN: Final = _Turn()


def take_turn() -> None:
    """Start this thread's call. Raises Overloaded if it waited too long."""
    _TURN.taken = True
    if _TURN.late:
        what = "the call waited too long for its turn"
        raise Overloaded([Problem("server", what, "retry after the delay in RetryInfo, with growing pauses")])


def held_up(since: Mapping[int, float], threads: int, seconds: float) -> bool:
    """Whether at least `threads` threads are busy, and every one for longer than `seconds`.

    `since`: when each busy thread began what it does, by thread id.
    """
    begun = list(since.values())
    return len(begun) >= threads and max(begun) < monotonic() - seconds


class Turns:
    """Several lanes and the order in which their calls are run. A thread that is free calls `next_turn`."""

    def __init__(self) -> None:
        self._lanes: list[Lane] = []
        self._waiting: list[deque[Waiting]] = []
        self._turns = 0
        self._begun: dict[int, float] = {}

    @property
    def threads(self) -> int:
        """How many calls run at the same time."""
        return 1

    @property
    def due(self) -> bool:
        """Whether a call is waiting."""
        return any(self._waiting)

    def lane(self, method: str, limits: Limits, meter: QueueMeter) -> Lane:
        """A new lane for the calls of a method, with lower priority than the lanes made before it."""
        made = Lane(self, method, limits, meter)
        self._lanes.append(made)
        self._waiting.append(made.calls)
        return made

    def queued(self) -> None:
        """A call was added to a lane. Nothing to do here: the thread that runs calls polls `due`."""

    def next_turn(self) -> None:
        """Run the waiting call whose turn it is, if there is one."""
        self._turns += 1
        lanes = self._lanes
        if not self._turns % FAIR:
            first = 1 + self._turns // FAIR % max(len(lanes) - 1, 1)
            lanes = lanes[first:] + lanes[:first]
        for lane in lanes:
            if lane.run_first():
                return

    def timed(self, fn: Callable[_Given, _Result], /, *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        """Call `fn` and count it as under way in this thread until it returns."""
        thread = get_ident()
        self._begun[thread] = monotonic()
        try:
            return fn(*args, **kwargs)
        finally:
            del self._begun[thread]

    def give_way(self, most_s: float) -> None:
        """Wait until no call waits or is under way, at most `most_s` seconds. For work of lower priority. A borrowed
        thread does not wait, because the calls wait for it."""
        until = monotonic() + most_s
        while not _TURN.borrowed and (self._begun or self.due) and monotonic() < until:
            sleep(_POLL_SECONDS)


class Handlers(ThreadPoolExecutor, Turns):
    """A pool of threads that adds a thread, up to `SPARES` times, when all of its threads are held up.

    A thread that waits for a disk that does not answer (a log on a dead mount) cannot be interrupted, and every later
    call would wait behind it. Added threads stay.
    """

    def __init__(self, threads: int, name: str, *, held_up_s: float) -> None:
        """`held_up_s`: seconds in one call after which a thread counts as held up."""
        ThreadPoolExecutor.__init__(self, threads, thread_name_prefix=name)
        Turns.__init__(self)
        self._name = name
        self._held_up_s = held_up_s
        self._most = threads + SPARES

    @property
    def threads(self) -> int:
        """How many calls run at the same time."""
        return self._max_workers

    def queued(self) -> None:
        """A call was added to a lane: let a thread run the next call, which may be one of higher priority. If the pool
        cannot start its first thread, run it here."""
        try:
            self.submit(self.next_turn)
        except RuntimeError:
            log_no_thread(self._name)
            if not self._threads:
                _TURN.borrowed = True
                try:
                    self.timed(self.next_turn)
                finally:
                    _TURN.borrowed = False

    def submit(self, fn: Callable[_Given, _Result], /, *args: _Given.args, **kwargs: _Given.kwargs) -> Future[_Result]:
        """See `Executor`."""
        if self._max_workers < self._most and held_up(self._begun, self._max_workers, self._held_up_s):
            self._max_workers += 1
        return super().submit(self.timed, fn, *args, **kwargs)


class Lane:
    """The calls of one method that wait, first in, first out. `admits` and `submit` are called by one thread only,
    gRPC's."""

    def __init__(self, turns: Turns, method: str, limits: Limits, meter: QueueMeter) -> None:
        self._turns = turns
        self._method = method
        self._limits = limits
        self._meter = meter
        self.calls: Final = deque[Waiting]()
        self._offered_s = 0.0
        self._seen = monotonic()
        self._mean_s = 0.001
        self._shares = Shares()

    def admits(self, caller: str = "") -> bool:
        """Whether a call that arrives now may wait. Depends on how many wait already, and for how long they will; and
        during an overload, on how far its caller is ahead of its share.

        `_offered_s` is the work that would be waiting if no call had been refused. It detects overload where the real
        queue cannot: that is short because calls are refused, and often empty for a moment.
        """
        waiting, now, limits = len(self.calls), monotonic(), self._limits
        each = self._mean_s / self._turns.threads
        offered = max(self._offered_s - (now - self._seen), waiting * each)
        passed, self._offered_s, self._seen = now - self._seen, offered, now
        overloaded, limit = offered > limits.burst_s, limits.burst_s
        if overloaded:
            limit = self._limit(caller, passed)
        elif self._shares:
            self._shares.clear()
        admitted = not waiting or (waiting < limits.calls and waiting * each <= limit)
        if not admitted:
            self._offer()
        elif overloaded:
            self._shares.charge(caller, each, limits.burst_s)
        return admitted

    def _limit(self, caller: str, passed: float) -> float:
        """How long a caller's calls may wait during an overload. The less it is ahead of its share, the more nearly as
        long as in a burst; if there is no other, `standing_s`."""
        shares, limits = self._shares, self._limits
        shares.came(caller, passed, limits.burst_s)
        if shares.alone(caller):
            return limits.standing_s
        return max(limits.burst_s - shares.ahead(caller), limits.standing_s)

    def submit(self, fn: Callable[_Given, object], /, *args: _Given.args, **kwargs: _Given.kwargs) -> None:
        """Add a call to the end of the lane."""
        self._offer()
        self.calls.append((partial(fn, *args, **kwargs), monotonic()))
        self._turns.queued()

    def run_first(self) -> bool:
        """Run the first call in the current thread. False if the lane is empty."""
        try:
            call, since = self.calls.popleft()
        except IndexError:
            return False
        begun = monotonic()
        waited = begun - since
        _TURN.late, _TURN.taken = waited > self._limits.burst_s, False
        self._meter.queued(self._method, waited)
        call()
        before, _TURN.ended = _TURN.ended, monotonic()
        if not _TURN.taken:
            self._meter.refused(self._method, GONE)
            return True
        took = min(_TURN.ended - max(since, before), 2 * self._mean_s)
        if _TURN.late:
            self._meter.refused(self._method, WAITED)
            took = 2 * self._mean_s
        self._mean_s += (took - self._mean_s) / SMOOTHING
        return True

    def _offer(self) -> None:
        """Count a call as offered work: when it is refused, or when its message has arrived, because clients may reset
        thousands of calls before that."""
        each = self._mean_s / self._turns.threads
        self._offered_s = min(self._offered_s + each, MEMORY * self._limits.burst_s)
