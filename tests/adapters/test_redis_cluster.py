"""A Redis cluster that changes under load: slots move, masters die, and acknowledged writes are kept."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import socketserver
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain, islice, repeat
from pathlib import Path
from threading import Event, Thread

import hiredis
import pytest
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.adapters.redis_store import Access, Address, RedisStore
from riskd.adapters.redis_store.server import PAUSE
from riskd.adapters.redis_store.servers import ENOUGH, REDIRECTIONS, Answers
from riskd.adapters.rekeying import move as move_record
from riskd.adapters.rekeying import move_all
from riskd.core.errors import Problem, Unavailable
from riskd.core.history import WEEK, Delta
from riskd.core.pseudonym import Layer
from riskd.core.recall import PROFILE, SHARE
from riskd.core.rekey import moved_key
from riskd.core.stored import Change, Swap
from riskd.ports import IncompleteRead
from riskd.rebuild import merge
from riskd.rebuild.merge import Rebuilt
from riskd.subjects import empty
from tests.interrupted import interrupted
from tests.redis_servers import (
    SLOTS,
    RedisServer,
    cluster,
    cluster_node,
    flush,
    free_port,
    node_id,
    owned,
    refusing,
    running,
    slot,
    until,
    valkey_server,
)

NOW = 1_800_000_000.0
LATER = NOW + WEEK
UNIT = ("sign_in", "", 1)
DEADLINE = 0.1
GRACE = 0.25
"""Seconds beyond the deadline that a busy machine may take to wake up a thread."""


def attempts(place: bytes) -> Delta:
    return Delta(place + b"entity..A", NOW, LATER, (("attempt", "", 1),))


def counts(store: RedisStore, places: Sequence[bytes]) -> dict[bytes, int]:
    found, _ = store.read([place + b"entity..A" for place in places], (), NOW, 5.0)
    return {
        place: sum(history.tallies.of("attempt").get("", [])[1:]) for place, history in zip(places, found, strict=True)
    }


class Load:
    """Writes of one thread: acknowledged by place, errors, and the longest wait."""

    def __init__(self, store: RedisStore, places: Sequence[bytes], timeout: float = DEADLINE) -> None:
        self.acknowledged: Counter[bytes] = Counter()
        self.failed: Counter[str] = Counter()
        self.longest = 0.0
        self._store = store
        self._timeout = timeout
        self._places = places
        self._over = Event()
        self._thread = Thread(target=self._run)

    def _run(self) -> None:
        number = 0
        while not self._over.is_set():
            place = self._places[number % len(self._places)]
            receipt = Swap(place + os.urandom(8) + b"R", None, b"receipt", LATER)
            begun = time.monotonic()
            try:
                assert self._store.write([attempts(place)], (receipt,), NOW, self._timeout)
                self.acknowledged[place] += 1
            except Unavailable as error:
                self.failed[str(error)] += 1
            self.longest = max(self.longest, time.monotonic() - begun)
            number += 1
            time.sleep(0.001)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()


@pytest.fixture(scope="module", params=["redis", "valkey"])
def nodes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Three masters, and a replica of the first one, which the last test kills."""
    with cluster(
        tmp_path_factory.mktemp("cluster"), replicas=1, program=valkey_server() if request.param == "valkey" else ""
    ) as formed:
        yield formed


@pytest.fixture
def store(nodes: list[RedisServer]) -> Iterator[RedisStore]:
    with closing(RedisStore([node.address for node in nodes[:3]], Access())) as opened:
        until(lambda: all(works(opened, place) for place in owned(0, SLOTS - 1, 20)))
        flush(nodes[:3])
        yield opened


def works(store: RedisStore, place: bytes) -> bool:
    try:
        return store.write([attempts(place)], (), NOW, DEADLINE)
    except Unavailable:
        return False


@pytest.mark.slow
def test_a_cluster_slot_moves_under_load(nodes: list[RedisServer], store: RedisStore) -> None:
    """While a slot moves to another master and back, no write fails or counts twice."""
    moving, others = owned(0, 0, 5), owned(1, SLOTS - 1, 5)
    load = Load(store, [*moving, *others], timeout=2.0)
    with load.running():
        for source, target in [(nodes[0], nodes[1]), (nodes[1], nodes[0])] * 2:
            move(0, source, target, nodes[:3])
    assert load.failed == {}
    assert counts(store, [*moving, *others]) == dict(load.acknowledged)


