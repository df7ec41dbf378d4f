"""The meter and its page, read back with Prometheus' own parsers."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from riskd.adapters.prometheus_meter import PrometheusMeter, PrometheusPage
from riskd.metrics import CODES, METRICS, OTHER, MeterMemory, Readings

ASSESS = "riskd.v1.RiskService/Assess"
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def samples(memory: MeterMemory, readings: Readings | None = None) -> Samples:
    _, page = PrometheusPage(memory, "1.2.3").render("", readings or {})
    families = parse(page.decode())
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_a_call_counts_under_the_names_of_grpc_dashboards() -> None:
    """One call that was answered: started, received, sent, handled, and its time."""
    memory = MeterMemory(1)
    meter = PrometheusMeter(memory, 0)
    meter.started(ASSESS, "unary")
    meter.handled(ASSESS, "unary", "OK", 0.0004)
    found = samples(memory)
    call = {"grpc_type": "unary", "grpc_service": "riskd.v1.RiskService", "grpc_method": "Assess"}
    for name in ("started", "msg_received", "msg_sent"):
        assert value(found, f"grpc_server_{name}_total", **call) == 1
    assert value(found, "grpc_server_handled_total", **call, grpc_code="OK") == 1
    assert value(found, "grpc_server_handling_seconds_count", **call) == 1
    assert value(found, "grpc_server_handling_seconds_bucket", **call, le="0.0002") == 0
    assert value(found, "grpc_server_handling_seconds_bucket", **call, le="0.0005") == 1


@pytest.mark.parametrize("status", grpc.StatusCode, ids=lambda status: status.name)
def test_every_status_of_grpc_has_its_series(status: grpc.StatusCode) -> None:
    """grpcio's spelling becomes the one that dashboards match on; a failure sends no message."""
    memory = MeterMemory(1)
    PrometheusMeter(memory, 0).handled(ASSESS, "unary", status.name, 0.001)
    found = samples(memory)
    counted = {dict(labels)["grpc_code"] for (name, labels), n in found.items() if n and "handled_total" in name}
    assert counted == {CODES[status.value[0]]}
    call = {"grpc_type": "unary", "grpc_service": "riskd.v1.RiskService", "grpc_method": "Assess"}
    assert value(found, "grpc_server_msg_sent_total", **call) == (status is grpc.StatusCode.OK)


def test_what_the_engine_counts() -> None:
    """Each method of the Meter port moves its own metric, and only that."""
    memory = MeterMemory(1)
    meter = PrometheusMeter(memory, 0)
    meter.stage("gather", 0.00002)
    meter.assessed("customer", "login", "STEP_UP", 0.25)
    meter.withheld("customer", "login", "DENY")
    meter.friction_budget("customer", "payment", 0.02)
    meter.gap("history", "none_yet")
    meter.outcome("customer", "challenge_passed", 3)
    meter.outcome("customer", "confirmed_fraud", -3)
    meter.recalled(9, 2)
    meter.failed("store")
    meter.stored(7, 4096)
    meter.geo_built("city", 1.7e9)
    meter.installed("active", "r1", {"customer": "starter", "machine": "m2"})
    meter.installed("candidate", "r2", {"customer": "m3"})
    meter.installed("shadow", "", {})
    meter.decided("candidate", "customer", "DENY")
    found = samples(memory)
    assert value(found, "riskd_release_info", release="r2", domain="customer", model="m3", role="candidate") == 1
    assert len([name for name, _ in found if name == "riskd_release_info"]) == 3
    assert value(found, "riskd_rollout_assessments_total", role="candidate", domain="customer", tier="DENY") == 1
    assert value(found, "riskd_stage_seconds_sum", stage="gather") == 0.00002
    assert value(found, "riskd_assessments_total", domain="customer", journey="login", tier="STEP_UP") == 1
    assert value(found, "riskd_withheld_total", domain="customer", journey="login", tier="DENY") == 1
    assert value(found, "riskd_friction_budget", domain="customer", journey="payment") == 0.02
    assert value(found, "riskd_score_bucket", domain="customer", le="0.2") == 0
    assert value(found, "riskd_score_bucket", domain="customer", le="0.3") == 1
    assert value(found, "riskd_gaps_total", source="history", why="none_yet") == 1
    assert value(found, "riskd_outcomes_total", domain="customer", kind="confirmed_fraud") == 1
    assert value(found, "riskd_learned_units_total", domain="customer", direction="learned") == 3
    assert value(found, "riskd_learned_units_total", domain="customer", direction="taken_back") == 3
    assert value(found, "riskd_failures_total", part="store") == 1
    assert value(found, "riskd_store_common_reads_total", source="memory") == 9
    assert value(found, "riskd_store_common_reads_total", source="store") == 2
    assert value(found, "riskd_store_records") == 7
    assert value(found, "riskd_geo_build_timestamp_seconds", database="city") == 1.7e9
    assert value(found, "riskd_release_info", release="r1", domain="machine", model="m2", role="active") == 1


