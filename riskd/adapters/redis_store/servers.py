"""All servers of a deployment, one or a cluster, and a call that reaches those it concerns in one round trip."""

from __future__ import annotations

from binascii import crc32, crc_hqx
from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import itemgetter
from threading import Condition, Event, Thread
from time import monotonic
from typing import Final

import hiredis
from msgspec import Struct

from riskd.adapters.redis_store.greeting import LOAD, Access, connect, refusal
from riskd.adapters.redis_store.link import Address, Link, Reply, pack
from riskd.adapters.redis_store.server import HURRY, PAUSE, PAUSE_MOST, SILENCES, UNFORESEEN, Server, late
from riskd.background import surviving
from riskd.core.errors import Problem, Unavailable

REDIRECTIONS: Final = 8
"""Times that one call follows a slot that moves."""
SLOTS: Final = 16_384
_AWAY: Final = ("LOADING", "READONLY", "MASTERDOWN", "NOAUTH")
"""Errors of a server that serves nobody now."""
_ASKING: Final = pack(b"ASKING")
_LOADING: Final = b"".join([pack(*command) for command in LOAD])
_MAP: Final = ((b"CLUSTER", b"SLOTS"),)


class _Errand(Struct, frozen=True):
    """One command on its way. `skip`: replies before its own, to what is sent ahead of it."""

    number: int
    server: Server
    packed: bytes
    skip: int = 0


