"""Lanes of calls and the threads that run them: who comes first, who has waited too long, who is held up.

gRPC submits each call to the pool of its method; behind that (`reception`) is a `Lane`, in which it waits for its turn.
`admission` asks a lane whether it admits a call; what then waits too long all the same is not begun: the boundary asks
`take_turn` first of all, and answers that it was refused (docs/decisions/0070). Turns are taken by gRPC's own thread
(`loop`), or by threads aside (`Handlers`).
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

from riskd.background import missed
from riskd.core.errors import Problem
from riskd.server.faults import Overloaded

SPARES: Final = 4
"""Threads that a pool may grow by in its life, or that may stand in for a loop's."""
FAIR: Final = 8
"""Every so many turns another lane than the first comes first, each in its turn: none waits for ever, however full
those before it are."""
FULL: Final = "full"
WAITED: Final = "waited"
GONE: Final = "gone"
SMOOTH: Final = 16
"""Calls over which the usual time of one is taken. One call counts as twice that at most, for a pause is no trend; and
so does one that waited too long, for then the others take longer than was thought."""
MEMORY: Final = 5
"""Bursts of which a lane remembers the excess: overload ends with that much time to spare, however long it was."""
_NAP: Final = 0.0005
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class QueueMeter(Protocol):
    """What is counted of calls that wait. Must not raise or block."""

    def queued(self, method: str, seconds: float, /) -> None:
        """A call of this method had waited so long when its turn came."""
        ...

    def refused(self, method: str, why: str, /) -> None:
        """A call was not begun: on its arrival the lane was `full`, or it had `waited` too long, or its caller was
        `gone`."""
        ...


class Limits(Struct, frozen=True, kw_only=True):
    """How many calls may wait in a lane, and how long.

    `burst_s` is for queues that come and go; `standing_s` holds once more has come than could be done by `burst_s`,
    and until that is made up for (a virtual queue, after Kunniyur and Srikant, SIGCOMM 2001).
    """

    calls: int = 256
    burst_s: float = 0.1
    standing_s: float = 0.1


class _Turn(threading.local):
    """What a thread knows of the call that it runs."""

    late = False
    taken = False
    over = 0.0
    """When its last call was over."""


_TURN: Final = _Turn()


def take_turn() -> None:
    """Begin the call of this thread, or refuse it. Raises Overloaded."""
    _TURN.taken = True
    if _TURN.late:
        what = "the call waited too long for its turn"
        raise Overloaded([Problem("server", what, "retry after the time given, with growing pauses")])


def held_up(since: Mapping[int, float], threads: int, seconds: float) -> bool:
    """Whether so many threads are away, each for longer than that. `since`: when each began."""
    begun = list(since.values())
    return len(begun) >= threads and max(begun) < monotonic() - seconds


