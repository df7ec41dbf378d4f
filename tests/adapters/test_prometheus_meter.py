"""The meter and its page, parsed with Prometheus' own parsers."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Mapping

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from riskd.adapters.prometheus_meter import COMBINATIONS, PrometheusMeter
from riskd.adapters.prometheus_page import PrometheusPage
from riskd.core.assess import NOTICEABLE, Decision, assess
from riskd.core.assessment import Hit
from riskd.core.attempt import Attempt, Outcome
from riskd.core.context import SOURCES, Context, Missing
from riskd.core.decide import RESTRICTED_METHOD
from riskd.core.features import FEATURES
from riskd.core.learn import Receipt
from riskd.core.requirement import Requirement, Terms, Tier
from riskd.metrics.labels import CODES, OTHER
from riskd.metrics.memory import MeterMemory, Note, Readings
from riskd.metrics.metric import RULES
from riskd.metrics.table import METRICS
from tests.core.builders import NOW, keys_of, settled, sign_in
from tests.shipped import shipped_release

ASSESS = "riskd.v1.RiskService/Assess"
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def samples(memory: MeterMemory, readings: Readings | None = None) -> Samples:
    _, page = PrometheusPage(memory, "1.2.3").render("", readings or {})
    families = parse(page.decode())
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_a_call_counts_under_the_names_of_grpc_dashboards() -> None:
    """An answered call is counted as started, received, sent and handled, with its duration."""
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
    assert value(found, "grpc_server_handling_seconds_bucket", **call, le="1.0") == 1


@pytest.mark.parametrize("status", grpc.StatusCode, ids=lambda status: status.name)
def test_every_status_of_grpc_has_its_series(status: grpc.StatusCode) -> None:
    """Each gRPC status is counted under the spelling of the dashboards; a failed call sends no message."""
    memory = MeterMemory(1)
    PrometheusMeter(memory, 0).handled(ASSESS, "unary", status.name, 0.001)
    found = samples(memory)
    counted = {dict(labels)["grpc_code"] for (name, labels), n in found.items() if n and "handled_total" in name}
    assert counted == {CODES[status.value[0]]}
    call = {"grpc_type": "unary", "grpc_service": "riskd.v1.RiskService", "grpc_method": "Assess"}
    assert value(found, "grpc_server_msg_sent_total", **call) == (status is grpc.StatusCode.OK)


def decided(attempt: Attempt, *, explain: bool = False, **changes: object) -> tuple[Context, Decision]:
    """The shipped release's decision on an attempt by a known subject; `changes` are fields of the answer."""
    context = settled().context(attempt)
    keys = keys_of(attempt, context.values)
    decision = assess(attempt, context, keys, shipped_release(), "0" * 32, explain=explain)
    return context, replace(decision, assessment=replace(decision.assessment, **changes))


def told(meter: PrometheusMeter, attempt: Attempt, now: float = NOW, **changes: object) -> Decision:
    """Report an answer to the meter."""
    context, decision = decided(attempt, **changes)  # type: ignore[arg-type]  # fields by name
    meter.assessed(attempt, context.missing, decision, decision.assessment, now)
    return decision


def kept(tier: Tier, taught: int, *reported: str) -> Receipt:
    """A receipt of a customer's login after these outcomes."""
    attempt = sign_in()
    return replace(decided(attempt)[1].receipt, tier=tier, taught=taught, reported=reported)


def outcome(kind: str, *amr: str) -> Outcome:
    return Outcome(assessment_id="0" * 32, kind=kind, amr=amr)


