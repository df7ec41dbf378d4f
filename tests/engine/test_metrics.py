"""The metrics that the engine's work produces, with the real meter."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from riskd.adapters.memory import MemoryStore
from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.adapters.prometheus_page import PrometheusPage
from riskd.core import record
from riskd.core.activation import ActivationRequest
from riskd.core.assess import Release
from riskd.core.attempt import DOMAINS, Attempt, Outcome
from riskd.core.context import SOURCES
from riskd.engine import Engine
from riskd.metrics.memory import MeterMemory
from riskd.ports import HistoryStore
from riskd.wiring import open_engine
from tests.bench import parts
from tests.cases.world import NOW, attempt
from tests.doubles import FailingStore, ListLog
from tests.releases.candidates import MODELS, policies, releases, settings
from tests.shipped import shipped_release

LOGIN = attempt({})
CHANGE = replace(LOGIN, journey="profile_update")
"""An attempt that requires more than a password of anybody."""


@pytest.fixture(scope="module")
def release() -> Release:
    return shipped_release()


class Bench:
    """An engine with a worker's meter and its page."""

    def __init__(self, release: Release, store: HistoryStore | None = None, log: ListLog | None = None) -> None:
        self._memory = MeterMemory(1)
        made = parts(
            store=store or MemoryStore(),
            log=log or ListLog(),
            meter=PrometheusMeter(self._memory, 0),
        )
        self.engine = Engine(made, release)

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels."""
        _, page = PrometheusPage(self._memory, "test").render("", {})
        families = text_string_to_metric_families(page.decode())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def tell(self, one: Attempt, *kinds: str, amr: tuple[str, ...] = ()) -> str:
        """Assess the attempt, report the outcomes, and return the required tier."""
        answer = self.engine.assess(one, 10.0)
        for kind in kinds:
            self.engine.record(Outcome(assessment_id=answer.id, kind=kind, amr=amr), 10.0)
        return answer.requirement.tier.name


def test_a_session_without_what_was_required_is_below_its_requirement(release: Release) -> None:
    """A session established without meeting the requirement is counted as below it; one after a passed challenge is
    not."""
    bench = Bench(release)
    required = bench.tell(CHANGE, "session_established")
    assert required != "BASELINE"
    below = {
        "domain": CHANGE.domain,
        "journey": CHANGE.journey,
        "required": required,
        "achieved": "NONE",
        "met": "false",
    }
    assert bench.total("riskd_sign_ins_total") == bench.total("riskd_sign_ins_total", **below) == 1
    bench.tell(replace(CHANGE, subject="other"), "challenge_passed", "session_established")
    assert bench.total("riskd_sign_ins_total", met="true") == 1
    assert bench.total("riskd_sign_ins_total") == 2


def test_hits_are_counted_for_the_rules_of_the_releases_that_decide(tmp_path: Path) -> None:
    """Every rule of the active release and of the candidate is on the page as soon as they decide, with the hits that
    the log has; those of a release in shadow are not, and those of a release that is gone no longer."""
    state, memory = tmp_path / "s", MeterMemory(1)
    ids = [with_rule(state, name, shadow=shadow) for name, shadow in (("one", True), ("two", False), ("three", False))]
    host = releases(state)
    host.activate(ActivationRequest(release=ids[0], actor="test"))
    with open_engine(settings(state), PrometheusMeter(memory, 0)) as engine:
        engine.assess(LOGIN, 10.0)
        shown = hits(memory)
        assert shown["customer", "one", "true"] == 1
        assert shown["customer", "guessing", "false"] == 0
        assert {domain for domain, _, _ in shown} == {*DOMAINS}
        host.activate(ActivationRequest(release=ids[1], percent=50.0, actor="test"))
        host.activate(ActivationRequest(release=ids[2], shadow=True, actor="test"))
        for number in range(20):
            engine.assess(replace(LOGIN, subject=f"s-{number}"), 10.0)
        added = {
            name: count for (_, name, _), count in hits(memory).items() if name in ("one", "two", "three", "other")
        }
        assert added.keys() == {"one", "two"}
        assert sum(added.values()) == 21
        assert min(added.values()) > 1
        host.activate(ActivationRequest(release=ids[1], actor="test"))
        assert hits(memory).keys() == {row for row in hits(memory) if row[1] != "one"}


def with_rule(state: Path, name: str, *, shadow: bool) -> str:
    """Create a release with the shipped policies and a rule that customers always hit. Returns its id."""
    folder = policies(state / name, "5m")
    rule = f"name: {name}, when: score < 0.9, then: STEP_UP, reason: X, text: x., journeys: all"
    rule += f", shadow: {str(shadow).lower()}"
    path = folder / "customer.yaml"
    path.write_text(path.read_text().replace("rules:", f"rules:\n  - {{{rule}}}", 1))
    return releases(state).create(folder, MODELS, "test", name).id


def hits(memory: MeterMemory) -> dict[tuple[str, ...], float]:
    """The hits by domain, rule, and whether in shadow."""
    _, page = PrometheusPage(memory, "test").render("", {})
    samples = [sample for family in text_string_to_metric_families(page.decode()) for sample in family.samples]
    return {tuple(one.labels.values()): one.value for one in samples if one.name == "riskd_rule_hits_total"}


def test_an_outcome_reported_twice_counts_once(release: Release) -> None:
    """A repeated outcome is counted once."""
    bench = Bench(release)
    bench.tell(LOGIN, "challenge_abandoned", "challenge_abandoned", "sign_in_abandoned")
    assert bench.total("riskd_outcomes_total", kind="challenge_abandoned") == 1
    assert bench.total("riskd_outcomes_total") == 2


def test_a_repeated_request_counts_once(release: Release) -> None:
    """A repeated request is counted once."""
    bench = Bench(release)
    asked = replace(LOGIN, request_id="once")
    bench.engine.assess(asked, 10.0)
    counters = ("riskd_assessments_total", "riskd_gaps_total", "riskd_coverage_count", "riskd_signal_arrivals_total")
    once = [bench.total(name) for name in counters]
    bench.engine.assess(asked, 10.0)
    assert [bench.total(name) for name in counters] == once


def test_a_degraded_answer_counts_once_and_each_of_its_causes(release: Release) -> None:
    """With a failing store and a full log, one degraded answer with four causes is counted."""
    bench = Bench(release, FailingStore(), ListLog(full=True))
    answer = bench.engine.assess(LOGIN, 10.0)
    assert bench.total("riskd_degraded_total") == bench.total("riskd_degraded_total", journey="login") == 1
    assert bench.total("riskd_causes_total") == len(answer.causes) == 4
    for cause in ("history", "reputation", "store", "decision_log"):
        assert bench.total("riskd_causes_total", cause=cause) == 1
    assert bench.total("riskd_signal_arrivals_total", source="history") == 0


def test_a_signal_arrives_unless_it_is_missing(release: Release) -> None:
    """Exactly the signals that the decision log does not call missing are counted as arrived."""
    log = ListLog()
    bench = Bench(release, log=log)
    bench.engine.assess(LOGIN, 10.0)
    line = record.decode(log.lines[0])
    assert isinstance(line, record.AssessmentRecord)
    arrived = {source for source in SOURCES if bench.total("riskd_signal_arrivals_total", source=source)}
    assert arrived == SOURCES.keys() - {gap.source for gap in line.facts.missing}
    for source in arrived:
        assert bench.total("riskd_signal_arrived_timestamp_seconds", source=source) == NOW
