"""A history store for several machines, on Redis or Valkey, on one server or a cluster.

A place (the first `stored.PLACE` bytes of a key) is a Redis hash, and a record is a field of it. So all records of a
subject are in one slot, can change in one script, and move together when the slot moves.
"""

from __future__ import annotations

import re
import struct
from binascii import hexlify
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain, groupby, starmap
from operator import attrgetter, itemgetter
from time import monotonic
from typing import Final

import msgspec
from msgspec import Struct

from riskd.adapters.redis_store.greeting import Access
from riskd.adapters.redis_store.link import Address, pack
from riskd.adapters.redis_store.script import HELD, REPLACE, SWEEP, WRITE
from riskd.adapters.redis_store.server import Server
from riskd.adapters.redis_store.servers import Answers, Servers
from riskd.core import stored
from riskd.core.errors import UNDECODABLE, Problem, Unavailable
from riskd.core.history import Delta, History, inverse
from riskd.core.stored import PLACE, Change, Swap
from riskd.ports import PATIENCE, IncompleteRead, IncompleteWrite

CONNECTIONS: Final = 16
"""Default limit of connections to each server. A call uses one of each."""
_KEY: Final = b"riskd:%d:" % stored.FORMAT
_DELETIONS: Final = 500
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_CURSOR: Final = msgspec.msgpack.Decoder(tuple[int, int, bytes, bytes])
"""The cursor of a walk: the layout of the cluster, the number of a master, its run, and the cursor of its SCAN, which
means nothing to another run: each orders its keys in its own way."""


class _Moved(Unavailable):
    """Slots have moved, or a server was restarted, since a walk began."""


class _Part(Struct, frozen=True):
    """The changes of one script call."""

    swaps: Sequence[Swap]
    deltas: Sequence[Delta]