def test_each_method_of_the_port_changes_its_metrics() -> None:
    """Each method of the Meter port changes its own metrics."""
    memory = MeterMemory(1)
    meter = PrometheusMeter(memory, 0)
    meter.stage("gather", 0.00002)
    meter.answered("customer", "login", 0.0004)
    meter.friction_budget("customer", "payment", 0.02)
    meter.outcome(kept(Tier.STEP_UP, 0), kept(Tier.STEP_UP, 3), outcome("challenge_passed", "pwd", "sms"), "STEP_UP")
    meter.outcome(kept(Tier.STEP_UP, 3), kept(Tier.STEP_UP, 0), outcome("confirmed_fraud"), "")
    meter.recalled(9, 2)
    meter.failed("store")
    meter.stored(7, 4096)
    meter.limited(65536)
    meter.disk("log", 70, 100)
    meter.logged(3, 900, 1.6e9, 1.5e9)
    meter.geo_built("city", 1.7e9)
    meter.installed("active", "r1", {"customer": "starter", "machine": "m2"})
    meter.installed("candidate", "r2", {"customer": "m3"})
    meter.installed("shadow", "", {})
    found = samples(memory)
    login = {"domain": "customer", "journey": "login"}
    assert value(found, "riskd_release_info", release="r2", domain="customer", model="m3", role="candidate") == 1
    assert len([name for name, _ in found if name == "riskd_release_info"]) == 3
    assert value(found, "riskd_stage_seconds_sum", stage="gather") == 0.00002
    assert value(found, "riskd_stage_seconds_bucket", stage="gather", le="1e-05") == 0
    assert value(found, "riskd_stage_seconds_bucket", stage="gather", le="2.5e-05") == 1
    assert value(found, "riskd_assessment_seconds_sum", **login) == 0.0004
    assert value(found, "riskd_friction_budget", domain="customer", journey="payment") == 0.02
    assert value(found, "riskd_outcomes_total", **login, tier="STEP_UP", kind="confirmed_fraud") == 1
    through = {"required": "STEP_UP", "achieved": "STEP_UP", "met": "true"}
    assert value(found, "riskd_sign_ins_total", **login, **through) == 1
    assert value(found, "riskd_restricted_total", **login, where="challenge") == 1
    assert value(found, "riskd_learned_units_total", domain="customer", direction="learned") == 3
    assert value(found, "riskd_learned_units_total", domain="customer", direction="taken_back") == 3
    assert value(found, "riskd_failures_total", part="store") == 1
    assert value(found, "riskd_store_common_reads_total", source="memory") == 9
    assert value(found, "riskd_store_common_reads_total", source="store") == 2
    assert value(found, "riskd_store_records") == 7
    assert value(found, "riskd_store_limit_bytes") == 65536
    assert value(found, "riskd_disk_used_bytes", folder="log") == 70
    assert value(found, "riskd_disk_size_bytes", folder="log") == 100
    assert value(found, "riskd_log_segments") == 3
    assert value(found, "riskd_log_bytes") == 900
    assert value(found, "riskd_log_compacted_timestamp_seconds") == 1.6e9
    assert value(found, "riskd_log_erasure_asked_timestamp_seconds") == 1.5e9
    assert value(found, "riskd_geo_build_timestamp_seconds", database="city") == 1.7e9
    assert value(found, "riskd_release_info", release="r1", domain="machine", model="m2", role="active") == 1


def test_the_oldest_of_all_workers_counts() -> None:
    """Of data that each worker loads for itself, the metric shows the oldest in use; a worker that has none yet does
    not count."""
    memory = MeterMemory(2)
    for worker, built in ((1, 1.7e9), (0, 1.6e9)):
        PrometheusMeter(memory, worker).geo_built("city", built)
        assert value(samples(memory), "riskd_geo_build_timestamp_seconds", database="city") == built


