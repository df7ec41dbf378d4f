"""The cost of histories on Redis, compared with LMDB: of an assessment, of the store in it, and of the server.

The store is compared with a bare round trip, which sends the same packed bytes and receives the same number of bytes on
one socket, without packing, parsing or decoding. Decoding histories is listed separately, because every store has to do
it. Short rounds alternate, and differences are taken within a round. Compare figures of one run only.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import hiredis
from msgspec import Struct
from msgspec.structs import replace

from benchmarks import program
from benchmarks.assess import percentiles
from benchmarks.seeding import seed
from benchmarks.traffic import attempts
from riskd.adapters.caching import CachingStore
from riskd.adapters.null import NullMeter
from riskd.adapters.redis_store import Access, RedisStore
from riskd.config import load
from riskd.core import stored
from riskd.core.history import Delta, History
from riskd.core.stored import PLACE, Swap
from riskd.engine import Engine
from riskd.wiring import open_engine
from tests.redis_servers import MISSING, RedisServer, running

T = TypeVar("T")
STORES: Final = ("lmdb", "redis")
TURN: Final = 40
"""Assessments in a round of the store's part."""


class Asked(Struct, frozen=True):
    """What one assessment asked of the store."""

    histories: Sequence[bytes]
    documents: Sequence[bytes]
    deltas: Sequence[Delta]
    swaps: Sequence[Swap]
    now: float


class Listening(RedisStore):
    """A store that records what each assessment asks of it."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__([server.address], Access())
        self.asked: list[Asked] = []
        self._last: tuple[Sequence[bytes], Sequence[bytes]] = ((), ())

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History], list[bytes | None]]:
        """Record a read."""
        self._last = (histories, documents)
        return super().read(histories, documents, now, timeout)

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        """Record a write, together with the read before it."""
        self.asked.append(Asked(*self._last, deltas, swaps, now))
        return super().write(deltas, swaps, now, timeout)


class Trip(Struct, frozen=True):
    """What an assessment asked, the packed bytes of its read and write, the sizes of the replies, and the records of
    the histories that it reads."""

    asked: Asked
    records: list[bytes | None]
    read: bytes
    read_size: int
    write: bytes
    write_size: int

    @property
    def size(self) -> int:
        """Bytes sent and received."""
        return len(self.read) + self.read_size + len(self.write) + self.write_size


class Costs(Struct, frozen=True):
    """Microseconds: CPU of this thread (p50), elapsed (p50 and p99), and CPU of the server for each call."""

    cpu: float
    p50: float
    p99: float
    server: float


def costs(work: Callable[[T], object], over: Sequence[T], server: RedisServer, before: Callable[[T], object]) -> Costs:
    """The costs of `work` on each of `over`. `before` runs before each and is not counted."""
    taken, used = [], []
    begun = server.cpu_seconds()
    for one in over:
        before(one)
        start, cpu = time.perf_counter_ns(), time.thread_time_ns()
        work(one)
        used.append(time.thread_time_ns() - cpu)
        taken.append(time.perf_counter_ns() - start)
    spent = server.cpu_seconds() - begun
    return Costs(percentiles(used)[0], *percentiles(taken), spent / len(over) * 1e6)


def middle(rounds: Sequence[Costs]) -> Costs:
    """The medians."""
    return Costs(*[statistics.median(getattr(one, name) for one in rounds) for name in Costs.__struct_fields__])


def show(name: str, rounds: Sequence[Costs], *, server: bool = True) -> None:
    one = middle(rounds)
    cell = f"{one.server:>12.0f}" if server else f"{'':>12}"
    print(f"{name:<38}{one.cpu:>9.0f}{one.p50:>9.0f}{one.p99:>9.0f}{cell}")


def head(title: str) -> None:
    print(f"\n{title}\n{'':<38}{'CPU us':>9}{'p50 us':>9}{'p99 us':>9}{'server us':>12}")


class Bare:
    """A bare socket that sends and receives the same number of bytes as the store."""

    def __init__(self, server: RedisServer) -> None:
        self._socket = socket.create_connection((server.address.host, server.address.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(5.0)
        self._buffer = bytearray(65_536)

    def size(self, packed: bytes, replies: int) -> int:
        """The size of the replies, in bytes."""
        reader, size = hiredis.Reader(notEnoughData=None), 0
        self._socket.sendall(packed)
        while replies:
            content = self._socket.recv(65_536)
            size += len(content)
            reader.feed(content)
            while reader.gets() is not None:
                replies -= 1
        return size

    def trip(self, packed: bytes, size: int) -> None:
        """Send the bytes, and receive `size` bytes."""
        self._socket.sendall(packed)
        while size > 0:
            size -= self._socket.recv_into(self._buffer)

    def close(self) -> None:
        self._socket.close()


@contextmanager
def engines(state: Path, server: RedisServer) -> Iterator[dict[str, Engine]]:
    """An engine on each store, all with the same pepper."""
    with ExitStack() as opened:
        chosen = {
            "lmdb": {"store.kind": "lmdb"},
            "redis": {"store.kind": "redis", "store.url": f"redis://{server.address}"},
        }
        environ = {"RISKD_PEPPER": "benchmarks-benchmarks-benchmarks"}
        yield {
            name: opened.enter_context(
                open_engine(load(environ=environ, flags={"state.dir": str(state / name), **flags}))
            )
            for name, flags in chosen.items()
        }


def packed_by(store: RedisStore, work: Callable[[], object]) -> list[bytes]:
    """The bytes that a store sends for `work`, call by call."""
    sent: list[bytes] = []
    servers, call = store._servers, store._servers.call

    def listening(commands: Sequence[tuple[object, bytes]], deadline: float) -> object:
        sent.append(b"".join([packed for _, packed in commands]))
        return call(commands, deadline)  # type: ignore[arg-type]  # passed on as it came

    servers.call = listening  # type: ignore[method-assign, assignment]  # listened in on
    try:
        work()
    finally:
        servers.call = call  # type: ignore[method-assign]  # as it was
    return sent


def parts(server: RedisServer, asked: Sequence[Asked], rounds: int) -> None:
    """Print the store's read and write, compared with bare round trips of the same bytes."""
    store, bare = RedisStore([server.address], Access()), Bare(server)

    def forget(one: Asked) -> object:
        return store.erase([swap.key for swap in one.swaps])

    def read(one: Asked) -> object:
        return store.read(one.histories, one.documents, one.now, 1.0)

    def write(one: Asked) -> object:
        return store.write(one.deltas, one.swaps, one.now, 1.0)

    trips = []
    for one in asked:
        forget(one)
        (there,), (change,) = packed_by(store, partial(read, one)), packed_by(store, partial(write, one))
        forget(one)
        records = store.load(one.histories)
        trips.append(Trip(one, records, there, bare.size(there, places(one)), change, bare.size(change, 1)))
    work: dict[str, tuple[Callable[[Trip], object], Callable[[Trip], object]]] = {
        "read, this store": (lambda trip: read(trip.asked), lambda _: None),
        "read, bare round trip": (lambda trip: bare.trip(trip.read, trip.read_size), lambda _: None),
        "decoding what was read": (lambda trip: stored.histories(trip.records, trip.asked.now), lambda _: None),
        "write, this store": (lambda trip: write(trip.asked), lambda trip: forget(trip.asked)),
        "write, bare round trip": (
            lambda trip: bare.trip(trip.write, trip.write_size),
            lambda trip: forget(trip.asked),
        ),
    }
    taken: dict[str, list[Costs]] = {name: [] for name in work}
    for number in range(rounds):
        for start in range(0, len(trips), TURN):
            for name in list(work) if number % 2 else reversed(work):
                action, before = work[name]
                taken[name].append(costs(action, trips[start : start + TURN], server, before))
    head(f"The store's part of an assessment, {len(taken['read, this store'])} turns")
    for name, found in taken.items():
        show(name, found, server=name.startswith("read"))
    reading, writing = (beyond(taken, kind) for kind in ("read", "write"))
    decoding = statistics.median([one.cpu for one in taken["decoding what was read"]])
    print(f"client CPU beyond bare round trips: read {reading:.0f} us, write {writing:.0f} us, ", end="")
    print(
        f"both {reading + writing:.0f} us; {reading + writing - decoding:.0f} us without decoding, which LMDB does too"
    )
    print(f"an assessment, median: {statistics.median(map(places, asked)):.0f} places read, ", end="")
    print(f"{statistics.median([trip.size for trip in trips]):.0f} bytes both ways")
    bare.close()
    store.close()


