"""The cost of the metrics of a call, compared with both modes of prometheus_client, and in a whole assessment:
`python -m benchmarks.metrics`."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from prometheus_client import CollectorRegistry, Counter, Histogram, values

from benchmarks import program
from benchmarks.pepper import Nowhere, pseudonyms
from benchmarks.traffic import attempt
from riskd.adapters.caching import CachingStore
from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.null import NullMeter
from riskd.adapters.prometheus_meter import PrometheusMeter, _Signals
from riskd.adapters.prometheus_page import PrometheusPage
from riskd.adapters.user_agent import AgentParser
from riskd.config import Settings
from riskd.core.assess import assess
from riskd.core.context import Missing
from riskd.engine import Engine
from riskd.geo_databases import open_geo
from riskd.metrics.memory import MeterMemory
from riskd.metrics.table import METRICS
from riskd.ports import Meter, Parts
from riskd.wiring import load_release
from tests.core.builders import NOW, keys_of, settled, sign_in

CALLS = 20_000
ROUNDS, ASSESSMENTS = 30, 100
METHOD = "riskd.v1.RiskService/Assess"
RELEASE = load_release(Settings())


class Blind(PrometheusMeter):
    """A meter that does not count signals, to find out what they cost."""

    def _present(self, domain: str, missing: Sequence[Missing]) -> _Signals:
        return _NONE


_NONE = _Signals((), ())


def ours(meter: PrometheusMeter) -> Callable[[], None]:
    """The meter calls of an assessment with three gaps: 11 counters, 9 histograms, 15 signals."""
    one = sign_in(behaviour=None, federation=None, outside=None)
    context = settled().context(one)
    decision = assess(one, context, keys_of(one, context.values), RELEASE, "0" * 32)
    answer, missing = decision.assessment, context.missing

    def call() -> None:
        meter.started(METHOD, "unary")
        for stage in ("store_read", "gather", "decide", "store_write"):
            meter.stage(stage, 0.00003)
        meter.assessed(one, missing, decision, answer, NOW)
        meter.stage("record", 0.00002)
        meter.answered("customer", "login", 0.00013)
        meter.handled(METHOD, "unary", "OK", 0.0003)

    return call


def theirs(prefix: str) -> Callable[[], None]:
    """The same counters and histograms in prometheus_client, with children that are looked up once."""
    bounds = next(metric.bounds for metric in METRICS if metric.name == "grpc_server_handling_seconds")
    registry = CollectorRegistry()
    counters = [Counter(f"{prefix}_c{n}", "x", ["label"], registry=registry).labels("value") for n in range(8)]
    histograms = [
        Histogram(f"{prefix}_h{n}", "x", ["label"], buckets=bounds, registry=registry).labels("value") for n in range(5)
    ]

    def call() -> None:
        for counter in counters:
            counter.inc()
        for histogram in histograms:
            histogram.observe(0.0003)

    return call


def measured(call: Callable[[], None]) -> float:
    """Microseconds of a call, in the best of five runs."""
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(CALLS):
            call()
        best = min(best, (time.perf_counter() - begun) / CALLS)
    return best * 1e6


def whole(meters: dict[str, Meter]) -> dict[str, float]:
    """Microseconds of a whole assessment with each of these meters: medians of alternating rounds."""
    attempts = [attempt(number, Random(number)) for number in range(ASSESSMENTS)]
    geo, agents = open_geo(Settings()), AgentParser()
    found: dict[str, list[float]] = {name: [] for name in meters}
    with tempfile.TemporaryDirectory() as folder:
        store = CachingStore(LmdbStore(Path(folder), map_size=64 << 20), NullMeter())
        engines = {
            name: Engine(
                Parts(
                    store=store,
                    geo=geo,
                    agents=agents,
                    log=Nowhere(),
                    meter=meter,
                    pseudonyms=pseudonyms(0),
                    clock=time.time,
                ),
                RELEASE,
            )
            for name, meter in meters.items()
        }
        for turn in range(ROUNDS + 2):
            for name, engine in engines.items():
                begun = time.thread_time()
                for one in attempts:
                    engine.assess(one, 10.0)
                if turn >= 2:
                    found[name].append((time.thread_time() - begun) / ASSESSMENTS * 1e6)
        store.close()
    return {name: statistics.median(taken) for name, taken in found.items()}


def main() -> None:
    """Print the cost of a call's metrics, of its signals, of all metrics in an assessment, and of a scrape."""
    memory = MeterMemory(4)
    meters = [PrometheusMeter(memory, worker) for worker in range(4)]
    print(f"riskd, shared slots:               {measured(ours(meters[0])):5.1f} us a call")
    print(f"prometheus_client, one process:    {measured(theirs('plain')):5.1f} us a call")
    with tempfile.TemporaryDirectory() as directory:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        values.ValueClass = values.MultiProcessValue(lambda: 0)  # type: ignore[no-untyped-call]  # published without types
        print(f"prometheus_client, multi-process:  {measured(theirs('multi')):5.1f} us a call")
    blind, seeing = Blind(MeterMemory(1), 0), PrometheusMeter(MeterMemory(1), 0)
    costs = [(measured(ours(seeing)), measured(ours(blind))) for _ in range(3)]
    signals = statistics.median(seen - unseen for seen, unseen in costs)
    print(f"of it, what each signal did:       {signals:5.1f} us a call")
    taken = whole({"none": NullMeter(), "blind": blind, "all": seeing})
    print(
        f"an assessment in process:          {taken['none']:5.1f} us without metrics, {taken['all']:.1f} with them: "
        f"{taken['all'] / taken['none']:.3f} times; without signals {taken['blind'] / taken['none']:.3f} times"
    )
    for meter in meters:
        ours(meter)()
    page = PrometheusPage(memory, "benchmark")
    begun = time.perf_counter()
    _, text = page.render("", {})
    print(f"scrape of 4 workers:               {(time.perf_counter() - begun) * 1e3:5.1f} ms, {len(text)} bytes")


if __name__ == "__main__":
    program(main)