def test_an_answer_changes_these_metrics() -> None:
    """An answer counts its tier, whether it was satisfied, score, coverage, gaps, withheld tier and causes."""
    memory = MeterMemory(1)
    meter = PrometheusMeter(memory, 0)
    attempt = sign_in(behaviour=None, journey="payment")
    gaps = (Missing("behaviour", "not_sent"),)
    causes = ("history:unavailable", "rule:impossible_travel", "decision_log:not_written")
    context, decision = decided(attempt, gaps=gaps, causes=causes, coverage=0.5, reasons=(RESTRICTED_METHOD,))
    answer = replace(decision.assessment, requirement=replace(decision.assessment.requirement, satisfied=True))
    meter.assessed(attempt, context.missing, replace(decision, withheld=Tier.DENY), answer, NOW)
    found = samples(memory)
    payment = {"domain": "customer", "journey": "payment"}
    tier = answer.requirement.tier.name
    assert value(found, "riskd_assessments_total", **payment, tier=tier, satisfied="true") == 1
    assert value(found, "riskd_withheld_total", **payment, tier="DENY") == 1
    assert value(found, "riskd_gaps_total", domain="customer", source="behaviour", why="not_sent") == 1
    assert value(found, "riskd_coverage_bucket", **payment, le="0.25") == 0
    assert value(found, "riskd_coverage_bucket", **payment, le="0.5") == 1
    assert value(found, "riskd_score_count", domain="customer") == 1
    assert value(found, "riskd_score_sum", domain="customer") == answer.score
    assert value(found, "riskd_degraded_total", **payment) == 1
    assert value(found, "riskd_restricted_total", **payment, where="assessment") == 1
    counted = {dict(labels)["cause"] for (name, labels), n in found.items() if n and name == "riskd_causes_total"}
    assert counted == {"history", "rule", "decision_log"}


@pytest.mark.parametrize(("result", "satisfied"), [("succeeded", "false"), ("failed", "wrong_credential")])
def test_an_answer_of_a_rollout_counts_for_the_role_that_gave_it(result: str, satisfied: str) -> None:
    """During a rollout, tiers and degraded answers are counted by role, as those of all answers are."""
    memory = MeterMemory(1)
    meter = PrometheusMeter(memory, 0)
    attempt = sign_in(credential_result=result)
    denied = Requirement(Tier.DENY, Terms(0), satisfied=False)
    for causes in ((), ("rule:new",)):
        _, decision = decided(attempt, causes=causes, requirement=denied)
        meter.decided("candidate", attempt, decision.assessment)
    found, candidate = samples(memory), {"role": "candidate", "domain": "customer"}
    counted = {"tier": "DENY", "satisfied": satisfied}
    assert value(found, "riskd_rollout_assessments_total", **candidate, **counted) == 2
    assert value(found, "riskd_rollout_degraded_total", **candidate) == 1
    assert [name for name, labels in found if dict(labels).get("role") == "active"] == []


@pytest.mark.parametrize(
    ("result", "satisfied", "counted"),
    [
        ("succeeded", True, "true"),
        ("succeeded", False, "false"),
        ("not_checked", False, "false"),
        ("failed", False, "wrong_credential"),
    ],
)
@pytest.mark.parametrize("tier", [Tier.BASELINE, Tier.STEP_UP, Tier.DENY])
def test_an_attempt_with_a_wrong_credential_is_not_one_that_is_challenged(
    tier: Tier, result: str, counted: str, *, satisfied: bool
) -> None:
    """Whatever the tier, an answer counts once: as satisfied, as not satisfied, or as a wrong credential."""
    memory = MeterMemory(1)
    attempt = sign_in(credential_result=result)
    context, decision = _DECIDED
    answer = replace(decision.assessment, requirement=Requirement(tier, Terms(1), satisfied=satisfied))
    PrometheusMeter(memory, 0).assessed(attempt, context.missing, decision, answer, NOW)
    answers = {
        (labels["tier"], labels["satisfied"]): number
        for (name, pairs), number in samples(memory).items()
        if name == "riskd_assessments_total" and number
        for labels in [dict(pairs)]
    }
    assert answers == {(tier.name, counted): 1}


