"""The cost of a pepper layer: the pseudonyms of an attempt, and an assessment. `python -m benchmarks.pepper`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from benchmarks import program
from benchmarks.traffic import attempt
from riskd.adapters.caching import CachingStore
from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.null import NullMeter
from riskd.adapters.user_agent import AgentParser
from riskd.config import Settings
from riskd.core.address import parse
from riskd.core.context import Missing
from riskd.core.pseudonym import Pseudonyms
from riskd.core.signals import values
from riskd.engine import Engine
from riskd.geo_databases import open_geo
from riskd.ports import Parts
from riskd.wiring import load_release

ROUNDS = 30
LAYERS = (0, 1, 2)


class Nowhere:
    """A decision log that discards every record."""

    def append(self, record: bytes) -> bool:
        return True

    def close(self) -> None:
        """Nothing to do."""


def pseudonyms(layers: int) -> Pseudonyms:
    return Pseudonyms(b"p" * 32, [bytes([number]) * 32 for number in range(layers)])


def compared(works: list[Callable[[], object]], times: int) -> list[float]:
    """Microseconds of each of `works`: medians of alternating rounds."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, mine in zip(works, taken, strict=True):
            begun = time.perf_counter()
            for _ in range(times):
                work()
            mine.append((time.perf_counter() - begun) / times * 1e6)
    return [statistics.median(mine) for mine in taken]


def main() -> None:
    one = attempt(1, Random(1))
    address = parse(one.network.client_ip)
    assert address is not None
    plain = values(one, Missing("place", "x"), Missing("route", "x"), Missing("agent", "x"), time.time())

    def named(many: Pseudonyms) -> Callable[[], object]:
        return lambda: many.keys(one, address, dict(plain))

    show("pseudonyms of an attempt", compared([named(pseudonyms(layers)) for layers in LAYERS], 300))
    release, geo = load_release(Settings()), open_geo(Settings())
    with tempfile.TemporaryDirectory() as folder:
        engines = [
            Engine(
                Parts(
                    store=CachingStore(LmdbStore(Path(folder) / str(layers), map_size=64 << 20), NullMeter()),
                    geo=geo,
                    agents=AgentParser(),
                    log=Nowhere(),
                    meter=NullMeter(),
                    pseudonyms=pseudonyms(layers),
                    clock=time.time,
                ),
                release,
            )
            for layers in LAYERS
        ]

        def assessing(engine: Engine) -> Callable[[], object]:
            return lambda: engine.assess(one, 10.0)

        show("an assessment, without its log", compared([assessing(engine) for engine in engines], 50))
        for engine in engines:
            engine.close()


def show(what: str, medians: list[float]) -> None:
    for layers, median in zip(LAYERS, medians, strict=True):
        print(f"{what}, {layers} layers: {median:.1f} us, {median / medians[0]:.2f} times")


if __name__ == "__main__":
    program(main)