class Servers:
    """Finds out whether the addresses given are one server or a cluster, and keeps up with what a cluster does.

    A thread aside looks for the servers; callers wait for it until their deadline, and only as long as nothing is
    known. Redirections (MOVED, ASK) are followed within the deadline.
    """

    def __init__(self, seeds: Sequence[Address], access: Access, limit: int) -> None:
        """`limit`: connections to each server."""
        self._seeds = tuple(seeds)
        self._access = access
        self._limit = limit
        self._servers: dict[Address, Server] = {}
        self._owners: list[Server | None] = []
        self._known = Condition()
        self._fault: Problem | None = None
        self._silences = 0
        self._looking = False
        self._closed = Event()

    def clustered(self, deadline: float) -> bool:
        """Whether keys are spread over slots. Raises Unavailable while nothing is known."""
        if not self._owners:
            self._look()
            begun = monotonic()
            with self._known:
                while not self._owners:
                    if self._fault is not None:
                        raise Unavailable([self._fault])
                    if not self._known.wait(max(deadline - monotonic(), 0)):
                        self._silences += monotonic() - begun >= HURRY
                        if self._silences >= SILENCES:
                            self._fault = late(self._seeds[0])
                        raise Unavailable([late(self._seeds[0])])
        return len(self._owners) > 1

    def masters(self) -> list[Server]:
        """Each server that owns keys, once."""
        return list(dict.fromkeys(owner for owner in self._owners if owner is not None))

    def layout(self) -> int:
        """A number that another sharing out of the slots changes."""
        addresses = "".join([str(owner.address) if owner else "-" for owner in self._owners])
        return crc32(addresses.encode())

    def look(self) -> None:
        """Find out now how the slots are shared out. Raises Unavailable."""
        if fault := self._found():
            raise Unavailable([fault])

    def owner(self, key: bytes) -> Server:
        """Whose the key is, as far as is known. Raises Unavailable."""
        owners = self._owners
        server = owners[crc_hqx(key, 0) % len(owners) if len(owners) > 1 else 0]
        if server is None:
            self._look()
            raise Unavailable([Problem("redis", "a slot without a server", "see `redis-cli --cluster check`")])
        return server

    def call(self, commands: Sequence[tuple[bytes, bytes]], deadline: float) -> list[Reply]:
        """Replies to packed commands, each from the server of the key that stands before it. As `ask`."""
        if not commands:
            return []
        if self.clustered(deadline):
            return self.ask([(self.owner(key), packed) for key, packed in commands], deadline)
        server = self._owners[0]
        assert server is not None
        link = server.take(deadline)
        try:
            link.send(b"".join(map(_packed, commands)), deadline)
            replies = link.receive(len(commands), deadline)
        except (OSError, hiredis.HiredisError) as error:
            raise server.discard(link, error) from error
        server.give(link)
        if hiredis.ReplyError in map(type, replies):
            self._follow([(server, packed) for _, packed in commands], replies, deadline)
        return replies

    def ask(self, commands: Sequence[tuple[Server, bytes]], deadline: float) -> list[Reply]:
        """Replies to packed commands, in order. All servers are sent theirs before the first is listened to.

        Raises Unavailable when one of them fails, refuses or is late; others may have done their part.
        """
        replies: list[Reply] = [None] * len(commands)
        self._exchange(_errands(commands), replies, deadline)
        self._follow(commands, replies, deadline)
        return replies

    def _follow(self, commands: Sequence[tuple[Server, bytes]], replies: list[Reply], deadline: float) -> None:
        """Send again what was refused because it has to go elsewhere, until nothing is. Raises Unavailable."""
        errands = _errands(commands)
        for _ in range(REDIRECTIONS):
            refused = [errand for errand in errands if isinstance(replies[errand.number], hiredis.ReplyError)]
            if not refused:
                return
            errands = list(self._redirected(refused, commands, replies))
            self._exchange(errands, replies, deadline)
        raise Unavailable([Problem("redis", "the slot kept moving under us", "try again")])

    def close(self) -> None:
        """Let go of all servers. Idempotent."""
        self._closed.set()
        with self._known:
            for server in self._servers.values():
                server.close()

    def _exchange(self, errands: Sequence[_Errand], replies: list[Reply], deadline: float) -> None:
        shares: dict[Server, list[_Errand]] = {}
        for errand in errands:
            shares.setdefault(errand.server, []).append(errand)
        links, failures = self._links(shares, deadline), []
        for server, share in shares.items():
            try:
                links[server].send(b"".join([errand.packed for errand in share]), deadline)
            except OSError as error:
                failures.append(server.discard(links.pop(server), error))
        for server, link in links.items():
            share = shares[server]
            try:
                received = link.receive(len(share) + sum([errand.skip for errand in share]), deadline)
            except (OSError, hiredis.HiredisError) as error:
                failures.append(server.discard(link, error))
                continue
            server.give(link)
            at = -1
            for errand in share:
                at += errand.skip + 1
                replies[errand.number] = received[at]
        if failures:
            self._look()
            raise failures[0]

    def _links(self, servers: Collection[Server], deadline: float) -> dict[Server, Link]:
        """A connection to each, or none and Unavailable. In one order, so that no two calls wait for each other."""
        links: dict[Server, Link] = {}
        try:
            for server in servers if len(servers) == 1 else sorted(servers, key=lambda one: one.address):
                links[server] = server.take(deadline)
        except Unavailable:
            for server, link in links.items():
                server.give(link)
            self._look()
            raise
        return links

    def _redirected(
        self, errands: Iterable[_Errand], commands: Sequence[tuple[Server, bytes]], replies: Sequence[Reply]
    ) -> Iterator[_Errand]:
        """What to send again, and where to. Raises Unavailable on what no repetition mends."""
        for errand in errands:
            reply = replies[errand.number]
            word, _, rest = str(reply).partition(" ")
            packed = commands[errand.number][1]
            if word == "MOVED" and len(self._owners) == 1:
                self._look(again=True)
                what = "the one server has become one of a cluster"
                raise Unavailable([Problem(f"redis {errand.server.address}", what, "try again")])
            if word == "MOVED":
                slot, _, place = rest.partition(" ")
                server = self._owners[int(slot)] = self._at(place, errand.server)
                self._look()
                yield _Errand(errand.number, server, packed)
            elif word == "ASK":
                yield _Errand(errand.number, self._at(rest.partition(" ")[2], errand.server), _ASKING + packed, 1)
            elif word == "NOSCRIPT":
                yield _Errand(errand.number, errand.server, _LOADING + errand.packed, errand.skip + len(LOAD))
            else:
                problem = refusal(errand.server.address, reply)
                if word in _AWAY:
                    errand.server.fail(problem)
                self._look()
                raise Unavailable([problem])

    def _at(self, place: str, told_by: Server) -> Server:
        """The server at `host:port`; without a host it is where the one that told us is."""
        host, _, port = place.rpartition(":")
        address = Address(host.strip("[]") or told_by.address.host, int(port))
        with self._known:
            return self._server(address)

    def _server(self, address: Address) -> Server:
        server = self._servers.get(address)
        if server is None:
            server = self._servers[address] = Server(address, lambda where: connect(where, self._access), self._limit)
        return server

    def _look(self, *, again: bool = False) -> None:
        """Have the servers looked for, unless that is under way. One server alone stays where it is, unless `again`."""
        with self._known:
            if self._looking or (len(self._owners) == 1 and not again) or self._closed.is_set():
                return
            self._looking = True
        try:
            Thread(target=self._keep_looking, name="riskd-redis", daemon=True).start()
        except RuntimeError:  # no thread to be had: the next caller tries
            self._looking = False

    def _keep_looking(self) -> None:
        pause = PAUSE
        while not self._closed.is_set():
            fault: Problem | None = UNFORESEEN
            with surviving("redis"):
                fault = self._found()
            with self._known:
                self._fault = fault
                self._known.notify_all()
            self._closed.wait(pause)
            if fault is None:
                break
            pause = min(2 * pause, PAUSE_MOST)
        with self._known:
            self._looking = False

    def _found(self) -> Problem | None:
        """Ask one server after the other until one tells; what the last one had against it."""
        with self._known:
            for seed in self._seeds:
                self._server(seed)
            servers = sorted(self._servers.values(), key=lambda server: server.down)
        fault = None
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
            fault = self._took_over(server, link.clustered, reply)
            if fault is None:
                return None
        return fault

    def _took_over(self, told_by: Server, clustered: bool, reply: Reply) -> Problem | None:
        """Go by what a server told."""
        if not clustered:
            if len(self._seeds) > 1:
                what = "several addresses, and this one is of no cluster"
                return Problem(f"redis {told_by.address}", what, "name one server, or nodes of one cluster")
            self._owners = [told_by]
            return None
        if isinstance(reply, hiredis.ReplyError):
            return refusal(told_by.address, reply)
        owners: list[Server | None] = [None] * SLOTS
        for first, last, place in _ranges(reply):
            owners[first : last + 1] = [self._at(place, told_by)] * (last + 1 - first)
        self._owners = owners
        with self._known:
            kept = {*self.masters(), *(self._servers[seed] for seed in self._seeds)}
            gone = [address for address, server in self._servers.items() if server not in kept]
            for address in gone:
                self._servers.pop(address).close()
        return None


_packed: Final = itemgetter(1)


def _errands(commands: Sequence[tuple[Server, bytes]]) -> list[_Errand]:
    return [_Errand(number, server, packed) for number, (server, packed) in enumerate(commands)]


def _ranges(reply: Reply) -> Iterator[tuple[int, int, str]]:
    """First and last slot and `host:port` of the master, from CLUSTER SLOTS."""
    for row in reply if isinstance(reply, list) else ():
        match row:
            case [int(first), int(last), [bytes() | None as host, int(port), *_], *_]:
                yield first, last, f"{(host or b'').decode()}:{port}"