def test_a_hit_counts_for_its_rule() -> None:
    """Each rule that hits is counted, apart in shadow; a rule of a release that decides is shown before it ever hits,
    and counts continue in the worker's successor."""
    memory = MeterMemory(2)
    attempt = sign_in()
    context, decision = _DECIDED
    hits = (Hit("tor", Tier.STEP_UP, "ANONYMIZER"), Hit("next", Tier.DENY, "NEXT", shadow=True))
    for worker in (0, 1, 1):
        meter = PrometheusMeter(memory, worker)
        meter.ruled_by([("customer", "tor", False), ("customer", "next", True), ("machine", "tor", False)])
        meter.assessed(attempt, context.missing, replace(decision, hits=hits), decision.assessment, NOW)
    found = samples(memory)
    for labels, n in (("customer tor false", 3), ("customer next true", 3), ("machine tor false", 0)):
        domain, rule, shadow = labels.split()
        assert value(found, "riskd_rule_hits_total", domain=domain, rule=rule, shadow=shadow) == n


def full(memory: MeterMemory) -> PrometheusMeter:
    """A meter whose rules have all slots, and a hit each."""
    meter, first = PrometheusMeter(memory, 0), memory.first["riskd_rule_hits_total"]
    meter.ruled_by([("customer", f"r{number}", False) for number in range(RULES)])
    memory.slots(0)[first : first + RULES + 1] = array("d", [1.0] * (RULES + 1))
    return meter


def test_a_page_gives_no_rule_the_hits_of_another() -> None:
    """A rule that gets the slot of another while the page is rendered does not appear with the hits of that one."""

    class Moving(MeterMemory):
        def read_note(self, worker: int) -> Note | None:
            if meter is not None:
                meter.ruled_by([("customer", "new", False)])
            return super().read_note(worker)

    meter, memory = None, Moving(1)
    meter = full(memory)
    assert value(samples(memory), "riskd_rule_hits_total", domain="customer", rule="new", shadow="false") == 0


def test_a_slot_does_not_change_hands_while_hits_are_counted() -> None:
    """A rule gets the slot of another between two answers. During one, a hit could bring back the count of that one."""
    memory = MeterMemory(1)
    meter = full(memory)
    change = threading.Thread(target=meter.ruled_by, args=([("customer", "new", False)],))
    with meter._lock:
        change.start()
        change.join(0.05)
        assert 0.0 not in memory.slots(0)[memory.first["riskd_rule_hits_total"] :][: RULES + 1]
    change.join()


def test_a_repeated_outcome_counts_once() -> None:
    """A repeated outcome counts once; units that a stronger proof adds are counted each time."""
    memory = MeterMemory(1)
    meter = PrometheusMeter(memory, 0)
    passed = outcome("challenge_passed", "hwk")
    first, second = kept(Tier.STEP_UP, 1, "challenge_passed"), kept(Tier.STEP_UP, 6, "challenge_passed")
    meter.outcome(kept(Tier.STEP_UP, 0), first, passed, "STEP_UP")
    meter.outcome(first, second, passed, "")
    found = samples(memory)
    login = {"domain": "customer", "journey": "login"}
    assert value(found, "riskd_outcomes_total", **login, tier="STEP_UP", kind="challenge_passed") == 1
    assert value(found, "riskd_learned_units_total", domain="customer", direction="learned") == 6


def alive(memory: MeterMemory, name: str) -> dict[str, float]:
    """The values of a metric by signal of customers, without zeros."""
    found = samples(memory)
    return {dict(labels)["source"]: n for (one, labels), n in found.items() if one == name and n}


def test_a_dead_signal_is_seen() -> None:
    """Every signal of an attempt is counted as arrived; one that stops keeps its last arrival time."""
    memory = MeterMemory(1)
    meter = PrometheusMeter(memory, 0)
    told(meter, sign_in())
    everything = alive(memory, "riskd_signal_arrived_timestamp_seconds")
    assert everything.keys() == SOURCES.keys()
    assert set(everything.values()) == {NOW}
    told(meter, sign_in(behaviour=None), NOW + 3600)
    later = alive(memory, "riskd_signal_arrived_timestamp_seconds")
    assert {source for source, when in later.items() if when == NOW} == {"behaviour"}
    assert {when for source, when in later.items() if source != "behaviour"} == {NOW + 3600}
    counted = alive(memory, "riskd_signal_arrivals_total")
    assert counted == {source: 1 if source == "behaviour" else 2 for source in SOURCES}