class RedisStore:
    """A `HistoryStore` on servers that many machines share. Each process must open it after it was forked.

    It connects on the first call, and reconnects after any failure. While a server is down, its callers get an error at
    once.

    **Atomicity.** On one server a write is one script, so it happens completely or not at all. In a cluster that holds
    for each place; see `write` for several places. A read takes one round trip, and is a snapshot of each place.
    What a server of a cluster cannot do does not keep the others from doing theirs.

    **Expiry.** Each record has its own expiry by the callers' clock, and is ignored afterwards. The server deletes a
    place after the expiry of its longest-lived record, and a few expired records at each write to their place; sweeps
    delete the others.
    """

    def __init__(self, addresses: Sequence[Address], access: Access, connections: int = CONNECTIONS) -> None:
        self._servers = Servers(addresses, access, connections)
        self.swept = b""

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History], list[bytes | None]]:
        """See `HistoryStore`."""
        records, unread, answers = self._records((*histories, *documents), _deadline(timeout))
        try:
            found = stored.histories(records[: len(histories)], now)
            contents = [stored.document(record, now) for record in records[len(histories) :]]
        except (msgspec.DecodeError, struct.error) as error:
            what = f"a record was not written by riskd: {error}"
            remedy = "find out what else writes keys that begin with riskd:"
            raise Unavailable([Problem("redis", what, remedy)]) from error
        if unread:
            raise IncompleteRead(_problems(answers), found, contents, unread)
        return found, contents

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        """See `HistoryStore`. In a cluster, if deltas are for other places than the swaps:

        1. New documents (no record expected) and all deltas are sent in one round trip. If a swap fails, the deltas in
           other places are undone by a second one, except for slots of sketches.
        2. If a document is replaced, the swaps are sent first, and the deltas in other places once they have succeeded.
        3. After Unavailable, some places may have changed and others not; after IncompleteWrite, that of the swaps has.
        """
        deadline = _deadline(timeout)
        if len(swaps) > 1 and len({swap.key[:PLACE] for swap in swaps}) > 1:
            raise ValueError("the swaps of one write share a place")
        if not self._servers.clustered(deadline):
            return self._changed([_Part(swaps, deltas)], now, deadline)
        first, *others = _places(deltas, swaps) or [_Part((), ())]
        if not (first.swaps and others):
            return self._changed([first, *others], now, deadline)
        if any(swap.expected is not None for swap in swaps):
            if not self._changed([first], now, deadline):
                return False
            answers = self._change(others, now, deadline)
        else:
            answers = self._change([first, *others], now, deadline)
            if 0 in answers.failures:
                raise answers.failures[0]
            if answers.replies[0] == 0:
                applied = [part for number, part in enumerate(others, 1) if number not in answers.failures]
                self._changed([_Part([], list(map(inverse, part.deltas))) for part in applied], now, deadline)
                return False
        if answers.failures:
            raise IncompleteWrite(_problems(answers))
        return True

    def held(self, place: bytes, now: float, limit: int) -> list[bytes]:
        """See `HistoryStore`. Reads every record of the place, a few hundred at a time; again from the beginning if the
        place has moved to another server meanwhile."""
        deadline, found, cursor, run = _deadline(PATIENCE), set[bytes](), b"0", b""
        while True:
            step = pack(b"EVALSHA", HELD.sha, b"1", _key(place), cursor, repr(now).encode())
            (reply,) = self._servers.call([(_key(place), step)], deadline).whole()
            after, fields, server = msgspec.convert(reply, tuple[bytes, list[bytes], bytes])
            found.update(fields)
            cursor, run = (after, server) if run in (b"", server) else (b"0", b"")
            if cursor == b"0" and run:
                return [place + field for field in sorted(found)[:limit]]

    def erase(self, keys: Sequence[bytes]) -> int:
        """See `HistoryStore`."""
        places: dict[bytes, list[bytes]] = {}
        for key in keys:
            places.setdefault(key[:PLACE], []).append(key[PLACE:])
        commands = [
            (_key(place), pack(b"HDEL", _key(place), *fields[start : start + _DELETIONS]))
            for place, fields in places.items()
            for start in range(0, len(fields), _DELETIONS)
        ]
        replies = self._servers.call(commands, _deadline(PATIENCE)).whole()
        return sum(reply for reply in replies if isinstance(reply, int))

    def walk(self, cursor: bytes, limit: int) -> tuple[list[bytes], bytes]:
        """See `HistoryStore`. Returns all keys of about `limit` places. Raises Unavailable if slots have moved since
        the walk began, or a server was restarted: it has to be started again, because it could miss keys."""
        deadline, found = _deadline(PATIENCE), list[bytes]()
        while True:
            hashes, cursor = self._scan(cursor, limit, deadline)
            replies = self._servers.ask([(master, pack(b"HKEYS", key)) for master, key in hashes], deadline)
            for (_, key), fields in zip(hashes, replies, strict=True):
                found += [_place(key) + field for field in msgspec.convert(fields, list[bytes])]
            if found or not cursor:
                return found, cursor

    def load(self, keys: Sequence[bytes], timeout: float = PATIENCE) -> list[bytes | None]:
        """See `HistoryStore`."""
        records, _, answers = self._records(keys, _deadline(timeout))
        answers.whole()
        return records

    def replace(self, changes: Sequence[Change], timeout: float = PATIENCE) -> bool:
        """See `HistoryStore`. One round trip."""
        deadline = _deadline(timeout)
        spread = self._servers.clustered(deadline)
        parts: dict[bytes, list[Change]] = {}
        for change in changes:
            parts.setdefault(change.key[:PLACE] if spread else b"", []).append(change)
        return 0 not in self._servers.call(list(map(_replacement, parts.values())), deadline).whole()

    def atomic(self) -> bool:
        """See `HistoryStore`."""
        return not self._servers.clustered(_deadline(PATIENCE))

    def sweep(self, now: float, limit: int) -> int:
        """See `HistoryStore`. A place counts as one record. Raises Unavailable if a server may delete others, too, or
        cannot be swept: in a cluster the next call goes on with the next one."""
        deadline = _deadline(PATIENCE)
        try:
            hashes, self.swept = self._scan(self.swept, limit, deadline)
        except _Moved:
            hashes, self.swept = [], b""
        except Unavailable:
            if len(self._servers.masters()) > 1:
                layout, number, *_ = self._position(self.swept)
                self.swept = _ENCODE((layout, number + 1, b"", b"0"))
            raise
        sweeps = [(master, pack(b"EVALSHA", SWEEP.sha, b"1", key, repr(now).encode())) for master, key in hashes]
        gone = sum(reply for reply in self._servers.ask(sweeps, deadline) if isinstance(reply, int))
        self._check_eviction(deadline)
        return gone

    def _check_eviction(self, deadline: float) -> None:
        """Raises Unavailable if a server may delete records that have not expired."""
        masters = self._servers.masters()
        for master, info in zip(masters, self._servers.ask([(one, _MEMORY) for one in masters], deadline), strict=True):
            found = dict(_MEMORY_FACTS.findall(info)) if isinstance(info, bytes) else {}
            policy = found.get(b"maxmemory_policy", b"noeviction").decode()
            if policy != "noeviction" and found.get(b"maxmemory") != b"0":
                what = f"deletes histories when its memory is full (maxmemory-policy {policy})"
                remedy = "set maxmemory-policy noeviction, because whoever's history is gone becomes a stranger"
                raise Unavailable([Problem(f"redis {master.address}", what, remedy)])

    def size(self) -> tuple[int, int]:
        """See `HistoryStore`. A place counts as one record. Both figures include other data on these servers."""
        deadline = _deadline(PATIENCE)
        self._servers.clustered(deadline)
        commands = [(master, command) for master in self._servers.masters() for command in _SIZE]
        replies = self._servers.ask(commands, deadline)
        places = sum(reply for reply in replies if isinstance(reply, int))
        used = [_USED.search(reply) for reply in replies if isinstance(reply, bytes)]
        return places, sum(int(found[1]) for found in used if found)

    def close(self) -> None:
        """See `HistoryStore`. Acknowledged writes are on the server already."""
        self._servers.close()

    def _scan(self, cursor: bytes, limit: int, deadline: float) -> tuple[list[tuple[Server, bytes]], bytes]:
        """About `limit` hashes, each with its server, and the cursor for the next step, as in `walk`; or none, although
        others follow. Raises Unavailable."""
        self._servers.clustered(deadline)
        self._servers.discover()
        masters = sorted(self._servers.masters(), key=lambda master: master.address)
        layout = self._servers.layout()
        begun, number, before, position = self._position(cursor)
        if begun != layout or number >= len(masters):
            raise _Moved([Problem("redis", "slots moved during the walk", "start it again")])
        master = masters[number]
        scan = pack(b"SCAN", position, b"MATCH", _KEY + b"*", b"COUNT", b"%d" % limit)
        reply, info = self._servers.ask([(master, scan), (master, _SERVER)], deadline)
        run = found[1] if isinstance(info, bytes) and (found := _RUN.search(info)) else b""
        if position != b"0" and run != before:
            raise _Moved([Problem(f"redis {master.address}", "was restarted during the walk", "start it again")])
        position, keys = msgspec.convert(reply, tuple[bytes, list[bytes]])
        number += position == b"0"
        after = _ENCODE((layout, number, run, position)) if number < len(masters) else b""
        return [(master, key) for key in keys], after

    def _position(self, cursor: bytes) -> tuple[int, int, bytes, bytes]:
        """What a cursor says; the beginning, if it is empty, or damaged, or of another version of riskd."""
        with suppress(*UNDECODABLE):
            return _CURSOR.decode(cursor)
        return self._servers.layout(), 0, b"", b"0"

    def _records(self, keys: Sequence[bytes], deadline: float) -> tuple[list[bytes | None], frozenset[bytes], Answers]:
        """The encoded records, in the order of the keys; the keys that could not be read; and the answers to one
        command for each place. Raises Unavailable if nothing could be read."""
        ordered, commands = sorted(keys), []
        for place, near in groupby(ordered, _place_of):
            name = _KEY + hexlify(place)
            commands.append((name, pack(b"HMGET", name, *map(_field_of, near))))
        answers = self._servers.call(commands, deadline)
        unread: frozenset[bytes] = frozenset()
        if answers.failures:
            if len(answers.failures) == len(commands):
                answers.whole()
            names = {commands[number][0] for number in answers.failures}
            unread = frozenset(key for key in keys if _key(key[:PLACE]) in names)
            ordered = [key for key in ordered if key not in unread]
        replies = [reply for reply in answers.replies if isinstance(reply, list)]
        found = dict(zip(ordered, chain.from_iterable(replies), strict=True))
        records = [record if isinstance(record, bytes) else None for record in map(found.get, keys)]
        return records, unread, answers

    def _changed(self, parts: Iterable[_Part], now: float, deadline: float) -> bool:
        return 0 not in self._change(parts, now, deadline).whole()

    def _change(self, parts: Iterable[_Part], now: float, deadline: float) -> Answers:
        scripts = [_script(part.swaps, part.deltas, now) for part in parts if part.swaps or part.deltas]
        return self._servers.call(scripts, deadline)


