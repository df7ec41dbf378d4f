"""The golden cases: each gives an attempt, a history and geo facts, and the expected tier, reasons, gaps and decision
record."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from riskd._proto.riskd.v1 import assessment_pb2, risk_pb2, risk_pb2_grpc
from riskd.core import record
from riskd.core.assess import Release, assess
from riskd.core.assessment import Assessment
from riskd.core.attempt import DOMAINS, JOURNEYS, Attempt, Outcome, SecurityEvent
from riskd.engine import Engine
from riskd.engine.reported import Recorded
from riskd.server.calls.boundary import Boundary
from riskd.server.grpc_server import Options, build_server
from riskd.server.translate import Answers, request
from tests.bench import parts
from tests.cases.world import HERE, Case
from tests.doubles import ListLog
from tests.server.world import ListMeter
from tests.shipped import shipped_release

PATHS = sorted(HERE.glob("*/*.yaml"))
every_case = pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}/{path.stem}")


class Stage:
    """A service behind one gRPC server, whose engine is replaced for each case."""

    engine: Engine

    def assess(self, attempt: Attempt, timeout: float) -> Assessment:
        """Delegates to the engine of the case."""
        return self.engine.assess(attempt, timeout)

    def record(self, outcome: Outcome, timeout: float) -> Recorded:
        """Delegates to the engine of the case."""
        return self.engine.record(outcome, timeout)

    def record_event(self, event: SecurityEvent, timeout: float, caller: str) -> None:
        """Delegates to the engine of the case."""
        self.engine.record_event(event, timeout, caller)


@pytest.fixture(scope="module")
def shipped() -> Release:
    return shipped_release()


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage()


@pytest.fixture(scope="module")
def wire(stage: Stage) -> Iterator[risk_pb2_grpc.RiskServiceStub]:
    service = build_server(stage, Boundary(ListMeter()), Options(address="127.0.0.1:0", timeout_s=5.0))
    service.server.start()
    with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        yield risk_pb2_grpc.RiskServiceStub(channel)
    service.server.stop(None).wait()


@every_case
def test_case(path: Path, shipped: Release, stage: Stage, wire: risk_pb2_grpc.RiskServiceStub) -> None:
    """The core and a gRPC call give the same answer, and that answer and its log record are what the case expects."""
    case, log = Case(path), ListLog()
    release, store = case.release(shipped), case.store()
    attempt, keys, context = case.judged(release, store)
    stage.engine = Engine(
        parts(
            store=store,
            geo=case.geo,
            log=log,
        ),
        release,
    )

    answer = wire.Assess(request(case.attempt), timeout=5)
    (line,) = map(record.decode, log.lines)
    assert isinstance(line, record.AssessmentRecord)
    explain = answer.assessment_id.endswith("0")
    decision = assess(attempt, context, keys, release, answer.assessment_id, explain=explain)

    assert Answers().response(decision.assessment) == answer
    assert _seen(answer, line) == case.file.expect
    vector = [math.nan if value is None else value for value in line.vector]
    assert release.scorers[attempt.domain].score(vector) == (line.log_odds, line.score)


def _seen(answer: risk_pb2.AssessResponse, line: record.AssessmentRecord) -> dict[str, object]:
    """The parts of the answer and of its record that a case states."""
    return {
        "tier": assessment_pb2.Tier.Name(answer.requirement.tier).removeprefix("TIER_"),
        "satisfied": answer.requirement.satisfied,
        "reasons": [reason.code for reason in answer.reasons],
        "gaps": [f"{gap.source}:{gap.why}" for gap in answer.gaps],
        "record": {
            "level": line.level,
            "hits": list(line.hits),
            "shadow_hits": list(line.shadow_hits),
            "network": line.facts.network,
            "explained": line.contributions is not None,
        },
    }


def test_every_journey_of_every_domain_has_a_case() -> None:
    """Every journey of every domain has a golden case."""
    seen = {(case.attempt.domain, case.attempt.journey) for case in map(Case, PATHS)}

    assert seen == {(domain, journey) for domain in DOMAINS for journey in JOURNEYS}


def test_machines_are_never_asked_for_what_only_people_can_do() -> None:
    """Machines get BASELINE, HARDWARE_BOUND or DENY, never a tier that needs a person."""
    machines = [case for case in map(Case, PATHS) if case.attempt.domain == "machine"]

    assert {case.file.expect["tier"] for case in machines} == {"BASELINE", "HARDWARE_BOUND", "DENY"}


def test_nothing_satisfies_a_denial() -> None:
    """DENY is never satisfied, whatever the session or an assertion says."""
    refused = [case.file.expect["satisfied"] for case in map(Case, PATHS) if case.file.expect["tier"] == "DENY"]

    assert refused
    assert not any(refused)
