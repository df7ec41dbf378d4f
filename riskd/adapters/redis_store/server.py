"""One server and the connections to it."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from threading import Condition, Event, Lock, Thread
from time import monotonic
from typing import Final

import hiredis

from riskd.adapters.redis_store.link import Address, Link
from riskd.background import surviving
from riskd.core.errors import Problem, Unavailable

SILENCES: Final = 3
"""Calls in a row without an answer after which a server counts as down."""
HURRY: Final = 0.02
"""Seconds; to have waited less says nothing of the server."""
PAUSE: Final = 0.1
"""Seconds between the first two tries to reach a server that is down; doubled up to `PAUSE_MOST`."""
PAUSE_MOST: Final = 2.0
UNFORESEEN: Final = Problem("redis", "riskd met what nobody foresaw", "see the event work_failed in its log")


class Server:
    """A bounded pool of connections to one server, which knows when the server is down.

    Connections are opened by a thread aside, within a time of their own: a caller waits for one until its
    deadline, not for name servers, handshakes or the next try. While the server is down (it refuses, does not
    answer, loads, is a replica), a caller is told so at once, and that thread tries until it is back.
    """

    def __init__(self, address: Address, connect: Callable[[Address], Link], limit: int) -> None:
        """`connect` opens a connection that is ready for commands, or raises OSError or Unavailable."""
        self.address = address
        self._connect = connect
        self._limit = limit
        self._lock = Lock()
        self._changed = Condition(self._lock)
        self._idle: list[Link] = []
        self._held = 0
        self._opening = 0
        self._waiting = 0
        self._silences = 0
        self._fault: Problem | None = None
        self._closed = Event()

    @property
    def down(self) -> bool:
        """Whether callers are turned away."""
        return self._fault is not None

    def take(self, deadline: float) -> Link:
        """A connection for one call; `give` it back or `discard` it. Raises Unavailable."""
        with self._lock:
            link = self._rested()
            if link is not None:
                return link
            begun = monotonic()
            self._waiting += 1
            try:
                return self._taken(begun, deadline)
            finally:
                self._waiting -= 1

    def _rested(self) -> Link | None:
        """An idle connection that is still of use."""
        while self._idle and self._fault is None:
            link = self._idle.pop()
            if link.idle():
                return link
            link.close()
            self._held -= 1
        return None

    def _taken(self, begun: float, deadline: float) -> Link:
        while True:
            if self._fault is not None or self._closed.is_set():
                raise Unavailable([self._fault or late(self.address)])
            link = self._rested()
            if link is not None:
                return link
            if self._held < self._limit and self._opening < self._waiting and not self._open():
                remedy = "let the process have more threads: the limit is the user's, or the container's"
                raise Unavailable([Problem(f"redis {self.address}", "no thread to connect with", remedy)])
            if not self._changed.wait(max(deadline - monotonic(), 0)) and monotonic() >= deadline:
                if self._opening:
                    self._silent(begun)
                raise Unavailable([late(self.address)])

    def give(self, link: Link) -> None:
        """Back after a whole answer."""
        with self._lock:
            self._silences = 0
            if self._closed.is_set():
                self._held -= 1
                link.close()
            else:
                self._idle.append(link)
                if self._waiting:
                    self._changed.notify()

    def discard(self, link: Link, error: Exception) -> Unavailable:
        """Close a connection that failed in the middle of a call; what to raise."""
        link.close()
        with self._changed:
            self._held -= 1
            self._changed.notify()
            if isinstance(error, TimeoutError):
                self._silent(link.begun)
        return Unavailable([trouble(self.address, error)])

    def _silent(self, begun: float) -> None:
        self._silences += monotonic() - begun >= HURRY
        if self._silences >= SILENCES:
            self._fail(late(self.address))

    def fail(self, problem: Problem) -> None:
        """It answered that it cannot serve (it loads, it is a replica now): down until a new connection finds else."""
        with self._changed:
            self._fail(problem)

    def _fail(self, problem: Problem) -> None:
        if self._fault is not None or not (self._opening or self._open()):
            return  # Nobody would find out that it is back: callers go on asking.
        self._fault = problem
        for link in self._idle:
            link.close()
        self._held -= len(self._idle)
        self._idle.clear()
        self._changed.notify_all()

    def close(self) -> None:
        """Let go of all connections; those in use close when they are given back."""
        self._closed.set()
        with self._changed:
            for link in self._idle:
                link.close()
            self._held -= len(self._idle)
            self._idle.clear()
            self._changed.notify_all()

    def _open(self) -> bool:
        """Have a thread connect; False where the process can have none."""
        with suppress(RuntimeError):
            Thread(target=self._keep_trying, name=f"riskd-redis {self.address}", daemon=True).start()
            self._held += 1
            self._opening += 1
            return True
        return False

    def _keep_trying(self) -> None:
        pause = PAUSE
        while not self._tried():
            self._closed.wait(pause * random.uniform(0.5, 1.5))  # noqa: S311 (to spread the tries, not to hide)
            pause = min(2 * pause, PAUSE_MOST)

    def _tried(self) -> bool:
        """Try once to connect; whether this thread is done: it has, or another goes on trying, or all is over."""
        problem: Problem = UNFORESEEN
        link: Link | None = None
        with surviving("redis"):
            try:
                link = self._connect(self.address)
            except Unavailable as error:
                problem = error.problems[0]
            except (OSError, hiredis.HiredisError) as error:
                problem = trouble(self.address, error)
        with self._changed:
            over = self._closed.is_set()
            if link is not None and not over:
                self._idle.append(link)
                self._silences = 0
            elif link is not None:
                link.close()
            self._fault = None if link is not None else problem
            done = link is not None or over or self._opening > 1
            if done:
                self._opening -= 1
                self._held -= link is None or over
            self._changed.notify_all()
            return done


def late(address: Address) -> Problem:
    """What a caller is told whose deadline passed."""
    return Problem(f"redis {address}", "no answer in time", "allow the call more time, or see why the server is slow")


def trouble(address: Address, error: Exception) -> Problem:
    """What a failed connection means."""
    if isinstance(error, TimeoutError):
        return late(address)
    remedy = "see that the server runs, and that store.url, certificates and firewalls let riskd reach it"
    return Problem(f"redis {address}", str(error) or type(error).__name__, remedy)
