"""The stores that the contract is about. Another store joins by one more entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from riskd.adapters.caching import CachingStore
from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.memory import MemoryStore
from riskd.adapters.rekeying import RekeyingStore
from riskd.core.pseudonym import Layer, Origins
from riskd.ports import HistoryStore

OPENERS: dict[str, Callable[[Path], HistoryStore]] = {
    "memory": lambda _: MemoryStore(),
    "caching": lambda _: CachingStore(MemoryStore()),
    "rekeying": lambda _: RekeyingStore(MemoryStore(), Origins(), Layer(b"the newest of the peppers")),
    "lmdb": lambda directory: LmdbStore(directory / "lmdb", map_size=64 << 20),
}


@pytest.fixture(params=OPENERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HistoryStore]:
    opened = OPENERS[request.param](tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def all_stores(tmp_path: Path) -> Iterator[list[HistoryStore]]:
    """One of each, to be treated alike."""
    opened = [open_one(tmp_path / name) for name, open_one in OPENERS.items()]
    yield opened
    for one in opened:
        one.close()