class Turns:
    """Lanes, whose turn it is, and which calls are under way. Whoever has a thread for a call runs `next_turn`."""

    def __init__(self) -> None:
        self._lanes: list[Lane] = []
        self._turns = 0
        self._begun: dict[int, float] = {}

    @property
    def threads(self) -> int:
        """How many calls are under way at a time."""
        return 1

    @property
    def due(self) -> bool:
        """Whether a call waits for its turn."""
        return any(lane.waiting for lane in self._lanes)

    def lane(self, method: str, limits: Limits, meter: QueueMeter) -> Lane:
        """A lane for the calls of a method, behind those that were made before."""
        made = Lane(self, method, limits, meter)
        self._lanes.append(made)
        return made

    def come(self) -> None:
        """A call has come to a lane. Who runs it sees it by itself."""

    def next_turn(self) -> None:
        """Run the call whose turn it is."""
        self._turns += 1
        lanes = self._lanes
        if not self._turns % FAIR:
            first = 1 + self._turns // FAIR % max(len(lanes) - 1, 1)
            lanes = lanes[first:] + lanes[:first]
        for lane in lanes:
            if lane.run_first():
                return

    def timed(self, fn: Callable[_Given, _Result], /, *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        """Run it as a call that is under way in this thread."""
        thread = get_ident()
        self._begun[thread] = monotonic()
        try:
            return fn(*args, **kwargs)
        finally:
            del self._begun[thread]

    def give_way(self, most_s: float) -> None:
        """Wait until no call is under way or waits, `most_s` seconds at most: for what can wait."""
        until = monotonic() + most_s
        while (self._begun or self.due) and monotonic() < until:
            sleep(_NAP)


class Handlers(ThreadPoolExecutor, Turns):
    """A pool of a fixed number of threads, which gets one more when all of them are held up.

    A thread in a call to a disk that does not answer (a log on a dead mount) cannot be called back, and behind the
    only one every later call would wait for the same disk. The thread that makes up for it stays.
    """

    def __init__(self, threads: int, name: str, *, held_up_s: float) -> None:
        """`held_up_s`: seconds after which one call's thread counts as held up."""
        ThreadPoolExecutor.__init__(self, threads, thread_name_prefix=name)
        Turns.__init__(self)
        self._name = name
        self._held_up_s = held_up_s
        self._most = threads + SPARES

    @property
    def threads(self) -> int:
        """How many calls are under way at a time."""
        return self._max_workers

    def come(self) -> None:
        """A call has come to a lane: one of the threads runs it, or another whose turn is before; where none can be
        had, gRPC's own does."""
        try:
            self.submit(self.next_turn)
        except RuntimeError:
            missed(self._name)
            if not self._threads:
                self.timed(self.next_turn)

    def submit(self, fn: Callable[_Given, _Result], /, *args: _Given.args, **kwargs: _Given.kwargs) -> Future[_Result]:
        """See `Executor`."""
        if self._max_workers < self._most and held_up(self._begun, self._max_workers, self._held_up_s):
            self._max_workers += 1
        return super().submit(self.timed, fn, *args, **kwargs)


class Lane:
    """Calls of one method, in the order in which they came. Asked by one thread at a time, as gRPC does."""

    def __init__(self, turns: Turns, method: str, limits: Limits, meter: QueueMeter) -> None:
        self._turns = turns
        self._method = method
        self._limits = limits
        self._meter = meter
        self._calls: deque[tuple[Callable[[], object], float]] = deque()
        self._offered_s = 0.0
        self._seen = monotonic()
        self._usual_s = 0.001

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return len(self._calls)

    def admits(self) -> bool:
        """Whether a call that comes now may wait: by how many do already, and how long that will take them.

        What has been offered is the work that would wait had nobody been refused. The queue itself says little of
        overload: it is short because calls are refused, and often empty for a moment.
        """
        waiting, now, limits = len(self._calls), monotonic(), self._limits
        each = self._usual_s / self._turns.threads
        offered = max(self._offered_s - (now - self._seen), waiting * each)
        self._offered_s, self._seen = min(offered + each, MEMORY * limits.burst_s), now
        limit = limits.burst_s if offered <= limits.burst_s else limits.standing_s
        return not waiting or (waiting < limits.calls and waiting * each <= limit)

    def submit(self, fn: Callable[_Given, object], /, *args: _Given.args, **kwargs: _Given.kwargs) -> None:
        """Have the call wait for its turn."""
        self._calls.append((partial(fn, *args, **kwargs), monotonic()))
        self._turns.come()

    def run_first(self) -> bool:
        """Run the first call, in the thread that asks; False where there is none."""
        try:
            call, since = self._calls.popleft()
        except IndexError:
            return False
        begun = monotonic()
        waited = begun - since
        _TURN.late, _TURN.taken = waited > self._limits.burst_s, False
        self._meter.queued(self._method, waited)
        call()
        before, _TURN.over = _TURN.over, monotonic()
        if not _TURN.taken:
            self._meter.refused(self._method, GONE)
            return True
        took = min(_TURN.over - max(since, before), 2 * self._usual_s)
        if _TURN.late:
            self._meter.refused(self._method, WAITED)
            took = 2 * self._usual_s
        self._usual_s += (took - self._usual_s) / SMOOTH
        return True