def test_a_place_that_moves_is_listed_whole(
    nodes: list[RedisServer], store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a large place moves to another master, and back, between two steps of listing it, no record is left out. Each
    server orders the records of a place in its own way, so a cursor of one means nothing to another."""
    (place,) = owned(0, 0, 1)
    keys = [place + b"%04d....A" % number for number in range(3000)]
    assert store.write([Delta(key, NOW, LATER, (UNIT,)) for key in keys], (), NOW, 5.0)
    moves = iter([(nodes[0], nodes[1]), (nodes[1], nodes[0])])
    call = store._servers.call

    def called(commands: Sequence[tuple[bytes, bytes]], deadline: float) -> Answers:
        answers = call(commands, deadline)
        for source, target in islice(moves, 1):
            move(0, source, target, nodes[:3])
        return answers

    monkeypatch.setattr(store._servers, "call", called)
    assert store.held(place, NOW, 5000) == keys


def test_sweeps_go_on_if_slots_move(nodes: list[RedisServer], store: RedisStore) -> None:
    """If a slot moves between two sweeps, none of them fails, and what has expired is deleted on every master."""
    places = [*owned(0, 0, 1), *owned(1, SLOTS - 1, 20)]
    for place in places:
        receipt = Swap(place + b"receipt.R", None, b"text", NOW + 100)
        assert store.write([attempts(place)], [receipt], NOW, 5.0)
    gone = store.sweep(NOW + 100, 1)
    move(0, nodes[0], nodes[1], nodes[:3])
    gone += sum(store.sweep(NOW + 100, 9) for _ in range(30))
    move(0, nodes[1], nodes[0], nodes[:3])
    assert gone == len(places)
    assert counts(store, places) == dict.fromkeys(places, 1)


def test_a_master_that_cannot_be_swept_keeps_no_other_from_it(nodes: list[RedisServer], store: RedisStore) -> None:
    """While sweeps of one master fail, each is reported, and what has expired on the others is deleted."""
    for place in owned(0, SLOTS - 1, 30):
        receipt = Swap(place + b"receipt.R", None, b"text", NOW + 100)
        assert store.write([attempts(place)], [receipt], NOW, 5.0)
    failed = 0
    with refusing(nodes[0], "scan"):
        for _ in range(20):
            try:
                store.sweep(NOW + 100, 30)
            except Unavailable:
                failed += 1
    assert failed > 1
    left = [sum(field.endswith(b"R") for field in fields(node)) for node in nodes[:3]]
    assert (left[0] > 0, left[1:]) == (True, [0, 0])


def move(number: int, source: RedisServer, target: RedisServer, masters: Sequence[RedisServer]) -> None:
    """Move a slot as `redis-cli --cluster reshard` does, slowly enough to be observed."""
    target.ask("CLUSTER", "SETSLOT", number, "IMPORTING", node_id(source))
    source.ask("CLUSTER", "SETSLOT", number, "MIGRATING", node_id(target))
    time.sleep(0.1)
    while True:
        keys = source.ask("CLUSTER", "GETKEYSINSLOT", number, 1)
        if not keys:
            break
        assert isinstance(keys, list)
        assert isinstance(keys[0], bytes)
        source.ask("MIGRATE", "127.0.0.1", target.port, keys[0], 0, 5000)
        time.sleep(0.05)
    for node in (target, source, *masters):
        node.ask("CLUSTER", "SETSLOT", number, "NODE", node_id(target))


@pytest.mark.slow
def test_other_masters_keep_serving_if_one_without_replica_dies(nodes: list[RedisServer], store: RedisStore) -> None:
    """If a master without a replica dies, calls that need one of its places are unavailable until it is back; others
    are answered."""
    theirs, others = owned(12_000, SLOTS - 1, 3), owned(0, 10_000, 3)
    nodes[2].kill()
    load, rest = Load(store, theirs), Load(store, others, timeout=2.0)
    with load.running(), rest.running():
        time.sleep(1.0)
    assert (load.acknowledged, rest.failed) == ({}, {})
    with pytest.raises(Unavailable):
        counts(store, [*theirs, *others])

    nodes[2].start()
    until(lambda: works(store, theirs[0]))


def test_refused_swaps_leave_no_count_elsewhere(store: RedisStore) -> None:
    """Of requests answered twice at once, only one counts, in its own place and in all others."""
    places = owned(0, SLOTS - 1, 8)
    gate, won = Event(), []

    def answer(number: int) -> None:
        gate.wait()
        swaps = [Swap(places[0] + b"request.Y", None, b"%d" % number, LATER)]
        if store.write([attempts(place) for place in places], swaps, NOW, 5.0):
            won.append(number)

    threads = [Thread(target=answer, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()

    assert len(won) == 1
    assert counts(store, places) == dict.fromkeys(places, 1)


def test_an_interrupted_move_of_a_record_is_completed(nodes: list[RedisServer], store: RedisStore) -> None:
    """If a move stops between two places, the next one completes it. It counts once what was there before, what was
    counted at the new place meanwhile, and what a worker that has not heard of the new pepper counted at the old one.
    """
    layer = Layer(b"pepper of sixteen bytes")
    place = next(one for one in owned(0, 5000, 1000) if slot(layer.over_place(one)) > 6000)
    key = place + b"entity..A"
    target = moved_key(key, layer)
    other = nodes[slot(target[:8]) * 3 // SLOTS]
    for number, (node, command) in enumerate([(nodes[0], "evalsha"), (other, "hset"), (nodes[0], "hdel")], 1):
        for _ in range(3):
            assert store.write([attempts(place)], (), NOW, 5.0)
        with refusing(node, command), pytest.raises(Unavailable):
            move_record(store, key, layer)
        assert store.write([replace(attempts(place), key=target)], (), NOW, 5.0)
        assert store.write([attempts(place)], (), NOW, 5.0)
        assert move_record(store, key, layer) > 0
        assert counted(store, key) == 0
        assert counted(store, target) == 5 * number
        assert move_record(store, key, layer) == 0
    assert {field[-1:] for node in nodes[:3] for field in fields(node)} == {b"A"}


def test_an_interrupted_rebuild_of_a_cluster_is_continued(
    nodes: list[RedisServer], store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a step of a rebuild reaches only some servers, the next run, with steps of another size, adds each record
    once, beside what was counted meanwhile."""
    staging, keys = MemoryStore(), [place + b"entity..A" for place in owned(0, SLOTS - 1, 20)]
    assert staging.write([replace(attempts(key[:8]), key=key) for key in keys], (), NOW, 5.0)
    begun = Rebuilt(until=NOW, origin="of this log")
    with refusing(nodes[2], "evalsha"), pytest.raises(Unavailable):
        merge.merge(staging, store, begun, NOW, lambda _: None)
    assert store.write([attempts(key[:8]) for key in keys], (), NOW, 5.0)
    monkeypatch.setattr(merge, "STEP", 3)
    done = merge.merge(staging, store, merge.read_rebuilt(store) or begun, NOW, lambda _: None)
    assert done.ended
    assert {counted(store, key) for key in keys} == {2}
    assert {field[-1:] for node in nodes[:3] for field in fields(node)} == {b"A", merge.KEY[-1:]}


def test_an_interrupted_erasure_in_a_cluster_is_continued(nodes: list[RedisServer], store: RedisStore) -> None:
    """If an erasure stops before it has taken a subject's share out of its device, the next one takes it out, once."""
    (device,), places = owned(12_000, SLOTS - 1, 1), owned(0, 5000, 2)
    for place in places:
        share, profile = (Delta(key, NOW, LATER, (UNIT,)) for key in (place + device + SHARE, device + PROFILE))
        assert store.write([share, profile], (), NOW, 5.0)
    for node, command in ((nodes[2], "evalsha"), (nodes[0], "hdel")):
        with refusing(node, command), pytest.raises(Unavailable):
            empty(store, places[0])
    empty(store, places[0])
    ((left,), _) = store.read([device + PROFILE], (), NOW, 5.0)
    assert sum(left.tallies.of("sign_in")[""][1:]) == 1
    assert set(walked(store)) == {places[1] + device + SHARE, device + PROFILE}


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_an_erasure_that_was_interrupted_before_a_rotation_subtracts_once(
    step: int, nodes: list[RedisServer], store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever change of an erasure fails, a rotation of the pepper and a new erasure take the subject's share out of
    its device once, and leave what another subject taught."""
    (device,), places = owned(12_000, SLOTS - 1, 1), owned(0, 5000, 2)
    for place in places:
        share, profile = (Delta(key, NOW, LATER, (UNIT,)) for key in (place + device + SHARE, device + PROFILE))
        assert store.write([share, profile], (), NOW, 5.0)
    replaced, left = store.replace, iter(range(step - 1))

    def replace_some(changes: Sequence[Change], timeout: float = 5.0) -> bool:
        if next(left, None) is None:
            raise Unavailable([Problem("redis", "the process was killed")])
        return replaced(changes, timeout)

    monkeypatch.setattr(store, "replace", replace_some)
    with pytest.raises(Unavailable):
        empty(store, places[0])
    monkeypatch.undo()
    layer = Layer(b"pepper of sixteen bytes")
    move_all(store, layer, 1, Event(), lambda _: None)
    empty(store, layer.over_place(places[0]))
    ((kept,), _) = store.read([moved_key(device + PROFILE, layer)], (), NOW, 5.0)
    assert sum(kept.tallies.of("sign_in")[""][1:]) == 1


def counted(store: RedisStore, key: bytes) -> int:
    ((found,), _) = store.read([key], (), NOW, 5.0)
    return sum(found.tallies.of("attempt").get("", [])[1:])


def walked(store: RedisStore) -> Iterator[bytes]:
    """All keys that a walk over the store finds."""
    cursor, more = b"", True
    while more:
        keys, cursor = store.walk(cursor, 100)
        yield from keys
        more = bool(cursor)


def fields(node: RedisServer) -> Iterator[bytes]:
    """All fields that one server has."""
    for name in answered(node, "KEYS", "*"):
        yield from answered(node, "HKEYS", name)


def answered(node: RedisServer, *words: str | bytes) -> list[bytes]:
    found = node.ask(*words)
    assert isinstance(found, list)
    return [each for each in found if isinstance(each, bytes)]


def test_calls_that_a_signal_ends_lose_no_connection(nodes: list[RedisServer]) -> None:
    """If the handler of a signal raises while a call waits for several servers, none of its connections is lost."""
    places = owned(0, SLOTS - 1, 20)
    with closing(RedisStore([nodes[0].address], Access(), connections=1)) as store:
        until(lambda: all(works(store, place) for place in places))
        for _ in range(2):
            nodes[1].signal(signal.SIGSTOP)
            with interrupted():
                store.read([place + b"entity..A" for place in places], (), NOW, 30.0)
            nodes[1].signal(signal.SIGCONT)
            assert set(counts(store, places)) == set(places)


def test_each_place_is_asked_of_its_own_master(nodes: list[RedisServer], store: RedisStore) -> None:
    """In a cluster at rest no call is redirected, which would cost it a second round trip."""
    before = redirections(nodes)
    counts(store, owned(0, SLOTS - 1, 20))
    assert works(store, owned(0, 0, 1)[0])
    assert redirections(nodes) == before


def redirections(nodes: Sequence[RedisServer]) -> list[bytes]:
    """How often each node has redirected a call."""
    told = [node.ask("INFO", "errorstats") for node in nodes]
    return [b"".join(re.findall(rb"errorstat_MOVED:count=(\d+)", each)) for each in told if isinstance(each, bytes)]


def test_a_slot_without_a_server_fails_alone(nodes: list[RedisServer], store: RedisStore) -> None:
    """If no server has a slot, its places cannot be read; the others of the same call are."""
    (lost,), (kept,) = owned(0, 0, 1), owned(1, SLOTS - 1, 1)
    assert store.write([attempts(kept)], (), NOW, 5.0)
    try:
        until(lambda: not sum(node.answers(b"CLUSTER", b"DELSLOTS", b"0") for node in nodes[:3]))
        store._servers.discover()
        with pytest.raises(IncompleteRead, match="a slot has no server") as caught:
            counts(store, [lost, kept])
        assert (caught.value.unread, len(caught.value.histories)) == (frozenset({lost + b"entity..A"}), 2)
        assert caught.value.histories[1].tallies.of("attempt")[""][1:] == [1]
    finally:
        nodes[0].ask("CLUSTER", "ADDSLOTS", 0)
    until(lambda: works(store, lost))


def test_one_node_names_the_others(nodes: list[RedisServer]) -> None:
    """One address is enough to find the cluster, even a replica's."""
    for node in nodes:
        with closing(RedisStore([node.address], Access())) as store:
            assert store.write([attempts(place) for place in owned(0, SLOTS - 1, 20)], (), NOW, 5.0)


@pytest.mark.parametrize(
    ("hello", "told"),
    [
        (b"*2\r\n+mode\r\n+sentinel\r\n", r"is a Sentinel.*name the master in store\.url"),
        (b"-ERR unknown command `HELLO`, with args beginning with: `2`\r\n", "Redis 7 or newer"),
    ],
    ids=["sentinel", "old"],
)
def test_a_server_that_is_not_suited_is_told_apart(hello: bytes, told: str) -> None:
    """A Sentinel in place of its master, or a version that is too old, is refused with what to do."""
    refuses = repeat(b"-ERR unknown command `SCRIPT`\r\n")
    with (
        scripted(lambda _: {b"HELLO": repeat(hello), b"SCRIPT": refuses}) as address,
        closing(RedisStore([address], Access())) as store,
        pytest.raises(Unavailable, match=told),
    ):
        store.load([b"someone.P"])


def test_single_servers_are_no_cluster(tmp_path: Path) -> None:
    """Two addresses of independent servers are reported as a mistake."""
    first, second = (RedisServer(tmp_path / name) for name in ("a", "b"))
    with (
        running(first, second),
        closing(RedisStore([first.address, second.address], Access())) as store,
        pytest.raises(Unavailable, match="is not in a cluster"),
    ):
        store.write([attempts(b"someone.")], (), NOW, 5.0)


def test_a_single_server_that_becomes_a_cluster_is_found_out(tmp_path: Path) -> None:
    """If a single server becomes a cluster, moved keys are briefly unavailable, then the store uses all nodes."""
    with cluster(tmp_path / "nodes", masters=2) as nodes:
        nodes[0].kill()
        alone = RedisServer(tmp_path / "alone", port=nodes[0].port)
        places = owned(0, SLOTS - 1, 20)
        with closing(RedisStore([alone.address], Access())) as store:
            with running(alone):
                until(lambda: all(works(store, place) for place in places))
            nodes[0].start()
            until(lambda: all(works(store, place) for place in places))


def test_a_seed_that_has_left_the_cluster_does_not_hide_the_others(nodes: list[RedisServer], tmp_path: Path) -> None:
    """A node in store.url that was taken out of the cluster, and knows no slots, is not asked alone."""
    left = cluster_node(tmp_path)
    with running(left), closing(RedisStore([left.address, nodes[1].address], Access())) as store:
        until(lambda: works(store, b"someone."), 5.0)


def test_a_dead_seed_does_not_hide_the_others(nodes: list[RedisServer]) -> None:
    """One reachable address of those given is enough."""
    with closing(RedisStore([Address("127.0.0.1", free_port()), nodes[1].address], Access())) as store:
        until(lambda: works(store, b"someone."))


def test_a_slot_that_keeps_moving_is_followed_for_a_while() -> None:
    """A call follows so many redirections and no more, and fails only if it is refused then, too."""
    with redirecting(REDIRECTIONS) as store:
        assert store.load([b"someone.P"]) == [b"."]
    with redirecting(REDIRECTIONS + 1) as store, pytest.raises(Unavailable, match="the slot kept moving"):
        store.load([b"someone.P"])


@contextmanager
def redirecting(times: int) -> Iterator[RedisStore]:
    """A store on a node that redirects so many reads, to itself, before it answers one."""

    def replies(port: int) -> dict[bytes, Iterator[bytes]]:
        slots = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % port
        moved = b"-MOVED 0 127.0.0.1:%d\r\n" % port
        return {b"CLUSTER": repeat(slots), b"HMGET": chain([moved] * times, repeat(b"*1\r\n$1\r\n.\r\n"))}

    with scripted(replies) as address, closing(RedisStore([address], Access())) as store:
        yield store


def test_a_redirection_that_another_node_has_not_heard_of_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call is answered by the server that it was redirected to, although the map that is found meanwhile lacks it."""
    monkeypatch.setattr(random, "sample", lambda nodes, _: nodes)
    asked, ports = 0, list[int]()

    def slots(port: int) -> Iterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % port

    def moved() -> Iterator[bytes]:
        while True:
            yield b"-MOVED 0 127.0.0.1:%d\r\n" % ports[0]

    known = scripted(lambda port: {b"CLUSTER": slots(port), b"HMGET": moved()})
    with known as address, closing(RedisStore([address], Access(seconds=10.0))) as store:
        assert not store.atomic()
        until(lambda: not store._servers._discovering)

        def greeting() -> Iterator[bytes]:
            until(lambda: asked == 2 and not store._servers._discovering)
            yield from HELLO

        answers = {b"HELLO": greeting(), b"HMGET": repeat(b"*1\r\n$1\r\n.\r\n")}
        with scripted(lambda _: answers) as new:
            ports.append(new.port)
            assert store.load([b"someone.P"]) == [b"."]
            for _ in range(2):
                store._servers.discover()
            assert list(store._servers._servers) == [address], "what owns nothing is left a discovery later"


@pytest.mark.slow
def test_a_cluster_master_dies_under_load(nodes: list[RedisServer], store: RedisStore) -> None:
    """Places of a dead master are answered for within the deadline, and return with everything that had reached the
    replica; others are served meanwhile. A node that has lost contact and names the dead master misleads nobody."""
    slots = answered_map(nodes[0])
    theirs, others = owned(0, 5000, 5), owned(6000, SLOTS - 1, 5)
    load, rest = Load(store, theirs), Load(store, others)
    with load.running(), rest.running():
        time.sleep(0.5)
    acknowledged = dict(load.acknowledged)
    until(lambda: in_step(nodes[0]))
    load, rest = Load(store, theirs), Load(store, others)
    with load.running(), rest.running():
        nodes[0].kill()
        time.sleep(0.5)
        down = sum(load.failed.values())
        until(lambda: works(store, theirs[0]))

    assert down > 0
    assert rest.failed.total() <= rest.acknowledged.total() / 50, "an election may delay others once"
    assert max(load.longest, rest.longest) < DEADLINE + GRACE
    found = counts(store, theirs)
    assert all(found[place] >= acknowledged[place] for place in theirs)

    with (
        scripted(lambda _: {b"CLUSTER": repeat(slots)}) as isolated,
        closing(RedisStore([isolated, nodes[1].address], Access())) as outdated,
    ):
        until(lambda: works(outdated, theirs[0]), 5.0)


def answered_map(node: RedisServer) -> bytes:
    """A node's answer to CLUSTER SLOTS, as bytes."""
    with socket.create_connection((node.address.host, node.port)) as asking:
        asking.sendall(b"CLUSTER SLOTS\r\n")
        time.sleep(0.2)
        return asking.recv(65_536)


HELLO = repeat(b"*4\r\n+mode\r\n+cluster\r\n+role\r\n+master\r\n")


@contextmanager
def scripted(replies: Callable[[int], Mapping[bytes, Iterator[bytes]]]) -> Iterator[Address]:
    """A node of a cluster that does nothing. `replies`: those to each command, by the node's port."""
    done = repeat(b"+OK\r\n")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            reader, answers = hiredis.Reader(), {b"HELLO": HELLO, **given}
            while received := self.request.recv(65_536):
                reader.feed(received)
                while words := reader.gets():
                    self.request.sendall(next(answers.get(words[0], done)))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        port = server.server_address[1]
        given = replies(port)
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield Address("127.0.0.1", port)
        server.shutdown()


def in_step(master: RedisServer) -> bool:
    told = master.ask("WAIT", 1, 1000)
    return told == 1


@pytest.mark.slow
def test_a_dead_master_is_looked_for_with_few_questions(tmp_path: Path) -> None:
    """While a master is dead, a worker under load asks few servers ten times a second at most who owns its slots,
    however many there are."""
    with cluster(tmp_path, masters=8) as nodes, closing(RedisStore([nodes[0].address], Access())) as store:
        places = [*owned(0, 2000, 1), *owned(15_000, SLOTS - 1, 1)]
        until(lambda: all(works(store, place) for place in owned(0, SLOTS - 1, 40)))
        nodes[-1].kill()
        alive = nodes[:-1]
        before, begun = questions(alive), time.monotonic()
        while time.monotonic() < begun + 1.0:
            with pytest.raises(Unavailable):
                counts(store, places)
            time.sleep(0.001)
        rounds = 1 + (time.monotonic() - begun) / PAUSE
        assert 0 < questions(alive) - before <= ENOUGH * rounds


def questions(nodes: Sequence[RedisServer]) -> int:
    """How often the nodes were asked who owns which slots."""
    told = [node.ask("INFO", "commandstats") for node in nodes]
    found = [re.search(rb"cmdstat_cluster\|slots:calls=(\d+)", each) for each in told if isinstance(each, bytes)]
    return sum(int(each[1]) for each in found if each)
