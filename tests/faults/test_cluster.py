"""One master of a Redis cluster fails, without a replica: only what it holds is missing, and only while it does."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pytest
from msgspec import Struct

from riskd._proto.riskd.v1 import risk_pb2
from riskd.core import record
from riskd.core.stored import PLACE
from tests.e2e.service import Service, attempt, eventually, serving
from tests.faults.witness import DEADLINE, MARGIN, MOST, Witness, witness
from tests.redis_servers import SLOTS, RedisServer, cluster, slot

PEOPLE = 60
OWN = 0.5
"""Time of riskd itself in seconds: enough for the living masters to answer on a busy machine."""
LOST = SLOTS * 2 // 3
"""The first slot of the third master, which fails."""


class Faulty(Struct):
    """A service on three masters, of which the third can fail."""

    nodes: list[RedisServer]
    service: Service
    caller: Witness

    def sign_in(self, who: int, request_id: str = "") -> risk_pb2.AssessResponse:
        """A sign-in of one of the people, each at an address and in a network of their own."""
        request = attempt(f"81.{who}.{who}.7", subject=f"person {who}", request_id=request_id)
        return self.caller.stub.Assess(request, timeout=DEADLINE)


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Faulty]:
    with ExitStack() as ended:
        nodes = ended.enter_context(cluster(tmp_path / "nodes", save=True))
        settings = {
            "RISKD_STORE__KIND": "redis",
            "RISKD_STORE__URL": "redis://" + ",".join(f"{node.address}" for node in nodes),
            "RISKD_PEPPER": "0123456789abcdef0123456789abcdef",
            "RISKD_SERVER__DEFAULT_TIMEOUT_MS": f"{OWN * 1000:.0f}",
        }
        service = ended.enter_context(serving(tmp_path / "service", 1, settings))
        yield Faulty(nodes, service, ended.enter_context(witness(service)))


def is_lost(answer: risk_pb2.AssessResponse) -> bool:
    """Whether the subject's records are on the third master: an assessment's id begins with their place."""
    return slot(bytes.fromhex(answer.assessment_id)[:PLACE]) >= LOST


def unavailable(answer: risk_pb2.AssessResponse) -> set[str]:
    return {gap.source for gap in answer.gaps if gap.why == "unavailable"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["killed", "paused"])
def test_one_failed_master_of_a_cluster(fault: str, faulty: Faulty) -> None:
    """While one of three masters is dead or silent, every answer comes in time. Exactly the subjects whose place is
    there have no history and are not kept; for the others nothing worse than `reputation` is missing, outcomes are
    accepted, and repeats get the first answer. When it is back, so is everything acknowledged, without a restart."""
    third, metric = faulty.nodes[2], faulty.service.metric
    before = [faulty.sign_in(who) for who in range(PEOPLE)]
    assert not any(answer.degraded for answer in before)
    assert 0 < sum(map(is_lost, before)) < PEOPLE
    faulty.caller.acknowledged += [answer.assessment_id for answer in before]
    third.kill() if fault == "killed" else third.signal(signal.SIGSTOP)

    taken, seen = zip(*[timed(faulty, who) for who in range(PEOPLE)], strict=True)
    assert max(taken) < OWN + MOST
    assert median(taken) < MARGIN
    for answer in seen:
        lacking, causes = unavailable(answer), set(answer.causes)
        assert ("history" in lacking) == is_lost(answer) == ("store:not_written" in causes)
        assert lacking <= {"history", "reputation"}
        assert causes <= {*(f"{source}:unavailable" for source in lacking), "store:not_written", "store:partly_written"}
    kept = [answer for answer in seen if not is_lost(answer)]
    lost = len(seen) - len(kept)
    assert metric("riskd_gaps_total", source="history", why="unavailable") == lost
    assert metric("riskd_gaps_total", source="reputation", why="unavailable") == sum(
        "reputation" in unavailable(answer) for answer in seen
    )
    assert metric("riskd_failures_total", part="store") >= metric("riskd_degraded_total") > lost
    again = [faulty.sign_in(who, f"r-{who}") for who, answer in enumerate(seen) if not is_lost(answer)]
    assert [answer.assessment_id for answer in again] == [answer.assessment_id for answer in kept]
    assert [answer.causes for answer in again] == [answer.causes for answer in kept]
    for answer in kept:
        faulty.caller.tell(answer.assessment_id)
    assert faulty.caller.is_refused(next(filter(is_lost, before)).assessment_id)

    third.start() if fault == "killed" else third.signal(signal.SIGCONT)
    eventually(lambda: not any(faulty.sign_in(who).degraded for who in range(PEOPLE)))
    faulty.caller.finds_everything()
    counted = {line.id for line in faulty.service.decisions() if isinstance(line, record.AssessmentRecord)}
    assert {answer.assessment_id for answer in seen} <= counted


def timed(faulty: Faulty, who: int) -> tuple[float, risk_pb2.AssessResponse]:
    begun = time.monotonic()
    answer = faulty.sign_in(who, f"r-{who}")
    return time.monotonic() - begun, answer