@given(st.lists(st.floats(0, 3), max_size=30))
def test_histogram_is_that_of_prometheus(times: list[float]) -> None:
    """Buckets, count and sum are those of the official client, whatever is observed."""
    (metric,) = [metric for metric in METRICS if metric.name == "riskd_stage_seconds"]
    memory, registry = MeterMemory(1), CollectorRegistry()
    meter = PrometheusMeter(memory, 0)
    theirs = Histogram("riskd_stage_seconds", "x", ["stage"], buckets=metric.bounds, registry=registry)
    for time in times:
        meter.stage("decide", time)
        theirs.labels("decide").observe(time)
    text = generate_latest(registry).decode()
    expected = {
        (one.name, frozenset(one.labels.items())): pytest.approx(one.value)
        for family in parse(text)
        for one in family.samples
        if not one.name.endswith("_created")
    }
    found = {key: n for key, n in samples(memory).items() if key[0].startswith("riskd_stage_seconds")}
    assert found == expected


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_unknown_values_count_as_other(one: str, two: str, three: str) -> None:
    """No value can add a series, and none is lost."""
    memory = MeterMemory(1)
    meter = PrometheusMeter(memory, 0)
    before = len(memory.slots(0))
    meter.assessed(f"?{one}", two + "?", three + "?", 0.5)
    meter.gap("history", f"?{one}")
    meter.failed(f"?{two}")
    meter.stage(f"?{three}", 0.1)
    meter.started(f"?{one}", two)
    meter.handled(f"?{one}", two, f"?{three}", 0.1)
    found = samples(memory)
    assert value(found, "riskd_assessments_total", domain=OTHER, journey=OTHER, tier=OTHER) == 1
    assert value(found, "riskd_gaps_total", source="history", why=OTHER) == 1
    assert value(found, "riskd_failures_total", part=OTHER) == 1
    call = {"grpc_type": OTHER, "grpc_service": OTHER, "grpc_method": OTHER}
    assert value(found, "grpc_server_handled_total", **call, grpc_code=OTHER) == 1
    assert len(memory.slots(0)) == before


def test_workers_are_one_on_the_page() -> None:
    """Counters add up; of gauges the largest store and the oldest database count; a new worker goes on."""
    memory = MeterMemory(2)
    for worker, records, built in ((0, 5, 100.0), (1, 9, 200.0), (0, 6, 150.0)):
        meter = PrometheusMeter(memory, worker)
        meter.failed("store")
        meter.stored(records, records)
        meter.geo_built("asn", built)
        meter.installed("active", "r1", {"customer": "starter"})
    found = samples(memory)
    assert value(found, "riskd_failures_total", part="store") == 3
    assert value(found, "riskd_store_records") == 9
    assert value(found, "riskd_geo_build_timestamp_seconds", database="asn") == 150.0
    assert len([name for name, _ in found if name == "riskd_release_info"]) == 1


def test_threads_lose_nothing() -> None:
    """Two handler threads of a worker count into the same slots."""
    memory = MeterMemory(1)
    meter = PrometheusMeter(memory, 0)

    def count() -> None:
        for _ in range(20_000):
            meter.failed("store")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(samples(memory), "riskd_failures_total", part="store") == 80_000


def test_half_a_note_is_no_note() -> None:
    """A release that is being replaced is left out, never shown in part; one that is too long as well."""
    memory = MeterMemory(1)
    memory.write_note(0, '[["r1", "customer", "starter"]]')
    memory._memory[memory._note(0) + 12] ^= 1
    assert memory.read_note(0) == ""
    memory.write_note(0, "r2")
    memory.write_note(0, "x" * 10_000)
    assert memory.read_note(0) == "r2"


def test_openmetrics_for_who_asks() -> None:
    """Both formats parse, and hold every metric of the table that has a value."""
    memory = MeterMemory(1)
    accept = "application/openmetrics-text; version=1.0.0"
    content_type, page = PrometheusPage(memory, "1.2.3").render(accept, {"riskd_workers": {(): 1.0}})
    assert content_type.startswith("application/openmetrics-text")
    families = parse_openmetrics(page.decode())  # type: ignore[no-untyped-call]  # typed only in the other parser
    names = {family.name for family in families}
    assert names == {metric.name.removesuffix("_total") for metric in METRICS}


def test_page_is_empty_of_what_never_happened() -> None:
    """A fresh service shows the zeros that `rate()` and alerts need, and no others."""
    shown = {name for name, _ in samples(MeterMemory(1))}
    assert shown == {
        "grpc_server_started_total",
        "grpc_server_handled_total",
        "grpc_server_msg_received_total",
        "grpc_server_msg_sent_total",
        "riskd_failures_total",
        "riskd_reload_failed",
        "riskd_store_common_reads_total",
        "riskd_build_info",
    }
