"""A server, and the pool of connections to it."""

from __future__ import annotations

import random
from collections.abc import Callable
from errno import EMFILE, ENFILE
from threading import Condition, Event, Lock
from time import monotonic
from typing import Final

import hiredis

from riskd.adapters.redis_store.link import Address, Link
from riskd.core.errors import Problem, Unavailable
from riskd.host.background import start_thread, surviving

TIMEOUTS: Final = 3
"""A server counts as down after this many timeouts in a row."""
HURRY: Final = 0.02
"""Seconds. A shorter wait that times out does not count, because it says nothing about the server."""
PAUSE: Final = 0.1
"""Seconds before the first retry to reach a server that is down. It doubles with each retry, up to `PAUSE_MOST`."""
PAUSE_MOST: Final = 2.0
UNFORESEEN: Final = Problem("redis", "an unexpected error in riskd", "see the event work_failed in its log")


class Server:
    """A bounded pool of connections to one server, with a circuit breaker.

    Background threads open the connections, with a timeout of their own. So a caller waits until its deadline for a
    connection, but never for DNS, handshakes or retries. While the server is down (it refuses, times out, loads its
    data, or is a replica), callers get an error at once, and a thread retries until it is back. A server that only
    accepts no more connections, or a process that can open no more, goes on with those that it has.
    """

    def __init__(self, address: Address, connect: Callable[[Address], Link], limit: int) -> None:
        """`connect` opens a connection that is ready for commands, or raises OSError or Unavailable. `limit`: most
        connections."""
        self.address = address
        self.timeouts = 0
        """Calls in a row that it did not answer."""
        self._connect = connect
        self._limit = limit
        self._lock = Lock()
        self._changed = Condition(self._lock)
        self._idle: list[Link] = []
        self._count = 0
        self._opening = 0
        self._waiting = 0
        self._fault: Problem | None = None
        """Why the server is down."""
        self._refused: Problem | None = None
        """Why there are no more connections than those that work. A thread retries to open one."""
        self._closed = Event()

    @property
    def down(self) -> bool:
        """Whether the server is down, so that callers get an error at once."""
        return self._fault is not None

    def idle(self) -> Link | None:
        """An idle connection for one call, if there is one. `give` it back, or `discard` it."""
        with self._lock:
            return self._idle_link()

    def take(self, deadline: float) -> Link:
        """A connection for one call, as soon as there is one. `give` it back, or `discard` it. Raises Unavailable."""
        with self._lock:
            link = self._idle_link()
            if link is not None:
                return link
            begun = monotonic()
            self._waiting += 1
            try:
                return self._wait_for_link(begun, deadline)
            finally:
                self._waiting -= 1

    def _idle_link(self) -> Link | None:
        """An idle connection that still works, if there is one."""
        while self._idle:
            link = self._idle.pop()
            if link.idle():
                return link
            link.close()
            self._count -= 1
        return None

    def _wait_for_link(self, begun: float, deadline: float) -> Link:
        while True:
            if self._fault is not None or self._closed.is_set():
                raise Unavailable([self._fault or late(self.address)])
            link = self._idle_link()
            if link is not None:
                return link
            more = self._refused is None and self._count < self._limit and self._opening < self._waiting
            if more and not self._open():
                remedy = "allow the user or the container more threads"
                raise Unavailable([Problem(f"redis {self.address}", "no thread to connect with", remedy)])
            if not self._changed.wait(max(deadline - monotonic(), 0)) and monotonic() >= deadline:
                if self._opening and self._refused is None:
                    self._timed_out(begun)
                raise Unavailable([self._refused or late(self.address)])

    def give(self, link: Link) -> None:
        """Return a connection to the pool after a complete reply."""
        with self._lock:
            self.timeouts = 0
            if self._closed.is_set() or self._fault is not None:
                self._count -= 1
                link.close()
            else:
                self._idle.append(link)
                if self._waiting:
                    self._changed.notify()

    def discard(self, link: Link, error: Exception) -> Unavailable:
        """Close a connection whose call failed. Returns the exception to raise."""
        link.close()
        with self._changed:
            self._count -= 1
            self._changed.notify()
            if isinstance(error, TimeoutError):
                self._timed_out(link.begun)
        return Unavailable([trouble(self.address, error)])

    def _timed_out(self, begun: float) -> None:
        """Count a timeout of a call that was started at `begun`."""
        self.timeouts += monotonic() - begun >= HURRY
        if self.timeouts >= TIMEOUTS:
            self._fail(late(self.address))

    def fail(self, problem: Problem) -> None:
        """Mark the server as down, because it replied that it cannot serve (it loads its data, or is a replica now).

        It is up again as soon as a new connection succeeds.
        """
        with self._changed:
            self._fail(problem)

    def _fail(self, problem: Problem) -> None:
        if self._fault is not None or not (self._opening or self._open()):
            return  # Without a thread that retries, nothing would notice that it is back. So callers go on trying.
        self._fault = problem
        self._drop(self._idle)

    def close(self) -> None:
        """Close all connections; those in use are closed when they are given back."""
        self._closed.set()
        with self._changed:
            self._drop(self._idle)

    def _drop(self, links: list[Link]) -> None:
        """Close these idle connections."""
        for link in links:
            link.close()
        self._count -= len(links)
        self._idle = [link for link in self._idle if link not in links]
        self._changed.notify_all()

    def _open(self) -> bool:
        """Start a thread that opens a connection. False if the process can have no more threads."""
        if start_thread(self._connect_with_retries, "redis") is None:
            return False
        self._count += 1
        self._opening += 1
        return True

    def _connect_with_retries(self) -> None:
        pause = PAUSE
        while not self._try_to_connect():
            self._closed.wait(pause * random.uniform(0.5, 1.5))  # noqa: S311 (jitter, not a secret)
            pause = min(2 * pause, PAUSE_MOST)

    def _try_to_connect(self) -> bool:
        """Try once to connect. True if this thread is done: it succeeded, another one retries, or the pool closed."""
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
                self.timeouts = 0
            elif link is not None:
                link.close()
            if link is None:
                self._not_opened(problem)
            else:
                self._fault = self._refused = None
            done = link is not None or over or self._opening > 1
            if done:
                self._opening -= 1
                self._count -= link is None or over
            self._changed.notify_all()
            return done

    def _not_opened(self, problem: Problem) -> None:
        """The server is down, unless other connections to it work."""
        self._drop([link for link in self._idle if not link.idle()])
        if self._fault is None and self._count > self._opening:
            self._refused = problem
        else:
            self._fault, self._refused = problem, None


def late(address: Address) -> Problem:
    """The problem for a caller whose deadline passed."""
    remedy = "allow the call more time, or find out why the server is slow"
    return Problem(f"redis {address}", "no answer in time", remedy)


def trouble(address: Address, error: Exception) -> Problem:
    """The problem for a connection that failed."""
    if isinstance(error, TimeoutError):
        return late(address)
    remedy = "check that the server runs, and that store.url, certificates and firewalls let riskd reach it"
    if isinstance(error, OSError) and error.errno in (EMFILE, ENFILE):
        remedy = "allow the process or the machine more open files"
    elif "max number of clients" in str(error):
        remedy = "raise the server's maxclients, or lower store.connections"
    return Problem(f"redis {address}", str(error) or type(error).__name__, remedy)