def _problems(answers: Answers) -> list[Problem]:
    """Each problem once: that of a server is the same for all its places."""
    return list(dict.fromkeys(chain.from_iterable([error.problems for error in answers.failures.values()])))


_USED: Final = re.compile(rb"^used_memory:(\d+)", re.MULTILINE)
_MEMORY_FACTS: Final = re.compile(rb"^(maxmemory\w*):(\w[\w-]*)", re.MULTILINE)
_RUN: Final = re.compile(rb"^run_id:(\w+)", re.MULTILINE)
_SERVER: Final = pack(b"INFO", b"server")
_MEMORY: Final = pack(b"INFO", b"memory")
_SIZE: Final = (pack(b"DBSIZE"), _MEMORY)


_key_of: Final = attrgetter("key")
_delta_fields: Final = attrgetter("time", "expires", "counts", "marks", "seen", "undo", "keep")
_place_of: Final = itemgetter(slice(PLACE))
_field_of: Final = itemgetter(slice(PLACE, None))


def _places(deltas: Sequence[Delta], swaps: Sequence[Swap]) -> list[_Part]:
    """The changes by place, because a script can only change one place in a cluster. The swaps' place comes first."""
    parts: dict[bytes, tuple[list[Swap], list[Delta]]] = {}
    for swap in swaps:
        parts.setdefault(swap.key[:PLACE], ([], []))[0].append(swap)
    for delta in deltas:
        parts.setdefault(delta.key[:PLACE], ([], []))[1].append(delta)
    return list(starmap(_Part, parts.values()))


