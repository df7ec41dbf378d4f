"""A caller of a running service that records how long answers take, what they lack, and what was acknowledged."""

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
"""Timeout of its calls in seconds."""
OWN: Final = 0.1
"""Longest time of riskd itself (`server.default_timeout_ms`)."""
MARGIN, MOST = 0.25, 0.9
"""Additional time of the call itself on a busy machine: the median, and the maximum."""


class Seen(Struct, frozen=True):
    """One answer and its duration."""

    answer: risk_pb2.AssessResponse
    seconds: float

    @property
    def causes(self) -> set[str]:
        """The causes, which must be the same in all answers."""
        return set(self.answer.causes)


class Witness:
    """Signs in again and again, as another subject each time."""

    def __init__(self, service: Service, stub: risk_pb2_grpc.RiskServiceStub, name: str = "witness") -> None:
        self.service = service
        self.name = name
        self.stub = stub
        self.acknowledged: list[str] = []
        self._calls = 0

    def sign_in(self, timeout: float = DEADLINE) -> Seen:
        """One attempt; its id is kept as acknowledged unless the answer is degraded."""
        self._calls += 1
        started = time.monotonic()
        answer = self.stub.Assess(attempt(subject=f"{self.name} {self._calls}"), timeout=timeout)
        seen = Seen(answer, time.monotonic() - started)
        if not answer.degraded:
            self.acknowledged.append(answer.assessment_id)
        return seen

    def several(self, count: int = 5) -> list[Seen]:
        """Several attempts, each answered within the service's own time and the margin."""
        seen = [self.sign_in() for _ in range(count)]
        assert median(each.seconds for each in seen) < OWN + MARGIN
        assert max(each.seconds for each in seen) < OWN + MOST
        return seen

    def tell(self, assessment_id: str) -> None:
        """Report an outcome."""
        outcome = risk_pb2.RecordOutcomeRequest(assessment_id=assessment_id)
        outcome.session_established.SetInParent()
        self.stub.RecordOutcome(outcome, timeout=DEADLINE)

    def is_refused(self, assessment_id: str) -> bool:
        """Whether an outcome is refused with UNAVAILABLE and a time to retry."""
        try:
            self.tell(assessment_id)
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            retries = any(detail.Is(RetryInfo.DESCRIPTOR) for detail in status.details)
            return retries and error.code() is grpc.StatusCode.UNAVAILABLE
        return False

    def is_unconnected(self) -> bool:
        """Whether no server answers."""
        try:
            self.sign_in()
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.UNAVAILABLE
        return False

    def is_late(self) -> bool:
        """Whether an attempt is not answered by the caller's deadline."""
        try:
            self.sign_in()
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return False

    def failures(self, part: str) -> float:
        """The failures that the metric counts for this part."""
        return self.service.metric("riskd_failures_total", part=part)

    def recovered(self) -> None:
        """Wait until answers are complete again."""
        eventually(lambda: not self.sign_in().answer.degraded)

    def finds_everything(self) -> None:
        """Every acknowledged assessment accepts an outcome and is in the log."""
        for assessment_id in self.acknowledged:
            self.tell(assessment_id)
        logged = {line.id for line in self.service.decisions() if isinstance(line, record.AssessmentRecord)}
        assert set(self.acknowledged) <= logged


@contextmanager
def witness(service: Service) -> Iterator[Witness]:
    """A witness of a service that is healthy at first; at the end, no worker was restarted."""
    with service.stub() as stub:
        one = Witness(service, stub)
        eventually(lambda: not one.sign_in(5.0).answer.degraded)
        assert not any(seen.causes for seen in one.several())
        yield one
        assert service.metric("riskd_worker_restarts_total") == 0


def causes(seen: list[Seen]) -> set[str]:
    """The causes for which it is degraded."""
    assert all(each.causes == seen[0].causes for each in seen), [each.causes for each in seen]
    return seen[0].causes


def gaps(seen: list[Seen]) -> set[tuple[str, str]]:
    """The gaps caused by failures of riskd."""
    return {(gap.source, gap.why) for each in seen for gap in each.answer.gaps if gap.why == "unavailable"}
