"""A Redis cluster that changes under load: slots move, masters die, and acknowledged writes are kept."""

from __future__ import annotations

import os
import time
from binascii import crc_hqx
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from msgspec.structs import replace

from riskd.adapters.redis_store import Access, Address, RedisStore
from riskd.adapters.rekeying import move as move_record
from riskd.core.errors import Unavailable
from riskd.core.history import WEEK, Delta
from riskd.core.pseudonym import Layer
from riskd.core.rekey import moved_key
from riskd.core.stored import FORMAT, Swap
from tests.redis_servers import SLOTS, RedisServer, cluster, flush, free_port, node_id, running, until, valkey_server

NOW = 1_800_000_000.0
LATER = NOW + WEEK
DEADLINE = 0.1
GRACE = 0.25
"""Seconds beyond the deadline that a busy machine may take to wake up a thread."""


def slot(place: bytes) -> int:
    return crc_hqx(f"riskd:{FORMAT}:{place.hex()}".encode(), 0) % SLOTS


def owned(first: int, last: int, number: int) -> list[bytes]:
    """Places whose slots lie in a range."""
    found = (place for at in range(10**6) if first <= slot(place := b"%08d" % at) <= last)
    return [place for place, _ in zip(found, range(number), strict=False)]


def attempts(place: bytes) -> Delta:
    return Delta(place + b"entity..A", NOW, LATER, (("attempt", "", 1),))


def counts(store: RedisStore, places: Sequence[bytes]) -> dict[bytes, int]:
    found, _ = store.read([place + b"entity..A" for place in places], (), NOW, 5.0)
    return {
        place: sum(history.tallies.of("attempt")[""][1:]) if history else 0
        for place, history in zip(places, found, strict=True)
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
    opened = RedisStore([node.address for node in nodes[:3]], Access())
    until(lambda: all(works(opened, place) for place in owned(0, SLOTS - 1, 20)))
    flush(nodes[:3])
    yield opened
    opened.close()


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
    """If a master without a replica dies, only its subjects are unavailable until it is back."""
    theirs, others = owned(12_000, SLOTS - 1, 3), owned(0, 10_000, 3)
    nodes[2].kill()
    load, rest = Load(store, theirs), Load(store, others)
    with load.running(), rest.running():
        time.sleep(1.0)
    assert (load.acknowledged, rest.failed) == ({}, {})

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
    """If a move stops after the copy, the record exists under both keys. The next move completes it, with everything
    counted meanwhile, and counts nothing twice."""
    layer = Layer(b"pepper of sixteen bytes")
    place = next(one for one in owned(0, 5000, 1000) if slot(layer.over_place(one)) > 6000)
    key = place + b"entity..A"
    target = moved_key(key, layer)
    for _ in range(3):
        assert store.write([attempts(place)], (), NOW, 5.0)
    nodes[0].ask("ACL", "SETUSER", "default", "-hdel")
    try:
        with pytest.raises(Unavailable):
            move_record(store, key, layer)
    finally:
        nodes[0].ask("ACL", "SETUSER", "default", "+hdel")
    assert None not in store.load([key, target])
    assert sorted(walked(store)) == sorted([key, target])
    assert store.held(target[:8], NOW, 9) == [target]

    assert store.write([replace(attempts(place), key=target)], (), NOW, 5.0)
    assert move_record(store, key, layer) == 1
    ((found,), _) = store.read([target], (), NOW, 5.0)
    assert found is not None
    assert store.load([key]) == [None]
    assert sum(found.tallies.of("attempt")[""][1:]) == 4
    assert move_record(store, key, layer) == 0
    assert {field[-1:] for node in nodes[:3] for field in fields(node)} == {b"A"}


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


def test_one_node_names_the_others(nodes: list[RedisServer]) -> None:
    """One address is enough to find the cluster, even a replica's."""
    for node in nodes:
        store = RedisStore([node.address], Access())
        assert store.write([attempts(place) for place in owned(0, SLOTS - 1, 20)], (), NOW, 5.0)
        store.close()


def test_single_servers_are_no_cluster(tmp_path: Path) -> None:
    """Two addresses of independent servers are reported as a mistake."""
    first, second = (RedisServer(tmp_path / name) for name in ("a", "b"))
    with running(first, second):
        store = RedisStore([first.address, second.address], Access())
        with pytest.raises(Unavailable, match="is not in a cluster"):
            store.write([attempts(b"someone.")], (), NOW, 5.0)
        store.close()


def test_a_single_server_that_becomes_a_cluster_is_found_out(tmp_path: Path) -> None:
    """If a single server becomes a cluster, moved keys are briefly unavailable, then the store uses all nodes."""
    with cluster(tmp_path / "nodes", masters=2) as nodes:
        nodes[0].kill()
        alone = RedisServer(tmp_path / "alone", port=nodes[0].port)
        store, places = RedisStore([alone.address], Access()), owned(0, SLOTS - 1, 20)
        with running(alone):
            until(lambda: all(works(store, place) for place in places))
        nodes[0].start()
        until(lambda: all(works(store, place) for place in places))
        store.close()


def test_a_dead_seed_does_not_hide_the_others(nodes: list[RedisServer]) -> None:
    """One reachable address of those given is enough."""
    store = RedisStore([Address("127.0.0.1", free_port()), nodes[1].address], Access())
    until(lambda: works(store, b"someone."))
    store.close()


@pytest.mark.slow
def test_a_cluster_master_dies_under_load(nodes: list[RedisServer], store: RedisStore) -> None:
    """Subjects of a dead master get answers within the deadline, and return with everything that had reached the
    replica; others are served meanwhile."""
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


def in_step(master: RedisServer) -> bool:
    told = master.ask("WAIT", 1, 1000)
    return told == 1
