"""A caller of a running service that notes how long answers take, what they lack, and what was acknowledged."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Final

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from msgspec import Struct

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd.core import record
from tests.e2e.service import Service, attempt, eventually

DEADLINE: Final = 1.0
"""What callers allow here."""
OWN: Final = 0.1
"""What riskd takes at most (`server.default_timeout_ms`)."""
MARGIN, MOST = 0.25, 0.9
"""On top of that: what the call itself takes in half of the cases, and at most, on a machine that is busy."""


class Seen(Struct, frozen=True):
    """One answer and what it took."""

    answer: risk_pb2.AssessResponse
    seconds: float

    @property
    def causes(self) -> set[str]:
        """Why it is degraded."""
        return set(self.answer.causes)


class Witness:
    """Signs in again and again, as somebody else each time."""

    def __init__(self, service: Service, stub: risk_pb2_grpc.RiskServiceStub, name: str = "witness") -> None:
        self.service = service
        self.name = name
        self.stub = stub
        self.acknowledged: list[str] = []
        self._calls = 0

    def sign_in(self, timeout: float = DEADLINE) -> Seen:
        """One attempt, kept as acknowledged when nothing is said to the contrary."""
        self._calls += 1
        started = time.monotonic()
        answer = self.stub.Assess(attempt(subject=f"{self.name} {self._calls}"), timeout=timeout)
        seen = Seen(answer, time.monotonic() - started)
        if not answer.degraded:
            self.acknowledged.append(answer.assessment_id)
        return seen

    def several(self, count: int = 5) -> list[Seen]:
        """As many, each within the service's own time and the margin."""
        seen = [self.sign_in() for _ in range(count)]
        assert median(each.seconds for each in seen) < OWN + MARGIN
        assert max(each.seconds for each in seen) < OWN + MOST
        return seen

    def tell(self, assessment_id: str) -> None:
        """An outcome."""
        outcome = risk_pb2.RecordOutcomeRequest(assessment_id=assessment_id)
        outcome.session_established.SetInParent()
        self.stub.RecordOutcome(outcome, timeout=DEADLINE)

    def is_refused(self, assessment_id: str) -> bool:
        """Whether an outcome is refused, with UNAVAILABLE and when to try again."""
        try:
            self.tell(assessment_id)
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            retries = any(detail.Is(RetryInfo.DESCRIPTOR) for detail in status.details)
            return retries and error.code() is grpc.StatusCode.UNAVAILABLE
        return False

    def is_unconnected(self) -> bool:
        """Whether nobody is there to answer."""
        try:
            self.sign_in()
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.UNAVAILABLE
        return False

    def is_late(self) -> bool:
        """Whether an attempt is not answered by the caller's own deadline."""
        try:
            self.sign_in()
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return False

    def failures(self, part: str) -> float:
        """What the metric says."""
        return self.service.metric("riskd_failures_total", part=part)

    def recovered(self) -> None:
        """Sooner or later answers lack nothing, by the same processes."""
        eventually(lambda: not self.sign_in().answer.degraded)

    def finds_everything(self) -> None:
        """What was acknowledged can be told an outcome, and is in the log."""
        for assessment_id in self.acknowledged:
            self.tell(assessment_id)
        logged = {line.id for line in self.service.decisions() if isinstance(line, record.AssessmentRecord)}
        assert set(self.acknowledged) <= logged


@contextmanager
def witness(service: Service) -> Iterator[Witness]:
    """One that has seen the service well; and no worker was replaced in the end."""
    with service.stub() as stub:
        one = Witness(service, stub)
        eventually(lambda: not one.sign_in(5.0).answer.degraded)
        assert not any(seen.causes for seen in one.several())
        yield one
        assert service.metric("riskd_worker_restarts_total") == 0


def causes(seen: list[Seen]) -> set[str]:
    """What all of them name, and each alike."""
    assert all(each.causes == seen[0].causes for each in seen), [each.causes for each in seen]
    return seen[0].causes


def gaps(seen: list[Seen]) -> set[tuple[str, str]]:
    """Gaps that say that riskd failed."""
    return {(gap.source, gap.why) for each in seen for gap in each.answer.gaps if gap.why == "unavailable"}
