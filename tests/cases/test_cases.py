"""The golden cases: attempt, history and geo facts in; tier, reasons, gaps and decision record out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd.adapters.memory import NullMeter
from riskd.core import record
from riskd.core.assess import Release
from riskd.engine import Engine, Parts
from riskd.server.grpc_server import Options, build_server
from riskd.server.translate import Answers, request
from tests.cases.world import AGENTS, HERE, NOW, PSEUDONYMS, Case

CASES = sorted(HERE.glob("*/*.yaml"))


class ListLog:
    """A decision log in a list."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def append(self, record: bytes) -> bool:
        """Keep the line."""
        self.lines.append(record)
        return True

    def close(self) -> None:
        """Nothing to let go."""


class NoCalls:
    """Counts no RPCs."""

    def started(self, method: str, kind: str, /) -> None:
        """A call came in."""

    def handled(self, method: str, kind: str, code: str, seconds: float, /) -> None:
        """It was answered."""


@pytest.fixture(scope="module")
def releases() -> Iterator[Release]:
    """The shipped release."""
    from riskd.config import Settings
    from riskd.wiring import load_release

    yield load_release(Settings())


def test_there_are_at_least_forty() -> None:
    """The golden cases are many enough to pin the shipped policies and models."""
    assert len(CASES) >= 40


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_case(path: Path, releases: Release) -> None:
    """The pure core and a real gRPC channel give the same answer, and it is the expected one."""
    case = Case(path)
    log = ListLog()
    engine = Engine(
        Parts(
            store=case.store(),
            geo=case.geo,
            agents=AGENTS,
            log=log,
            meter=NullMeter(),
            pseudonyms=PSEUDONYMS,
            clock=lambda: NOW,
        ),
        releases,
    )
    service = build_server(engine, NoCalls(), Options(address="127.0.0.1:0"))
    service.server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
            answer = risk_pb2_grpc.RiskServiceStub(channel).Assess(request(case.attempt), timeout=5)
    finally:
        service.server.stop(None).wait()
    decision = case.decide(releases, answer.assessment_id)
    assert Answers().response(decision.assessment) == answer
    line = record.decode(log.lines[0])
    assert isinstance(line, record.AssessmentRecord)
    assert _seen(answer, line) == case.expect


def _seen(answer: risk_pb2.AssessResponse, line: record.AssessmentRecord) -> dict[str, object]:
    """What a case states: the answer's essence, and the record's."""
    return {
        "tier": risk_pb2_name(answer),
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


def risk_pb2_name(answer: risk_pb2.AssessResponse) -> str:
    """The tier's name as the policy writes it."""
    from riskd.core.requirement import Tier

    return Tier(answer.requirement.tier).name
