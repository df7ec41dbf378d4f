"""Handler threads and the lanes before them: who comes first, who has waited too long, who is held up.

gRPC submits each call to the pool of its method; a `Lane` is one, and gives the calls to threads that it shares with
other lanes. `admission` asks a lane whether it admits a call; what then waits too long all the same is not begun: the
boundary asks `take_turn` first of all, and answers that it was refused (docs/decisions/0070).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import get_ident
from time import monotonic, sleep
from typing import Final, ParamSpec, Protocol, TypeVar

from msgspec import Struct

from riskd.core.errors import Problem
from riskd.server.faults import Overloaded

SPARES: Final = 4
"""Threads that a pool may grow by in its life."""
FAIR: Final = 8
"""Every so many turns the last lane comes first: no lane waits for ever, however full those before it are."""
FULL: Final = "full"
WAITED: Final = "waited"
GONE: Final = "gone"
SMOOTH: Final = 16
"""Calls over which the usual time of one is taken. One call counts as twice that at most: a pause is no trend."""
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

    `burst_s` is for queues that come and go; `standing_s` for one that has been there for `burst_s` without a break,
    which says that more comes than can be done (after CoDel; Maurer, Fail at Scale, ACM Queue 13(8), 2015).
    """

    calls: int = 256
    burst_s: float = 0.1
    standing_s: float = 0.1


class _Turn(threading.local):
    """What a thread knows of the call that it runs."""

    late = False
    taken = False


_TURN: Final = _Turn()


def take_turn() -> None:
    """Begin the call of this thread, or refuse it. Raises Overloaded."""
    _TURN.taken = True
    if _TURN.late:
        what = "the call waited too long for its turn"
        raise Overloaded([Problem("server", what, "retry after the time given, with growing pauses")])


class Handlers(ThreadPoolExecutor):
    """A pool of a fixed number of threads, which gets one more when all of them are held up.

    A thread in a call to a disk that does not answer (a log on a dead mount) cannot be called back, and behind the
    only one every later call would wait for the same disk. The thread that makes up for it stays.
    """

    def __init__(self, threads: int, name: str, *, held_up_s: float) -> None:
        """`held_up_s`: seconds after which one call's thread counts as held up."""
        super().__init__(threads, thread_name_prefix=name)
        self._held_up_s = held_up_s
        self._most = threads + SPARES
        self._begun: dict[int, float] = {}
        self._lanes: list[Lane] = []
        self._turns = 0

    @property
    def threads(self) -> int:
        """How many calls are under way at a time."""
        return self._max_workers

    def lane(self, method: str, limits: Limits, meter: QueueMeter) -> Lane:
        """A lane for the calls of a method, behind those that were made before."""
        made = Lane(self, method, limits, meter)
        self._lanes.append(made)
        return made

    def submit(self, fn: Callable[_Given, _Result], /, *args: _Given.args, **kwargs: _Given.kwargs) -> Future[_Result]:
        """See `Executor`."""
        if len(self._begun) >= self._max_workers < self._most and self._all_held_up():
            self._max_workers += 1
        return super().submit(self._timed, fn, *args, **kwargs)

    def next_turn(self) -> None:
        """Run the call whose turn it is."""
        self._turns += 1
        for lane in self._lanes if self._turns % FAIR else reversed(self._lanes):
            if lane.run_first():
                return

    def give_way(self, most_s: float) -> None:
        """Wait until no call is under way or waits, `most_s` seconds at most: for what can wait."""
        until = monotonic() + most_s
        while (self._begun or any(lane.waiting for lane in self._lanes)) and monotonic() < until:
            sleep(_NAP)

    def _all_held_up(self) -> bool:
        return max(list(self._begun.values()), default=monotonic()) < monotonic() - self._held_up_s

    def _timed(self, fn: Callable[_Given, _Result], /, *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        thread = get_ident()
        self._begun[thread] = monotonic()
        try:
            return fn(*args, **kwargs)
        finally:
            del self._begun[thread]


class Lane(ThreadPoolExecutor):
    """Calls of one method, in the order in which they came. Asked and submitted to by one thread, as gRPC does.

    gRPC wants an instance of this base; none of its own threads is ever started.
    """

    def __init__(self, handlers: Handlers, method: str, limits: Limits, meter: QueueMeter) -> None:
        super().__init__(1)
        self._handlers = handlers
        self._method = method
        self._limits = limits
        self._meter = meter
        self._calls: deque[tuple[Callable[[], object], float]] = deque()
        self._empty = monotonic()
        self._usual_s = 0.001

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return len(self._calls)

    def admits(self) -> bool:
        """Whether a call that comes now may wait: by how many do already, and how long that will take them."""
        waiting, now, limits = len(self._calls), monotonic(), self._limits
        if not waiting:
            self._empty = now
            return True
        limit = limits.burst_s if now - self._empty < limits.burst_s else limits.standing_s
        return waiting < limits.calls and waiting * self._usual_s <= limit * self._handlers.threads

    def submit(self, fn: Callable[_Given, _Result], /, *args: _Given.args, **kwargs: _Given.kwargs) -> Future[_Result]:
        """Have the call wait for its turn.

        The future is done when some call of the pool is: gRPC counts them, and asks no more of it.
        """
        self._calls.append((partial(fn, *args, **kwargs), monotonic()))
        return self._handlers.submit(self._handlers.next_turn)  # type: ignore[arg-type]  # see above

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
        if not _TURN.taken:
            self._meter.refused(self._method, GONE)
        elif _TURN.late:
            self._meter.refused(self._method, WAITED)
        else:
            took = min(monotonic() - begun, 2 * self._usual_s)
            self._usual_s += (took - self._usual_s) / SMOOTH
        return True