@settings(max_examples=30)
@given(st.lists(st.floats(0, 5), max_size=20))
def test_when_a_signal_arrived_is_known_to_a_second(pauses: list[float]) -> None:
    """Arrival times on the page lag by less than a second; counts do not lag."""
    memory = MeterMemory(1)
    meter = PrometheusMeter(memory, 0)
    attempt, now = sign_in(), NOW
    context, decision = _DECIDED
    for number, pause in enumerate(pauses):
        now += pause
        meter.assessed(attempt, context.missing, decision, decision.assessment, now)
        if number in (0, len(pauses) - 1):
            assert now - alive(memory, "riskd_signal_arrived_timestamp_seconds")["history"] < 1.0
    assert alive(memory, "riskd_signal_arrivals_total").get("history", 0) == len(pauses)


def test_a_clock_that_went_back_is_followed() -> None:
    """If the clock is set back, arrival times follow it."""
    memory = MeterMemory(1)
    meter = PrometheusMeter(memory, 0)
    told(meter, sign_in())
    told(meter, sign_in(), NOW - 900)
    assert set(alive(memory, "riskd_signal_arrived_timestamp_seconds").values()) == {NOW - 900}


def test_only_signals_with_a_noticeable_contribution_mattered() -> None:
    """Only signals behind a noticeable contribution count as mattering; without an explanation, none does."""
    memory = MeterMemory(1)
    meter = PrometheusMeter(memory, 0)
    attempt = sign_in("203.0.113.5")
    context, decision = decided(attempt, explain=True)
    silent = replace(decision, contributions=None)
    meter.assessed(attempt, context.missing, silent, decision.assessment, NOW)
    assert alive(memory, "riskd_signal_mattered_timestamp_seconds") == {}
    meter.assessed(attempt, context.missing, decision, decision.assessment, NOW)
    assert decision.contributions is not None
    moved = [feature for feature, by in zip(FEATURES, decision.contributions, strict=True) if abs(by) >= NOTICEABLE]
    assert moved
    expected = {source: NOW for feature in moved for source in feature.sources}
    assert alive(memory, "riskd_signal_mattered_timestamp_seconds") == expected


def test_the_cache_of_combinations_is_bounded() -> None:
    """The cache of combinations of missing signals is bounded, and counts stay right."""
    memory = MeterMemory(1)
    meter = PrometheusMeter(memory, 0)
    _, decision = _DECIDED
    for number in range(COMBINATIONS + 50):
        missing = [Missing(source, "not_sent") for bit, source in enumerate(SOURCES) if number >> bit & 1]
        meter.assessed(sign_in(), missing, decision, decision.assessment, NOW)
    assert len(meter._signals) <= COMBINATIONS
    # Half of the first 4096 lack the first source, and 25 of the other 50.
    (first, *_) = SOURCES
    assert alive(memory, "riskd_signal_arrivals_total")[first] == COMBINATIONS / 2 + 25


def test_memory_and_series_are_bounded() -> None:
    """The size of a worker's memory and of the page is fixed before the first request."""
    memory = MeterMemory(1)
    series = sum(metric.slots for metric in METRICS)
    assert len(memory.slots(0)) == series
    assert series * 8 < 128 << 10
    memory.slots(0)[:] = array("d", [1.0]) * series
    page = PrometheusPage(memory, "1.2.3").render("", {})[1]
    assert len(page) < 4 << 20


@given(st.lists(st.floats(0, 3), max_size=30))
def test_histogram_is_that_of_prometheus(times: list[float]) -> None:
    """Buckets, count and sum equal those of the official client."""
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


