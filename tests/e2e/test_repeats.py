"""Requests that are repeated over the wire, to any worker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd.core import record
from tests.e2e.service import Service, attempt, serving

CALLERS, ROUNDS = 6, 15


@pytest.mark.slow
def test_the_same_request_from_many_callers_at_once(tmp_path: Path) -> None:
    """If many callers send one request to several workers at once, all get the same answer, and it is counted once."""
    with serving(tmp_path, workers=2, settings={"RISKD_SERVER__DEFAULT_TIMEOUT_MS": "5000"}) as service:
        together = Barrier(CALLERS)

        def call(_: int) -> list[bytes]:
            answers = []
            with service.stub() as stub:
                for number in range(ROUNDS):
                    together.wait(10)
                    request = attempt(subject="kim", request_id=f"r-{number}")
                    answers.append(stub.Assess(request, timeout=5).SerializeToString(deterministic=True))
            return answers

        with ThreadPoolExecutor(CALLERS) as pool:
            told = list(pool.map(call, range(CALLERS)))
        assert all(one == told[0] for one in told)
        assert service.metric("riskd_assessments_total") == ROUNDS
        lines = service.decisions()
        assert sum(isinstance(line, record.AssessmentRecord) for line in lines) == ROUNDS
        assert sum(isinstance(line, record.RepeatRecord) for line in lines) == ROUNDS * (CALLERS - 1)


def test_another_attempt_under_the_same_id(service: Service, tmp_path: Path) -> None:
    """Another attempt with a used id gets INVALID_ARGUMENT, in a batch only for itself, and the first answer stays
    valid."""
    asked = attempt(subject=tmp_path.name, request_id="once")
    other = attempt("192.0.2.9", subject=tmp_path.name, request_id="once")
    first = service.assess(asked)
    with pytest.raises(grpc.RpcError) as caught:
        service.assess(other)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    violations = BadRequest()
    assert any(detail.Unpack(violations) for detail in rpc_status.from_call(caught.value).details)
    assert [violation.field for violation in violations.field_violations] == ["request_id"]

    with service.stub() as stub:
        batch = stub.BatchAssess(risk_pb2.BatchAssessRequest(requests=[asked, other, asked]), timeout=5)
    assert [result.WhichOneof("result") for result in batch.results] == ["response", "error", "response"]
    assert batch.results[0].response == batch.results[2].response == first


def test_one_request_by_any_method(service: Service, tmp_path: Path) -> None:
    """Assess, BatchAssess and StreamAssess give the same answer to a repeated request, bit for bit, and it is logged as
    one assessment."""
    asked = [attempt(subject=f"{tmp_path.name} {number}", request_id="any") for number in range(3)]

    def single(stub: risk_pb2_grpc.RiskServiceStub) -> list[risk_pb2.AssessResponse]:
        return [stub.Assess(each, timeout=5) for each in asked]

    def batched(stub: risk_pb2_grpc.RiskServiceStub) -> list[risk_pb2.AssessResponse]:
        results = stub.BatchAssess(risk_pb2.BatchAssessRequest(requests=asked), timeout=5).results
        return [result.response for result in results]

    def streamed(stub: risk_pb2_grpc.RiskServiceStub) -> list[risk_pb2.AssessResponse]:
        sent = [risk_pb2.StreamAssessRequest(request=each) for each in [*asked, *asked]]
        results = [result for answer in stub.StreamAssess(iter(sent), timeout=5) for result in answer.results]
        assert [result.response for result in results[:3]] == [result.response for result in results[3:]]
        return [result.response for result in results[:3]]

    ways = (single, batched, streamed)
    before = sum(isinstance(line, record.AssessmentRecord) for line in service.decisions())
    with service.stub() as stub:
        for turn in range(3):
            for number, each in enumerate(asked):
                each.request_id = f"any {turn} {number}"
            first, *rest = [way(stub) for way in (*ways[turn:], *ways[:turn])]
            assert all(answer.assessment_id for answer in first)
            assert rest == [first, first]
    assert sum(isinstance(line, record.AssessmentRecord) for line in service.decisions()) == before + 9
