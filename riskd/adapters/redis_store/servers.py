"""The servers of a deployment, one or a cluster. A call reaches all servers that it needs in one round trip."""

from __future__ import annotations

import random
from binascii import crc32, crc_hqx
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter, itemgetter
from threading import Condition, Event
from time import monotonic
from typing import Final

import hiredis
from msgspec import Struct

from riskd.adapters.redis_store.greeting import LOAD, Access, connect, refusal
from riskd.adapters.redis_store.link import Address, Link, Reply, pack
from riskd.adapters.redis_store.server import HURRY, PAUSE, PAUSE_MOST, TIMEOUTS, UNFORESEEN, Server, late
from riskd.core.errors import Problem, Unavailable
from riskd.host.background import start_thread, surviving

REDIRECTIONS: Final = 8
"""Most redirections that one call follows while slots move."""
ENOUGH: Final = 3
"""Most answers of servers that a discovery compares, as long as each of them names servers that are down."""
SLOTS: Final = 16_384
"""Slots of a cluster."""
_AWAY: Final = ("LOADING", "READONLY", "MASTERDOWN", "NOAUTH")
"""Errors of a server that currently serves no calls."""
_ASKING: Final = pack(b"ASKING")
_LOADING: Final = b"".join([pack(*command) for command in LOAD])
_MAP: Final = ((b"CLUSTER", b"SLOTS"),)


class _Request(Struct, frozen=True):
    """A command to send. `number`: its place in the call. `ahead`: `skip` commands to send before it."""

    number: int
    server: Server
    packed: bytes
    ahead: bytes = b""
    skip: int = 0


class Answers(Struct, frozen=True):
    """What came of a call: the replies to its commands, in order; None where a command failed, see `failures`."""

    replies: list[Reply]
    failures: dict[int, Unavailable] = {}
    """By the number of the command."""

    def note(self, share: Iterable[_Request], received: Sequence[Reply]) -> None:
        """Note what a server replied to these requests, and to what was sent ahead of each."""
        end = 0
        for request in share:
            begun, end = end, end + request.skip + 1
            *ahead, reply = received[begun:end]
            if isinstance(reply, hiredis.ReplyError):  # perhaps because what was sent ahead was refused
                reply = next((one for one in ahead if isinstance(one, hiredis.ReplyError)), reply)
            self.replies[request.number] = reply

    def fail(self, requests: Iterable[_Request], error: Unavailable) -> None:
        """Note that these requests failed."""
        for request in requests:
            self.replies[request.number], self.failures[request.number] = None, error

    def whole(self) -> list[Reply]:
        """The replies. Raises Unavailable if a command failed."""
        if self.failures:
            raise self.failures[min(self.failures)]
        return self.replies