@settings(max_examples=30)
@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_unknown_values_count_as_other(one: str, two: str, three: str) -> None:
    """Unknown label values are counted as `other` and add no series."""
    memory = MeterMemory(1)
    meter = PrometheusMeter(memory, 0)
    before = len(memory.slots(0))
    attempt = replace(sign_in(), domain=f"?{one}", journey=two + "?")
    context, decision = _DECIDED
    gap, cause = Missing(f"?{one}", f"?{two}"), f"?{three}:broken"
    answer = replace(decision.assessment, gaps=(gap,), causes=(cause,))
    meter.assessed(attempt, context.missing, decision, answer, NOW)
    meter.answered(f"?{one}", two + "?", 0.1)
    receipt = replace(decision.receipt, domain=f"?{one}", journey=f"?{two}")
    meter.outcome(receipt, receipt, outcome(f"?{three}"), f"?{one}")
    meter.failed(f"?{two}")
    meter.stage(f"?{three}", 0.1)
    meter.started(f"?{one}", two)
    meter.handled(f"?{one}", two, f"?{three}", 0.1)
    found = samples(memory)
    unknown = {"domain": OTHER, "journey": OTHER}
    for name in ("riskd_degraded_total", "riskd_assessment_seconds_count", "riskd_coverage_count"):
        assert value(found, name, **unknown) == 1
    assert value(found, "riskd_score_count", domain=OTHER) == 1
    assert value(found, "riskd_gaps_total", domain=OTHER, source=OTHER, why=OTHER) == 1
    assert value(found, "riskd_causes_total", cause=OTHER) == 1
    tier = receipt.tier.name
    assert value(found, "riskd_outcomes_total", **unknown, tier=tier, kind=OTHER) == 1
    assert value(found, "riskd_sign_ins_total", **unknown, required=tier, achieved=OTHER, met=OTHER) == 1
    assert value(found, "riskd_failures_total", part=OTHER) == 1
    call = {"grpc_type": OTHER, "grpc_service": OTHER, "grpc_method": OTHER}
    assert value(found, "grpc_server_handled_total", **call, grpc_code=OTHER) == 1
    assert len(memory.slots(0)) == before


def test_workers_are_one_on_the_page() -> None:
    """Counters of workers are added; gauges show the largest store and the oldest database; a new worker continues the
    counts."""
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
    """Concurrent threads of a worker lose no counts."""
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
    """A note that is being written or is too long is never shown in part."""
    memory = MeterMemory(1)
    memory.write_note(0, Note((("r1", "customer", "starter"),)))
    memory._memory[memory._note(0) + 12] ^= 1
    assert memory.read_note(0) is None
    second = Note((("r2", "customer", "starter"),))
    memory.write_note(0, second)
    memory.write_note(0, Note((("x" * 70_000,),)))
    assert memory.read_note(0) == second


def test_openmetrics_on_request() -> None:
    """The OpenMetrics format parses and has every metric of the table."""
    memory = MeterMemory(1)
    accept = "application/openmetrics-text; version=1.0.0"
    content_type, page = PrometheusPage(memory, "1.2.3").render(accept, {"riskd_workers": {(): 1.0}})
    assert content_type.startswith("application/openmetrics-text")
    families = parse_openmetrics(page.decode())  # type: ignore[no-untyped-call]  # typed only in the other parser
    names = {family.name for family in families}
    assert names == {metric.name.removesuffix("_total") for metric in METRICS}


def test_page_is_empty_of_what_never_happened() -> None:
    """A fresh service shows only the zeros that `rate()` and alerts need."""
    shown = {name for name, _ in samples(MeterMemory(1))}
    assert shown == {
        "grpc_server_started_total",
        "grpc_server_handled_total",
        "grpc_server_msg_received_total",
        "grpc_server_msg_sent_total",
        "riskd_causes_total",
        "riskd_failures_total",
        "riskd_reload_failed",
        "riskd_refused_total",
        "riskd_signal_arrivals_total",
        "riskd_store_common_reads_total",
        "riskd_build_info",
    }


_DECIDED = decided(sign_in())