def _script(swaps: Sequence[Swap], deltas: Sequence[Delta], now: float) -> tuple[bytes, bytes]:
    """The first key, and the packed call of write.lua that makes these changes."""
    changed = list(map(_key_of, deltas))
    shared = swaps[0].key[:PLACE] if swaps else b""
    places = dict.fromkeys(map(_place_of, [shared, *changed] if swaps else changed))
    keys = [_KEY + hexlify(place) for place in places]
    arguments = [repr(now).encode(), shared, _ENCODE(list(map(_delta_fields, deltas))), *changed]
    for swap in swaps:
        arguments += (swap.key[PLACE:], _given(swap.expected), stored.pack(swap.expires, swap.document))
    return keys[0], pack(b"EVALSHA", WRITE.sha, b"%d" % len(keys), *keys, *arguments)


def _replacement(changes: Sequence[Change]) -> tuple[bytes, bytes]:
    """The first key, and the packed call of replace.lua that makes these changes."""
    places: dict[bytes, bytes] = {}
    arguments: list[bytes] = []
    for change in changes:
        at = places.setdefault(change.key[:PLACE], b"%d" % (len(places) + 1))
        arguments += (at, change.key[PLACE:], _given(change.expected), _given(change.record))
    keys = [_key(place) for place in places]
    return keys[0], pack(b"EVALSHA", REPLACE.sha, b"%d" % len(keys), *keys, *arguments)


def _given(content: bytes | None) -> bytes:
    """An argument that distinguishes no content from empty content."""
    return b"" if content is None else b"=" + content


def _place(key: bytes) -> bytes:
    return bytes.fromhex(key[len(_KEY) :].decode())


def _key(place: bytes) -> bytes:
    return _KEY + hexlify(place)


def _deadline(timeout: float) -> float:
    if timeout <= 0:
        raise Unavailable([Problem("redis", "no answer in time", "allow the call more time")])
    return monotonic() + timeout
