"""The stores that must satisfy the contract. Another store needs one more entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from riskd.adapters.caching import CachingStore
from riskd.adapters.lmdb_store import LmdbStore, ScratchStore
from riskd.adapters.memory import MemoryStore
from riskd.adapters.null import NullMeter
from riskd.adapters.redis_store import Access, RedisStore
from riskd.adapters.rekeying import RekeyingStore
from riskd.core.pseudonym import Layer, Origins
from riskd.ports import HistoryStore
from tests.doubles import PartialStore
from tests.redis_servers import SLOTS, RedisServer, cluster, flush, refusing, running, slot, valkey_server

LOCAL: dict[str, Callable[[Path], HistoryStore]] = {
    "memory": lambda _: MemoryStore(),
    "caching": lambda _: CachingStore(MemoryStore(), NullMeter()),
    "rekeying": lambda _: RekeyingStore(MemoryStore(), Origins(), Layer(b"the newest of the peppers")),
    "lmdb": lambda directory: LmdbStore(directory / "lmdb", map_size=64 << 20),
}
"""Stores on one machine."""
ALONE: dict[str, Callable[[Path], HistoryStore]] = {"scratch": lambda directory: ScratchStore(directory / "scratch")}
"""Stores that only one thread may use."""
REMOTE = ("redis", "cluster", "valkey")
"""Stores on servers, which delete places by themselves once all of their records have expired."""
OPENERS = (*LOCAL, *REMOTE)


class Deployments:
    """Servers that are started on first use and stopped at the end of the session."""

    def __init__(self, directory: Path, ended: ExitStack) -> None:
        self._directory = directory
        self._ended = ended
        self._running: dict[str, list[RedisServer]] = {}

    def opened(self, name: str) -> RedisStore:
        """An emptied store on one of the servers."""
        if name not in self._running:
            self._running[name] = self._started(name)
        servers = self._running[name]
        flush(servers)
        return RedisStore([servers[0].address], Access())

    def servers(self, name: str) -> list[RedisServer]:
        """The servers of one that was opened."""
        return self._running[name]

    def _started(self, name: str) -> list[RedisServer]:
        directory = self._directory / name
        if name == "cluster":
            return self._ended.enter_context(cluster(directory))
        server = RedisServer(directory, program=valkey_server() if name == "valkey" else "")
        self._ended.enter_context(running(server))
        return [server]


@pytest.fixture(scope="session")
def deployments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployments]:
    with ExitStack() as ended:
        yield Deployments(tmp_path_factory.mktemp("servers"), ended)


@pytest.fixture(params=OPENERS)
def store(request: pytest.FixtureRequest, tmp_path: Path, deployments: Deployments) -> Iterator[HistoryStore]:
    name = request.param
    opened = deployments.opened(name) if name in REMOTE else LOCAL[name](tmp_path)
    yield opened
    opened.close()


Losing = Callable[[bytes], AbstractContextManager[object]]
"""Makes a place unreachable for a while."""


@pytest.fixture(params=["cluster", "caching", "double"])
def partial(request: pytest.FixtureRequest, deployments: Deployments) -> Iterator[tuple[HistoryStore, Losing]]:
    """Stores of which some places can be unreachable, and what makes them so; and the double that stands for them."""
    if request.param == "double":
        double = PartialStore()
        yield double, double.losing
        return
    opened = deployments.opened("cluster")
    masters = deployments.servers("cluster")

    def lose(place: bytes) -> AbstractContextManager[object]:
        return refusing(masters[slot(place) * len(masters) // SLOTS], "hmget", "evalsha")

    yield CachingStore(opened, NullMeter()) if request.param == "caching" else opened, lose
    opened.close()


@pytest.fixture(params=LOCAL)
def sweeping_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HistoryStore]:
    """Stores that count single records, and delete none of them without a sweep."""
    opened = LOCAL[request.param](tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def all_stores(tmp_path: Path, deployments: Deployments) -> Iterator[list[HistoryStore]]:
    """One store of each kind, for comparison."""
    opened = [open_one(tmp_path / name) for name, open_one in (LOCAL | ALONE).items()]
    opened += [deployments.opened(name) for name in REMOTE]
    yield opened
    for one in opened:
        one.close()
