"""Redis failures of every kind: each call ends by its deadline with `Unavailable`, and the store recovers by itself."""

from __future__ import annotations

import errno
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

import hiredis
import pytest

from riskd.adapters.redis_store import Access, Address, RedisStore
from riskd.adapters.redis_store.greeting import connect
from riskd.adapters.redis_store.link import Link
from riskd.adapters.redis_store.server import HURRY, TIMEOUTS, Server, trouble
from riskd.adapters.rekeying import RekeyingStore
from riskd.core.errors import Problem, Unavailable
from riskd.core.history import EMPTY, WEEK, Delta
from riskd.core.pseudonym import Layer, Origins
from riskd.host import background
from tests.interrupted import interrupted
from tests.redis_servers import RedisServer, free_port, running, until

NOW = 1_800_000_000.0
KEY = b"subject.........A"
DEADLINE = 0.1
"""The deadline of each call in seconds."""
GRACE = 0.15
"""Seconds beyond the deadline that a busy machine may take to wake up a thread."""
Mend = Callable[[], object]


class Tunnel:
    """A proxy to a server that can drop all bytes, as if the peer had vanished, or pass them slowly."""

    def __init__(self, target: Address, ended: ExitStack) -> None:
        self.open, self.drip = True, False
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address(*self._listener.getsockname())
        self._ended = ended
        accepting = Thread(target=self._accept, daemon=True)
        accepting.start()
        ended.callback(accepting.join)
        ended.callback(self._listener.close)
        ended.callback(self._listener.shutdown, socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                self._ended.callback(near.close)
                far = socket.create_connection((self._target.host, self._target.port))
                self._ended.callback(far.close)
            except OSError:
                return
            Thread(target=self._pass_on, args=(near, far, False), daemon=True).start()
            Thread(target=self._pass_on, args=(far, near, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, back: bool) -> None:
        try:
            while content := source.recv(65_536):
                if self.drip and back:
                    for at in range(len(content)):
                        sink.sendall(content[at : at + 1])
                        time.sleep(0.05)
                elif self.open:
                    sink.sendall(content)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


@contextmanager
def refused(directory: Path) -> Iterator[tuple[RedisStore, Mend]]:
    server = RedisServer(directory)
    with running():
        yield RedisStore([server.address], Access()), server.start
    server.kill()


@contextmanager
def silent(directory: Path) -> Iterator[tuple[RedisStore, Mend]]:
    """The server accepts and never answers, because its process is stopped."""
    server = RedisServer(directory)
    with running(server):
        store = RedisStore([server.address], Access(seconds=0.3))
        warmed(store)
        server.signal(signal.SIGSTOP)
        yield store, lambda: server.signal(signal.SIGCONT)


@contextmanager
def silent_from_the_beginning(directory: Path) -> Iterator[tuple[RedisStore, Mend]]:
    """The server never answered, and a connection may take longer than a call."""
    server = RedisServer(directory)
    with running(server):
        server.signal(signal.SIGSTOP)
        yield RedisStore([server.address], Access(seconds=10.0)), lambda: server.signal(signal.SIGCONT)


@contextmanager
def busy(directory: Path) -> Iterator[tuple[RedisStore, Mend]]:
    """Another client's script does not end, and the server answers only BUSY."""
    server = RedisServer(directory, "--lua-time-limit", "50")
    with running(server), ThreadPoolExecutor(1) as somebody:
        store = RedisStore([server.address], Access(seconds=0.3))
        warmed(store)
        hangs = somebody.submit(server.ask, "EVAL", "while true do end", 0)
        until(lambda: not server.answers(b"PING"))

        def mend() -> None:
            server.ask("SCRIPT", "KILL")
            assert isinstance(hangs.exception(10), hiredis.ReplyError)

        yield store, mend


@contextmanager
def half_open(directory: Path) -> Iterator[tuple[RedisStore, Mend]]:
    """The peer vanished without closing the connection."""
    server = RedisServer(directory)
    with running(server), ExitStack() as ended:
        tunnel = Tunnel(server.address, ended)
        store = RedisStore([tunnel.address], Access(seconds=0.3))
        warmed(store)
        tunnel.open = False
        yield store, lambda: setattr(tunnel, "open", True)


@contextmanager
def dripping(directory: Path) -> Iterator[tuple[RedisStore, Mend]]:
    """Every byte arrives in time, but the whole answer does not."""
    server = RedisServer(directory)
    with running(server), ExitStack() as ended:
        tunnel = Tunnel(server.address, ended)
        store = RedisStore([tunnel.address], Access(seconds=0.3))
        warmed(store)
        tunnel.drip = True
        yield store, lambda: setattr(tunnel, "drip", False)


@contextmanager
def replica(directory: Path) -> Iterator[tuple[RedisStore, Mend]]:
    """The server was demoted to a replica while connected."""
    server = RedisServer(directory)
    with running(server):
        store = RedisStore([server.address], Access())
        warmed(store)
        server.ask("REPLICAOF", "127.0.0.1", free_port())
        yield store, lambda: server.ask("REPLICAOF", "NO", "ONE")


@contextmanager
def full(directory: Path) -> Iterator[tuple[RedisStore, Mend]]:
    server = RedisServer(directory, "--maxmemory-policy", "noeviction")
    with running(server):
        server.ask("CONFIG", "SET", "maxmemory", "1")
        yield RedisStore([server.address], Access()), lambda: server.ask("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def wrong_password(directory: Path) -> Iterator[tuple[RedisStore, Mend]]:
    server = RedisServer(directory)
    with running(server):
        server.ask("CONFIG", "SET", "requirepass", "theirs")
        server.password = b"theirs"
        yield (
            RedisStore([server.address], Access(password=b"ours")),
            lambda: server.ask("ACL", "SETUSER", "default", ">ours"),
        )


@contextmanager
def no_password(directory: Path) -> Iterator[tuple[RedisStore, Mend]]:
    server = RedisServer(directory)
    with running(server):
        server.ask("CONFIG", "SET", "requirepass", "theirs")
        server.password = b"theirs"
        yield RedisStore([server.address], Access()), lambda: server.ask("CONFIG", "SET", "requirepass", "")


@contextmanager
def loading(directory: Path) -> Iterator[tuple[RedisStore, Mend]]:
    """The server was restarted and is loading its data."""
    server = RedisServer(directory)
    with running(server):
        for number in range(25):
            server.ask("SET", f"key {number}", bytes(2048))
        server.ask("SAVE")
        server.kill()
        slow = ["--key-load-delay", "200000", "--loading-process-events-interval-bytes", "1024"]
        again = RedisServer(directory, *slow, "--dbfilename", "dump.rdb", port=server.port)
        again.start(wait=False)
        try:
            until(lambda: b"loading:1" in _persistence(again))
            yield RedisStore([server.address], Access()), lambda: again.ask("CONFIG", "SET", "key-load-delay", "0")
        finally:
            again.kill()


def _persistence(server: RedisServer) -> bytes:
    try:
        told = server.ask("INFO", "persistence")
    except OSError:
        return b""
    assert isinstance(told, bytes)
    return told


@contextmanager
def uncovered(directory: Path) -> Iterator[tuple[RedisStore, Mend]]:
    """A cluster in which one slot has no node: CLUSTERDOWN for all."""
    server = RedisServer(directory, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with running(server):
        server.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        until(lambda: server.answers(b"GET", b"x"))
        store = RedisStore([server.address], Access())
        warmed(store)
        server.ask("CLUSTER", "DELSLOTS", 1)
        yield store, lambda: server.ask("CLUSTER", "ADDSLOTS", 1)


@contextmanager
def something_else(directory: Path) -> Iterator[tuple[RedisStore, Mend]]:
    """The server speaks another protocol."""
    directory.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            while True:
                try:
                    connected, _ = listener.accept()
                except OSError:
                    return
                connected.sendall(b"220 mail.example ESMTP\r\n")
                time.sleep(0.05)
                connected.close()

        Thread(target=greet, daemon=True).start()
        address = Address(*listener.getsockname())
        server = RedisServer(directory, port=address.port)

        def mend() -> None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            server.start()

        yield RedisStore([address], Access()), mend
    server.kill()


@contextmanager
def crowded(directory: Path) -> Iterator[tuple[RedisStore, Mend]]:
    """Other clients have all connections that the server allows."""
    server = RedisServer(directory, "--maxclients", "3")
    with running(server), ExitStack() as others:
        for _ in range(3):
            others.enter_context(socket.create_connection((server.address.host, server.port)))
        yield RedisStore([server.address], Access()), others.close


FAULTS = (
    *(refused, silent, silent_from_the_beginning, busy, half_open, dripping, replica, full, crowded),
    *(wrong_password, no_password, loading, uncovered, something_else),
)
SAID = {
    "refused": "Connection refused",
    "replica": "replica",
    "full": "OOM",
    "wrong_password": "WRONGPASS",
    "no_password": "NOAUTH",
    "busy": "BUSY|no answer in time",
    "crowded": "max number of clients reached",
    "loading": "LOADING|no answer in time",
    "uncovered": "CLUSTERDOWN|has no server",
    "something_else": "Protocol error",
}
"""A part of each fault's message. Other faults say that there was no answer in time."""


def write(store: RedisStore, timeout: float = DEADLINE) -> bool:
    return store.write([Delta(KEY, NOW, NOW + WEEK, (("attempt", "", 1),))], (), NOW, timeout)


def works(store: RedisStore) -> bool:
    try:
        return write(store)
    except Unavailable:
        return False


def warmed(store: RedisStore) -> None:
    until(lambda: works(store))


@pytest.mark.parametrize("fault", FAULTS)
def test_every_redis_fault_ends_by_the_deadline_and_recovers(fault: Callable[[Path], object], tmp_path: Path) -> None:
    """Twelve writes each raise `Unavailable` by their deadline. From the fourth on, a server that is down costs no
    time. After the fault is fixed, the same store works again, and its pools count the connections that they have."""
    with fault(tmp_path / "redis") as (store, mend), closing(store):  # type: ignore[attr-defined]
        taken, said = [], []
        for _ in range(12):
            begun = time.monotonic()
            with pytest.raises(Unavailable) as caught:
                write(store)
            taken.append(time.monotonic() - begun)
            said.append(str(caught.value))
        assert max(taken) < DEADLINE + GRACE
        assert sorted(taken[TIMEOUTS + 1 :])[4] < DEADLINE / 4
        assert any(word in said[-1] for word in SAID.get(fault.__name__, "no answer in time").split("|")), said[-1]

        mend()
        until(lambda: works(store), 10.0)
        for server in store._servers._servers.values():
            if not server.down:
                until(lambda server=server: counted(server) == (len(server._idle), 0, 0))  # type: ignore[misc]


def counted(server: Server) -> tuple[int, int, int]:
    """What a pool counts: its connections, those that are being opened, and the callers that wait for one."""
    return server._count, server._opening, server._waiting


def test_a_redis_server_without_free_memory_still_serves_reads(tmp_path: Path) -> None:
    """If the server is out of memory, only writes fail."""
    with full(tmp_path / "redis") as (store, _), closing(store):
        with pytest.raises(Unavailable, match="noeviction"):
            write(store)
        assert store.read((KEY,), (), NOW, DEADLINE) == ([EMPTY], [])


@pytest.mark.parametrize(
    ("memory", "policy", "evicts"),
    [("0", "allkeys-lru", False), ("64mb", "noeviction", False), ("64mb", "volatile-lru", True)],
)
def test_a_server_that_may_evict_histories_is_reported(tmp_path: Path, memory: str, policy: str, evicts: bool) -> None:
    """A server with a limit of memory and a policy that evicts is reported at each sweep, and goes on serving."""
    server = RedisServer(tmp_path / "redis", "--maxmemory", memory, "--maxmemory-policy", policy)
    with running(server), closing(RedisStore([server.address], Access())) as store:
        warmed(store)
        if evicts:
            with pytest.raises(Unavailable, match="maxmemory-policy volatile-lru"):
                store.sweep(NOW, 100)
        else:
            assert store.sweep(NOW, 100) == 0
        assert works(store)


def test_impossible_deadlines_do_not_affect_other_callers(tmp_path: Path) -> None:
    """Calls with impossible deadlines fail, and the next caller is answered."""
    server = RedisServer(tmp_path / "redis")
    with running(server), closing(RedisStore([server.address], Access())) as store:
        warmed(store)
        for _ in range(20):
            with pytest.raises(Unavailable):
                store.read((KEY,) * 64, (), NOW, 1e-6)
        assert store.read((KEY,), (), NOW, 1.0)[0] != [EMPTY]


def test_a_call_during_a_rotation_ends_by_its_deadline(tmp_path: Path) -> None:
    """While records are being moved to a new pepper and the server is silent, calls end by their own deadline."""
    with silent(tmp_path) as (store, mend), closing(store):
        origins, layer = Origins(), Layer(b"the newest of the peppers")
        origins.note(layer.over(KEY[:-1]), KEY[:-1])
        new, moving = layer.over(KEY[:-1]) + KEY[-1:], RekeyingStore(store, origins, layer)
        deltas = [Delta(new, NOW, NOW + WEEK, (("attempt", "", 1),))]
        for call in (lambda: moving.read((new,), (), NOW, DEADLINE), lambda: moving.write(deltas, (), NOW, DEADLINE)):
            begun = time.monotonic()
            with pytest.raises(Unavailable):
                call()
            assert time.monotonic() - begun < DEADLINE + GRACE
        mend()
        warmed(store)
        assert moving.write(deltas, (), NOW, 1.0)
        (found,), _ = moving.read((new,), (), NOW, 1.0)
        assert sum(found.tallies.of("attempt")[""][1:]) >= 2


def test_a_server_that_was_restarted_between_two_calls_fails_none(tmp_path: Path) -> None:
    """A connection that the server has closed meanwhile is replaced before the next call is sent."""
    server = RedisServer(tmp_path)
    with running(server), closing(RedisStore([server.address], Access(), connections=1)) as store:
        warmed(store)
        for _ in range(2):
            server.kill()
            server.start()
            assert write(store, 5.0)


def test_failed_calls_do_not_use_up_the_connections(tmp_path: Path) -> None:
    """A connection that is given up leaves its place to another."""
    server = RedisServer(tmp_path)
    with running(server), closing(RedisStore([server.address], Access(), connections=1)) as store:
        warmed(store)
        for _ in range(2):
            server.signal(signal.SIGSTOP)
            with pytest.raises(Unavailable):
                write(store)
            server.signal(signal.SIGCONT)
            until(lambda: works(store))


def test_calls_that_a_signal_ends_do_not_use_up_the_connections(tmp_path: Path) -> None:
    """If the handler of a signal raises in the middle of a call, the call's connection leaves its place to another,
    and whoever is next does not get its replies."""
    server = RedisServer(tmp_path)
    with running(server), closing(RedisStore([server.address], Access(), connections=1)) as store:
        warmed(store)
        for _ in range(2):
            server.signal(signal.SIGSTOP)
            with interrupted():
                write(store, 30.0)
            server.signal(signal.SIGCONT)
            assert write(store, 5.0)


def test_a_reply_too_many_is_nobody_s() -> None:
    """A reply that was not asked for ends the connection, or the next caller would take it for its own."""
    deadline = time.monotonic() + 5.0
    with socket.create_server(("127.0.0.1", 0)) as listening:
        link = Link(Address("127.0.0.1", listening.getsockname()[1]), None, deadline)
        with closing(link), listening.accept()[0] as peer:
            peer.sendall(b"+one\r\n+two\r\n")
            until(lambda: not link.idle())
            with pytest.raises(hiredis.ProtocolError):
                link.receive(1, deadline)


@pytest.mark.parametrize("answered", [False, True], ids=["in a row", "between answers"])
def test_only_timeouts_in_a_row_are_an_outage(tmp_path: Path, answered: bool) -> None:
    """A server counts as down once it has not answered so many calls in a row; with answers in between it does not."""
    redis = RedisServer(tmp_path)
    with running(redis), closing(Server(redis.address, partial(connect, access=Access()), 2 * TIMEOUTS)) as server:
        links = [server.take(time.monotonic() + 5.0) for _ in range(2 * TIMEOUTS)]
        redis.kill()
        time.sleep(HURRY)
        for late, other in zip(links[:TIMEOUTS], links[TIMEOUTS:], strict=True):
            server.discard(late, TimeoutError())
            if answered:
                server.give(other)
        assert server.down == (not answered)
        for link in [] if answered else links[TIMEOUTS:]:
            server.give(link)


def test_waiting_for_a_busy_connection_is_no_outage(tmp_path: Path) -> None:
    """A caller who waits in vain because others have all connections says nothing about the server."""
    redis = RedisServer(tmp_path)
    with running(redis), closing(Server(redis.address, partial(connect, access=Access()), 1)) as server:
        link = server.take(time.monotonic() + 5.0)
        for _ in range(TIMEOUTS + 1):
            with pytest.raises(Unavailable, match="no answer in time"):
                server.take(time.monotonic() + 1.5 * HURRY)
        assert not server.down
        assert counted(server) == (1, 0, 0)
        server.give(link)


def test_a_server_that_accepts_no_more_connections_is_used_over_those_there_are(tmp_path: Path) -> None:
    """A server at its limit of clients is not down: whoever waits gets the next connection that is given back, or is
    told of the limit. Once there is room, further connections are opened."""
    redis = RedisServer(tmp_path, "--maxclients", "2")
    with running(redis), closing(Server(redis.address, partial(connect, access=Access()), 4)) as server:
        links = [server.take(time.monotonic() + 5.0) for _ in range(2)]
        for seconds in (10 * HURRY, *[1.5 * HURRY] * TIMEOUTS):
            with pytest.raises(Unavailable, match="max number of clients"):
                server.take(time.monotonic() + seconds)
        for link in links:
            server.give(link)
        links = [server.take(time.monotonic() + 5.0) for _ in range(2)]
        assert links[0].ask([(b"CONFIG", b"SET", b"maxclients", b"9")], time.monotonic() + 5.0) == [b"OK"]
        links.append(server.take(time.monotonic() + 10.0))
        assert counted(server) == (3, 0, 0)
        for link in links:
            server.give(link)


def test_a_server_that_died_is_down_although_it_had_connections(tmp_path: Path) -> None:
    """If a server dies that accepted no more connections, those that it had do not hide that."""
    redis = RedisServer(tmp_path, "--maxclients", "1")
    with running(redis), closing(Server(redis.address, partial(connect, access=Access()), 4)) as server:
        link = server.take(time.monotonic() + 5.0)
        with pytest.raises(Unavailable, match="max number of clients"):
            server.take(time.monotonic() + 10 * HURRY)
        redis.kill()
        server.give(link)
        until(lambda: server.down, 5.0)


def test_a_server_that_is_down_gets_back_the_connections_it_has(tmp_path: Path) -> None:
    """A connection that is given back to a server that is down makes room for the one that tells it is back."""
    redis = RedisServer(tmp_path, "--maxclients", "1")
    with running(redis), closing(Server(redis.address, partial(connect, access=Access()), 4)) as server:
        link = server.take(time.monotonic() + 5.0)
        server.fail(Problem("redis", "is a replica"))
        server.give(link)
        until(lambda: not server.down, 5.0)


def test_a_process_without_free_files_is_told_so() -> None:
    """A connection that fails for want of file descriptors blames the process, and not the server."""
    error = OSError(errno.EMFILE, "Too many open files")
    assert "more open files" in str(trouble(Address("127.0.0.1"), error))


def test_a_connection_in_use_is_closed_when_it_is_given_back(tmp_path: Path) -> None:
    """Closing a pool leaves the call that is under way its connection, which then ends."""
    redis = RedisServer(tmp_path)
    with running(redis), closing(Server(redis.address, partial(connect, access=Access()), 1)) as server:
        link = server.take(time.monotonic() + 5.0)
        server.close()
        assert link.ask([(b"PING",)], time.monotonic() + 5.0) == [b"PONG"]
        server.give(link)
        assert counted(server) == (0, 0, 0)
        with pytest.raises(OSError, match="Bad file descriptor"):
            link.ask([(b"PING",)], time.monotonic() + 5.0)


def test_closing_ends_the_threads(tmp_path: Path) -> None:
    """Closing a store whose server was never reachable ends its threads."""
    store = RedisStore([Address("127.0.0.1", free_port())], Access())
    assert not works(store)
    store.close()
    with pytest.raises(Unavailable):
        write(store)


def test_a_process_without_threads_connects_once_it_has_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the process has no threads left for a moment, a call is unavailable and the log says why, but the store
    recovers."""
    monkeypatch.setattr(background, "QUIET_SECONDS", 0.0)

    def none(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    server = RedisServer(tmp_path)
    with running(server):
        store = RedisStore([server.address], Access())
        with monkeypatch.context() as poor:
            poor.setattr(Thread, "start", none)
            for _ in range(TIMEOUTS + 1):
                with pytest.raises(Unavailable):
                    store.read((KEY,), (), NOW, DEADLINE)
            pool = Server(server.address, partial(connect, access=Access()), 1)
            with closing(pool), pytest.raises(Unavailable, match="no thread to connect with"):
                pool.take(time.monotonic() + DEADLINE)
        assert {vars(record)["fields"]["work"] for record in caplog.records if "no_thread" in record.msg} == {"redis"}
        until(lambda: works(store))
        store.close()