class Servers:
    """Finds out whether the given addresses are one server or a cluster, and follows changes of a cluster.

    A background thread discovers the servers. Callers wait for it only while nothing is known, until their deadline.
    Redirections (MOVED, ASK) are followed within the deadline.
    """

    def __init__(self, seeds: Sequence[Address], access: Access, limit: int) -> None:
        """`seeds`: the configured addresses. `limit`: most connections to each server."""
        self._seeds = tuple(seeds)
        self._access = access
        self._limit = limit
        self._servers: dict[Address, Server] = {}
        self._owners: list[Server | None] = []
        self._known = Condition()
        self._fault: Problem | None = None
        self._timeouts = 0
        self._discovering = False
        self._closed = Event()

    def clustered(self, deadline: float) -> bool:
        """Whether the servers are a cluster. Raises Unavailable if nothing is known by the deadline."""
        if not self._owners:
            self._start_discovery()
            begun = monotonic()
            with self._known:
                while not self._owners:
                    if self._fault is not None:
                        raise Unavailable([self._fault])
                    if not self._known.wait(max(deadline - monotonic(), 0)):
                        self._timeouts += monotonic() - begun >= HURRY
                        if self._timeouts >= TIMEOUTS:
                            self._fault = late(self._seeds[0])
                        raise Unavailable([late(self._seeds[0])])
        return len(self._owners) > 1

    def masters(self) -> list[Server]:
        """Each server that owns slots, once."""
        return list(dict.fromkeys(owner for owner in self._owners if owner is not None))

    def layout(self) -> int:
        """A checksum of which server owns which slots; 0 for a single one, for which each machine may have its own
        name."""
        addresses = "".join([str(owner.address) if owner else "-" for owner in self._owners])
        return crc32(addresses.encode()) if len(self._owners) > 1 else 0

    def discover(self) -> None:
        """Discover now which server owns which slots. Raises Unavailable."""
        if fault := self._discover():
            raise Unavailable([fault])

    def owner(self, key: bytes) -> Server:
        """The server that owns a key, as far as is known. Raises Unavailable."""
        owners = self._owners
        server = owners[crc_hqx(key, 0) % len(owners) if len(owners) > 1 else 0]
        if server is None:
            self._start_discovery()
            raise Unavailable([Problem("redis", "a slot has no server", "run `redis-cli --cluster check`")])
        return server

    def call(self, commands: Sequence[tuple[bytes, bytes]], deadline: float) -> Answers:
        """Send packed commands, each to the server of the key in front of it. Sends to all servers before it waits.

        In a cluster, a server that fails, refuses or is late fails its own commands; others may have executed theirs.
        Raises Unavailable if a single server fails, or no server is known.
        """
        if not commands:
            return Answers([])
        if self.clustered(deadline):
            answers, requests = Answers([None] * len(commands)), list[_Request]()
            for number, (key, packed) in enumerate(commands):
                try:
                    requests.append(_Request(number, self.owner(key), packed))
                except Unavailable as error:
                    answers.failures[number] = error
            self._send(requests, answers, deadline)
            self._follow(requests, answers, deadline)
            return answers
        server = self._owners[0]
        assert server is not None
        link, interrupted = server.take(deadline), True
        try:
            link.send(b"".join(map(_packed, commands)), deadline)
            answers = Answers(link.receive(len(commands), deadline))
            interrupted = False
        except (OSError, hiredis.HiredisError) as error:
            interrupted = False
            raise server.discard(link, error) from error
        finally:
            if interrupted:  # the handler of a signal raised
                server.discard(link, InterruptedError())
        server.give(link)
        if hiredis.ReplyError in map(type, answers.replies):
            requests = [_Request(number, server, packed) for number, (_, packed) in enumerate(commands)]
            self._follow(requests, answers, deadline)
            answers.whole()
        return answers

    def ask(self, commands: Sequence[tuple[Server, bytes]], deadline: float) -> list[Reply]:
        """Send packed commands, each to its server, and return the replies in order.

        Raises Unavailable if a server fails, refuses or is late. Other servers may have executed their commands.
        """
        answers = Answers([None] * len(commands))
        requests = [_Request(number, server, packed) for number, (server, packed) in enumerate(commands)]
        self._send(requests, answers, deadline)
        self._follow(requests, answers, deadline)
        return answers.whole()

    def close(self) -> None:
        """Close the connections to all servers. Idempotent."""
        self._closed.set()
        with self._known:
            for server in self._servers.values():
                server.close()

    def _send(self, requests: Sequence[_Request], answers: Answers, deadline: float) -> None:
        """Send each server its requests, and note what came of them.

        Servers with an idle connection get theirs before the first reply is awaited, so a server that does not answer
        delays no other. Then come those for which a connection has to be waited for, the most reliable first; no other
        connection is held meanwhile.
        """
        shares: dict[Server, list[_Request]] = {}
        for request in requests:
            shares.setdefault(request.server, []).append(request)
        before = len(answers.failures)
        links = {server: link for server in shares if (link := server.idle()) is not None}
        self._exchange(links, shares, answers, deadline)
        if len(links) < len(shares):
            for server in sorted(shares.keys() - links.keys(), key=attrgetter("timeouts")):
                try:
                    link = server.take(deadline)
                except Unavailable as error:
                    answers.fail(shares[server], error)
                else:
                    self._exchange({server: link}, shares, answers, deadline)
        if len(answers.failures) > before:
            self._start_discovery()

    @staticmethod
    def _exchange(
        links: dict[Server, Link], shares: dict[Server, list[_Request]], answers: Answers, deadline: float
    ) -> None:
        """Send over each of these connections the share of its server, then receive the replies."""
        held = dict(links)
        try:
            for server, link in links.items():
                try:
                    link.send(b"".join([request.ahead + request.packed for request in shares[server]]), deadline)
                except OSError as error:
                    answers.fail(shares[server], server.discard(held.pop(server), error))
            for server, link in [*held.items()]:
                share = shares[server]
                try:
                    received = link.receive(len(share) + sum([request.skip for request in share]), deadline)
                except (OSError, hiredis.HiredisError) as error:
                    answers.fail(share, server.discard(held.pop(server), error))
                else:
                    server.give(held.pop(server))
                    answers.note(share, received)
        finally:
            for server, link in held.items():  # the handler of a signal raised
                server.discard(link, InterruptedError())

    def _follow(self, requests: Sequence[_Request], answers: Answers, deadline: float) -> None:
        """Follow redirections: send refused requests again until none is refused."""
        refused = _refused(requests, answers)
        for _ in range(REDIRECTIONS):
            if not refused:
                return
            requests = []
            for request in refused:
                try:
                    requests.append(self._redirected(request, answers.replies[request.number]))
                except Unavailable as error:
                    answers.fail([request], error)
            self._send(requests, answers, deadline)
            refused = _refused(requests, answers)
        answers.fail(refused, Unavailable([Problem("redis", "the slot kept moving", "try again")]))

    def _redirected(self, request: _Request, reply: Reply) -> _Request:
        """A refused request, as it has to be sent again. Raises Unavailable for errors that are no redirection."""
        number, server, packed = request.number, request.server, request.packed
        word, _, rest = str(reply).partition(" ")
        if word == "MOVED" and len(self._owners) == 1:
            self._start_discovery(again=True)
            what = "the single server has become part of a cluster"
            raise Unavailable([Problem(f"redis {server.address}", what, "try again")])
        if word == "MOVED":
            slot, _, place = rest.partition(" ")
            owner = self._owners[int(slot)] = self._at(place, server)
            self._start_discovery()
            return _Request(number, owner, packed)
        if word == "ASK":
            return _Request(number, self._at(rest.partition(" ")[2], server), packed, _ASKING, 1)
        if word == "NOSCRIPT":
            return _Request(number, server, packed, _LOADING + request.ahead, request.skip + len(LOAD))
        problem = refusal(server.address, reply)
        if word in _AWAY:
            server.fail(problem)
        self._start_discovery()
        raise Unavailable([problem])

    def _at(self, place: str, source: Server) -> Server:
        """The server at `host:port`. An empty host means the host of `source`, the server that named it."""
        host, _, port = place.rpartition(":")
        address = Address(host.strip("[]") or source.address.host, int(port))
        with self._known:
            return self._server(address)

    def _server(self, address: Address) -> Server:
        server = self._servers.get(address)
        if server is None:
            server = self._servers[address] = Server(address, lambda where: connect(where, self._access), self._limit)
        return server

    def _start_discovery(self, *, again: bool = False) -> None:
        """Discover the servers in a thread, unless one is running. A single server is not discovered again, unless
        `again`."""
        with self._known:
            if self._discovering or (len(self._owners) == 1 and not again) or self._closed.is_set():
                return
            self._discovering = True
        if start_thread(self._discover_with_retries, "redis") is None:
            self._discovering = False  # the next caller tries again

    def _discover_with_retries(self) -> None:
        pause = PAUSE
        while not self._closed.is_set():
            fault: Problem | None = UNFORESEEN
            with surviving("redis"):
                fault = self._discover()
            with self._known:
                self._fault = fault
                self._known.notify_all()
            self._closed.wait(pause)
            if fault is None:
                break
            pause = min(2 * pause, PAUSE_MOST)
        with self._known:
            self._discovering = False

    def _discover(self) -> Problem | None:
        """Ask one server after the other until one names servers that are up for all slots, or use the best of
        `ENOUGH` answers.

        A node that left the cluster, or lost contact with it, knows no slots, or old ones. Returns the problem of the
        last server if none answers.
        """
        with self._known:
            for seed in self._seeds:
                self._server(seed)
            servers = random.sample(list(self._servers.values()), len(self._servers))
            servers.sort(key=lambda server: server.down)
        fault, best, least, answers = None, None, SLOTS + 1, 0
        for server in servers:
            deadline = monotonic() + self._access.seconds
            try:
                link = server.take(deadline)
            except Unavailable as error:
                fault = error.problems[0]
                continue
            try:
                reply = link.ask(_MAP, deadline)[0] if link.clustered else None
            except (OSError, hiredis.HiredisError) as error:
                fault = server.discard(link, error).problems[0]
                continue
            server.give(link)
            owners = self._owners_in(server, link.clustered, reply)
            if isinstance(owners, Problem):
                fault = owners
                continue
            lacking = sum(owners.count(owner) for owner in set(owners) if owner is None or owner.down)
            if lacking < least:
                best, least = owners, lacking
            answers += 1
            if not lacking or answers == ENOUGH:
                break
        if best is None:
            return fault
        self._adopt(best)
        return None

    def _owners_in(self, source: Server, clustered: bool, reply: Reply) -> list[Server | None] | Problem:
        """The owners of the slots by a server's answer to CLUSTER SLOTS, or the problem if it cannot be used."""
        if not clustered:
            what = "is not in a cluster, but store.url has several addresses"
            remedy = "name a single server, or nodes of one cluster"
            return [source] if len(self._seeds) == 1 else Problem(f"redis {source.address}", what, remedy)
        if isinstance(reply, hiredis.ReplyError):
            return refusal(source.address, reply)
        owners: list[Server | None] = [None] * SLOTS
        for first, last, place in _ranges(reply):
            owners[first : last + 1] = [self._at(place, source)] * (last + 1 - first)
        return owners

    def _adopt(self, owners: list[Server | None]) -> None:
        """Use these owners, and close the connections to servers that own nothing any more. Those that owned something
        until now stay until the next discovery: calls may be on their way to them, also because of a redirection that
        the answering server has not heard of."""
        before = [server for server in self.masters() if not server.down]
        self._owners = owners
        if len(owners) == 1:
            return
        with self._known:
            kept = {*before, *self.masters(), *(self._servers[seed] for seed in self._seeds)}
            gone = [address for address, server in self._servers.items() if server not in kept]
            for address in gone:
                self._servers.pop(address).close()


_packed: Final = itemgetter(1)


def _refused(requests: Iterable[_Request], answers: Answers) -> list[_Request]:
    """Those to which a server answered with an error."""
    return [one for one in requests if isinstance(answers.replies[one.number], hiredis.ReplyError)]


def _ranges(reply: Reply) -> Iterator[tuple[int, int, str]]:
    """First slot, last slot, and `host:port` of the master, of each range in the reply to CLUSTER SLOTS."""
    for row in reply if isinstance(reply, list) else ():
        match row:
            case [int(first), int(last), [bytes() | None as host, int(port), *_], *_]:
                yield first, last, f"{(host or b'').decode()}:{port}"
