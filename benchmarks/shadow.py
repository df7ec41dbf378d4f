"""The cost of a release in shadow: `python -m benchmarks.shadow`.

Measures assessments in process at 200 a second, and one after another, where the shadow competes for the interpreter.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from random import Random

from benchmarks import program
from benchmarks.pepper import Nowhere, pseudonyms
from benchmarks.traffic import attempt
from riskd.adapters.caching import CachingStore
from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.null import NullMeter
from riskd.adapters.user_agent import AgentParser
from riskd.config import Settings
from riskd.core.lineup import Lineup
from riskd.engine import Engine
from riskd.geo_databases import open_geo
from riskd.ports import Parts
from riskd.wiring import load_release

ROUNDS = 12
PACED = 100
SECONDS_BETWEEN = 0.005
BUSY = 200


def main() -> None:
    release, geo = load_release(Settings()), open_geo(Settings())
    alone, watched = Lineup(release), Lineup(release, shadow=release)
    attempts = [attempt(number, Random(number)) for number in range(PACED)]
    with tempfile.TemporaryDirectory() as folder:
        parts = Parts(
            store=CachingStore(LmdbStore(Path(folder), map_size=64 << 20), NullMeter()),
            geo=geo,
            agents=AgentParser(),
            log=Nowhere(),
            meter=NullMeter(),
            pseudonyms=pseudonyms(0),
            clock=time.time,
        )
        engine = Engine(parts, release)
        paced: dict[str, list[float]] = {"without": [], "with": []}
        busy: dict[str, list[float]] = {"without": [], "with": []}
        for _ in range(ROUNDS):
            for name, lineup in (("without", alone), ("with", watched)):
                engine.install(lineup)
                for one in attempts:
                    begun = time.perf_counter()
                    engine.assess(one, 10.0)
                    paced[name].append(time.perf_counter() - begun)
                    time.sleep(SECONDS_BETWEEN)
                begun = time.perf_counter()
                for number in range(BUSY):
                    engine.assess(attempts[number % PACED], 10.0)
                busy[name].append((time.perf_counter() - begun) / BUSY)
                time.sleep(0.2)
        engine.close()
    for what, found in (("paced, p50", paced), ("one after another", busy)):
        without, beside = (statistics.median(found[name]) * 1e6 for name in ("without", "with"))
        print(f"{what}: {without:.0f} us without a shadow, {beside:.0f} us with one, {beside / without:.2f} times")
    tails = [statistics.quantiles(paced[name], n=100)[98] * 1e6 for name in ("without", "with")]
    print(
        f"paced, p99: {tails[0]:.0f} us without a shadow, {tails[1]:.0f} us with one, {tails[1] / tails[0]:.2f} times"
    )


if __name__ == "__main__":
    program(main)
