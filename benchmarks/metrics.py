"""What the metrics of one call cost, ours beside the client's two modes: `python -m benchmarks.metrics`."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram, values

from riskd.adapters.prometheus_meter import PrometheusMeter, PrometheusPage
from riskd.metrics import METRICS, MeterMemory

CALLS = 20_000
METHOD = "riskd.v1.RiskService/Assess"


def ours(meter: PrometheusMeter) -> Callable[[], None]:
    """The calls that one assessment with three gaps makes: 8 counters, 5 histograms."""

    def call() -> None:
        meter.started(METHOD, "unary")
        meter.stage("gather", 0.00003)
        meter.stage("decide", 0.00008)
        meter.stage("record", 0.00002)
        meter.assessed("customer", "login", "STEP_UP", 0.2)
        meter.gap("behaviour", "not_sent")
        meter.gap("federation", "not_sent")
        meter.gap("outside", "not_sent")
        meter.handled(METHOD, "unary", "OK", 0.0003)

    return call


def theirs(prefix: str) -> Callable[[], None]:
    """The same counters and histograms of prometheus_client, children bound once."""
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
    """Microseconds of one call, the best of five runs."""
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(CALLS):
            call()
        best = min(best, (time.perf_counter() - begun) / CALLS)
    return best * 1e6


def main() -> None:
    """Print the three costs of a call, and that of a scrape."""
    memory = MeterMemory(4)
    meters = [PrometheusMeter(memory, worker) for worker in range(4)]
    print(f"riskd, shared slots:               {measured(ours(meters[0])):5.1f} us a call")
    print(f"prometheus_client, one process:    {measured(theirs('plain')):5.1f} us a call")
    with tempfile.TemporaryDirectory() as directory:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        values.ValueClass = values.MultiProcessValue(lambda: 0)  # type: ignore[no-untyped-call]  # published without types
        print(f"prometheus_client, multi-process:  {measured(theirs('multi')):5.1f} us a call")
    for meter in meters:
        ours(meter)()
    page = PrometheusPage(memory, "benchmark")
    begun = time.perf_counter()
    _, text = page.render("", {})
    print(f"scrape of 4 workers:               {(time.perf_counter() - begun) * 1e3:5.1f} ms, {len(text)} bytes")


if __name__ == "__main__":
    main()
