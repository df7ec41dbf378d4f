"""Engines for tests: their parts, and a bench that records what an engine writes and counts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import pytest
from msgspec.structs import replace

from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.memory import MemoryStore
from riskd.adapters.null import NullMeter
from riskd.core import record
from riskd.core.address import parse
from riskd.core.assess import Release
from riskd.core.assessment import Assessment
from riskd.core.attempt import (
    Attempt,
    Outcome,
)
from riskd.core.context import Memory, Remembered
from riskd.core.history import History
from riskd.core.lists import of_networks
from riskd.engine import Engine
from riskd.ports import HistoryStore, Parts
from tests.cases.world import AGENTS, NOW, PSEUDONYMS, TableGeo, attempt, facts
from tests.doubles import CountingMeter, ListLog
from tests.shipped import shipped_release

Result = TypeVar("Result")
GEO: Final = TableGeo({})
LOGIN: Final = attempt({})
ASKED: Final = replace(LOGIN, request_id="r-1")
THREADS: Final = 8
STORES: Final[dict[str, Callable[[Path], HistoryStore]]] = {
    "memory": lambda _: MemoryStore(),
    "lmdb": lambda directory: LmdbStore(directory / "store", map_size=64 << 20),
}


def trusting(release: Release, *addresses: str) -> Release:
    """The release, for whose customers these IPv4 addresses are a trusted network."""
    values = [found.value for address in addresses if (found := parse(address)) is not None]
    lists = {"egress": of_networks([(4, value, value) for value in values])}
    policy = replace(release.policies["customer"], lists=lists, trusted_networks=frozenset(lists))
    return replace(release, policies={**release.policies, "customer": policy})


@pytest.fixture(scope="module")
def release() -> Release:
    return shipped_release()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HistoryStore]:
    opened = STORES[request.param](tmp_path)
    yield opened
    opened.close()


def parts(**changes: object) -> Parts:
    """Parts of an engine with a store in memory, no geo data and no log file; `changes` are fields."""
    usual = Parts(
        store=MemoryStore(),
        geo=TableGeo({}),
        agents=AGENTS,
        log=ListLog(),
        meter=NullMeter(),
        pseudonyms=PSEUDONYMS,
        clock=lambda: NOW,
    )
    return replace(usual, **changes)


def counting(release: Release, *counters: str) -> Release:
    """The release with these counters in every policy."""
    policies = {domain: replace(policy, counters=counters) for domain, policy in release.policies.items()}
    return replace(release, policies=policies)


class Bench:
    """An engine, and everything that it writes and counts."""

    def __init__(self, release: Release, store: HistoryStore, log: ListLog | None = None) -> None:
        self.store, self.log, self.meter, self.now = store, log or ListLog(), CountingMeter(), NOW
        made = parts(
            store=store,
            log=self.log,
            meter=self.meter,
            clock=lambda: self.now,
            attributes=frozenset({"plan"}),
        )
        self.engine = Engine(made, release)

    def assess(self, attempt: Attempt) -> Assessment:
        return self.engine.assess(attempt, 10.0)

    def tell(self, answer: Assessment, kind: str) -> int:
        return self.engine.record(Outcome(assessment_id=answer.id, kind=kind), 10.0).taught

    def logged(self) -> int:
        """The number of assessments in the log, without repeats."""
        return sum(isinstance(record.decode(line), record.AssessmentRecord) for line in self.log.lines)

    def learned(self) -> History:
        """The profile of LOGIN's account."""
        return self._subject().profile

    def tries(self) -> int:
        """The number of attempts counted on LOGIN's account."""
        return sum(self._subject().activity.tallies.of("attempt_day").get("", [0])[1:])

    def _subject(self) -> Memory:
        _, context = facts(LOGIN, GEO, self.now, self.store)
        assert isinstance(context.remembered, Remembered)
        return context.remembered.subject


def at_once(work: Callable[[int], Result]) -> list[Result]:
    """Run the same work on several threads, started together."""
    ready = threading.Barrier(THREADS)

    def begin(number: int) -> Result:
        ready.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))