def beyond(taken: dict[str, list[Costs]], kind: str) -> float:
    """CPU of the store beyond bare round trips, in microseconds: the median of the differences within rounds."""
    pairs = zip(taken[f"{kind}, this store"], taken[f"{kind}, bare round trip"], strict=True)
    return statistics.median([ours.cpu - theirs.cpu for ours, theirs in pairs])


def places(one: Asked) -> int:
    """How many Redis hashes a read needs."""
    return len({key[:PLACE] for key in (*one.histories, *one.documents)})


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redis", description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=3_000, help="customers with a history")
    parser.add_argument("--calls", type=int, default=600, help="assessments in a round")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds")
    options = parser.parse_args()
    if shutil.which("redis-server") is None:
        print(f"left out: {MISSING}")
        return 0
    sample = attempts(options.subjects, seed=3)
    with tempfile.TemporaryDirectory(prefix="riskd-bench-") as state, ExitStack() as ended:
        server = RedisServer(Path(state) / "server")
        ended.enter_context(running(server))
        opened = ended.enter_context(engines(Path(state), server))
        for engine in opened.values():
            seed(engine.parts, options.subjects, time.time())
        hashes, size = opened["redis"].parts.store.size()
        print(f"{options.subjects} subjects of three proven sign-ins: {hashes} places, {size / 2**20:.1f} MiB")
        taken: dict[str, list[Costs]] = {name: [] for name in STORES}
        for _ in range(options.rounds):
            over = list(islice(sample, options.calls))
            for name in STORES:
                work = partial(opened[name].assess, timeout=1.0)
                taken[name].append(costs(work, over, server, lambda _: None))
        head("Engine.assess, whole")
        for name in STORES:
            show(name, taken[name], server=name == "redis")
        listening, engine = Listening(server), opened["redis"]
        remembering = CachingStore(listening, NullMeter())
        listener = Engine(replace(engine.parts, store=remembering), engine.release)
        for one in islice(sample, options.calls):
            listener.assess(one, 1.0)
        listening.close()
        parts(server, listening.asked, options.rounds)
    return 0


if __name__ == "__main__":
    program(main)
