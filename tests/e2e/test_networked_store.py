"""`riskd serve` on Redis: replicas share histories, and answers continue while Redis is down."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from riskd._proto.riskd.v1 import risk_pb2
from tests.e2e.service import LONDON, Service, attempt, eventually, serving
from tests.redis_servers import RedisServer, cluster, running

PEPPER = "0123456789abcdef0123456789abcdef"
DEADLINE = 2.0


def settings(*nodes: RedisServer) -> dict[str, str]:
    url = "redis://" + ",".join(f"{node.address}" for node in nodes)
    return {"RISKD_STORE__KIND": "redis", "RISKD_STORE__URL": url, "RISKD_PEPPER": PEPPER, "RISKD_STORE__SWEEP_S": "1"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    one = RedisServer(tmp_path / "redis", save=True)
    with running(one):
        yield one


def gap(answer: risk_pb2.AssessResponse) -> str | None:
    return {one.source: one.why for one in answer.gaps}.get("history")


@pytest.mark.parametrize("kind", ["one server", "a cluster"])
def test_replicas_share_one_history(kind: str, tmp_path: Path) -> None:
    """What one replica learns another knows at once, and a request id sent to both counts once."""
    with ExitStack() as ended:
        if kind == "a cluster":
            nodes = ended.enter_context(cluster(tmp_path / "nodes"))
        else:
            nodes = [RedisServer(tmp_path / "node")]
            ended.enter_context(running(*nodes))
        one, other = (ended.enter_context(serving(tmp_path / name, 2, settings(*nodes))) for name in "ab")
        first = one.assess(attempt(request_id="once"))
        again = other.assess(attempt(request_id="once"))
        assert (first.assessment_id, first.score) == (again.assessment_id, again.score)
        assert gap(first) == "none_yet"
        assert not first.degraded
        taught(one, first.assessment_id)
        assert gap(other.assess(attempt())) is None
        eventually(lambda: one.metric("riskd_store_records") > 0)


def taught(service: Service, assessment_id: str) -> None:
    confirmed = risk_pb2.ConfirmedLegitimate()
    outcome = risk_pb2.RecordOutcomeRequest(assessment_id=assessment_id, confirmed_legitimate=confirmed)
    with service.stub() as stub:
        assert stub.RecordOutcome(outcome, timeout=DEADLINE).taught_units > 0


def test_calls_are_answered_while_redis_is_silent(server: RedisServer, tmp_path: Path) -> None:
    """A Redis server that accepts and never answers costs a gap, a posture and a metric, but no deadline; when it
    answers again, histories return without a restart."""
    with serving(tmp_path / "a", 1, settings(server)) as service, service.stub() as stub:
        known = stub.Assess(attempt(), timeout=DEADLINE)
        taught(service, known.assessment_id)
        server.signal(signal.SIGSTOP)
        taken = []
        for _ in range(12):
            begun = time.monotonic()
            answer = stub.Assess(attempt(), timeout=DEADLINE)
            taken.append(time.monotonic() - begun)
            assert gap(answer) == "unavailable"
            assert "store:not_written" in answer.causes
        assert max(taken) < 0.5
        assert sorted(taken)[6] < 0.1
        assert service.metric("riskd_failures_total", part="store") >= 12
        assert service.metric("riskd_gaps_total", source="history", why="unavailable") >= 12

        server.signal(signal.SIGCONT)
        eventually(lambda: gap(stub.Assess(attempt(), timeout=DEADLINE)) is None)


def test_startup_without_the_redis_server(server: RedisServer, tmp_path: Path) -> None:
    """riskd starts without its store, is ready, answers with a gap, and uses the store once it is there."""
    server.kill()
    with serving(tmp_path / "a", 1, settings(server)) as service, service.stub() as stub:
        assert gap(stub.Assess(attempt(), timeout=DEADLINE)) == "unavailable"
        server.start()
        eventually(lambda: gap(stub.Assess(attempt(LONDON), timeout=DEADLINE)) == "none_yet")
