"""The effect of more handler threads: the same assessments on thread pools of several sizes, without gRPC.

The LMDB binding releases the interpreter lock at every record, so another thread may take it. With a store that never
releases it, another thread waits 5 ms for it. With Redis, a thread that waits for the network leaves it to the others.
`far` is Redis with a delay at each round trip, like a network. Rounds alternate; compare figures of one run only.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice, product
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import perf_counter, sleep
from typing import Final, ParamSpec, TypeVar

from msgspec import Struct

from benchmarks import program
from benchmarks.seeding import seed
from benchmarks.traffic import attempts
from riskd.config import load
from riskd.core.attempt import Attempt
from riskd.wiring import open_engine
from tests.redis_servers import MISSING, RedisServer, running

STORES: Final = ("lmdb", "memory", "redis", "far")
SIZES: Final = (1, 2, 4)
Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


class Round(Struct, frozen=True):
    """The results of a round: calls per second, CPU microseconds and waits per call, and milliseconds of a call."""

    per_second: float
    cpu: float
    switches: float
    p50: float
    p99: float


def run(work: Callable[[Attempt], object], over: list[Attempt], threads: int) -> Round:
    """Run `work` on all of `over`, on a pool that always has work waiting."""
    taken: list[float] = []

    def timed(attempt: Attempt) -> None:
        begun = perf_counter()
        work(attempt)
        taken.append(perf_counter() - begun)

    with ThreadPoolExecutor(threads) as pool:
        before, begun = getrusage(RUSAGE_SELF), perf_counter()
        for done in [pool.submit(timed, one) for one in over]:
            done.result()
        elapsed, after = perf_counter() - begun, getrusage(RUSAGE_SELF)
    calls, ranked = len(over), sorted(taken)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    switches = (after.ru_nvcsw - before.ru_nvcsw) / calls
    p50, p99 = (ranked[int(share * calls)] * 1e3 for share in (0.5, 0.99))
    return Round(calls / elapsed, cpu / calls * 1e6, switches, p50, p99)


def away(call: Callable[Asked, Answer], seconds: float) -> Callable[Asked, Answer]:
    """The call with a delay before it, for the time of its packets on a network."""

    def waiting(*asked: Asked.args, **options: Asked.kwargs) -> Answer:
        sleep(seconds)
        return call(*asked, **options)

    return waiting


def main() -> int:
    """Measure every store with every pool size in alternating rounds, and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.handlers", description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=500, help="customers with a history")
    parser.add_argument("--calls", type=int, default=2_000, help="assessments in a round")
    parser.add_argument("--away", type=float, default=0.5, help="milliseconds to the `far` store and back")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds")
    options = parser.parse_args()
    sample = list(islice(attempts(options.subjects, seed=3), options.calls))
    stores = [store for store in STORES if store not in ("redis", "far") or shutil.which("redis-server")]
    if len(stores) < len(STORES):
        print(f"left out: {MISSING}")
    kinds = list(product(stores, SIZES))
    rounds: dict[tuple[str, int], list[Round]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="riskd-bench-") as state, ExitStack() as opened:
        engines = {}
        for store in stores:
            networked = store in ("redis", "far")
            flags = {"state.dir": str(Path(state) / store), "store.kind": "redis" if networked else store}
            if networked:
                server = RedisServer(Path(state) / "server")
                opened.enter_context(running(server))
                flags["store.url"] = f"redis://{server.address}"
            settings = load(flags=flags)
            engines[store] = opened.enter_context(open_engine(settings))
            seed(engines[store].parts, options.subjects, time.time())
            if store == "far":
                one = engines[store].parts.store
                one.read = away(one.read, options.away / 1000)  # type: ignore[method-assign]  # a server far away
                one.write = away(one.write, options.away / 1000)  # type: ignore[method-assign]  # likewise
        for _ in range(options.rounds):
            for store, threads in kinds:
                rounds[store, threads].append(run(engines[store].assess, sample, threads))
    print(f"{'store':<8}{'threads':>8}{'calls/s':>9}{'CPU us':>8}{'switches':>10}{'p50 ms':>8}{'p99 ms':>8}")
    for (store, threads), taken in rounds.items():
        per_second, cpu, switches, p50, p99 = (
            statistics.median(getattr(one, name) for one in taken) for name in Round.__struct_fields__
        )
        print(f"{store:<8}{threads:>8}{per_second:>9.0f}{cpu:>8.0f}{switches:>10.1f}{p50:>8.2f}{p99:>8.2f}")
    return 0


if __name__ == "__main__":
    program(main)
