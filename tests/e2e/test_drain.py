"""A service is stopped under load: every started call is answered, and every answer is in log and store."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status.rpc_status import from_call
from msgspec import Struct

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd.adapters.lmdb_store import LmdbStore
from riskd.core import record
from tests.e2e.service import EAGER, Service, attempt, serving

CALLERS = 4
BEFORE = 30
"""Answers that each caller gets before the service is stopped."""


class Way(Struct, frozen=True):
    """How callers watch a service, and how their last call may end."""

    settings: dict[str, str]
    channel: tuple[tuple[str, str], ...]
    ends: frozenset[grpc.StatusCode]


HEALTH = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": "riskd.v1.RiskService"}}
PATIENT = {"RISKD_SERVER__DEFAULT_TIMEOUT_MS": "1000"}
"""Settings with a long timeout, so that a short stall of a busy machine degrades no answer."""
WAYS = {
    "heeding health": Way(
        {"RISKD_SERVER__LAME_DUCK_S": "1"},
        (("grpc.service_config", json.dumps(HEALTH)),),
        frozenset({grpc.StatusCode.UNAVAILABLE}),
    ),
    # gRPC cancels calls that arrive while it stops: https://github.com/grpc/grpc/issues/41785
    "not": Way({}, (), frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})),
}


def call(service: Service, number: int, warm: threading.Semaphore, way: Way) -> list[str]:
    """Sign in until no server answers, and return the ids of all answers. Unexpected errors are raised."""
    answered: list[str] = []
    with grpc.insecure_channel(service.address, (*EAGER, *way.channel)) as channel:
        stub = risk_pb2_grpc.RiskServiceStub(channel)
        while True:
            try:
                answer = stub.Assess(attempt(subject=f"{number} {len(answered)}"), timeout=10)
            except grpc.RpcError as error:
                if error.code() not in way.ends:
                    raise
                return answered
            assert not answer.degraded, answer.causes
            answered.append(answer.assessment_id)
            if len(answered) == BEFORE:
                warm.release()


def talk(service: Service, number: int, warm: threading.Semaphore, over: list[str]) -> list[str]:
    """Sign in on one stream after another until the service ends one for good, and return the ids of all answers."""
    answered: list[str] = []

    def requests() -> Iterator[risk_pb2.StreamAssessRequest]:
        for sent in count():
            yield risk_pb2.StreamAssessRequest(request=attempt(subject=f"{number} {sent}"))

    with grpc.insecure_channel(service.address, EAGER) as channel:
        try:
            for answer in risk_pb2_grpc.RiskServiceStub(channel).StreamAssess(requests(), timeout=60):
                for result in answer.results:
                    assert not result.response.degraded, result.response.causes
                    answered.append(result.response.assessment_id)
                    if len(answered) == BEFORE:
                        warm.release()
        except grpc.RpcError as error:
            info, status = ErrorInfo(), from_call(error)
            over.append(info.reason if status and status.details[0].Unpack(info) else error.code().name)
        return answered


@pytest.mark.slow
def test_sigterm_ends_streams_and_loses_nothing(tmp_path: Path) -> None:
    """At SIGTERM busy streams end with STREAM_OVER, the log has exactly what was answered, and the exit code is 0."""
    over: list[str] = []
    with serving(tmp_path, workers=2, settings=PATIENT) as service, ThreadPoolExecutor(CALLERS) as pool:
        warm = threading.Semaphore(0)
        streams = [pool.submit(talk, service, number, warm, over) for number in range(CALLERS)]
        for _ in streams:
            assert warm.acquire(timeout=30)
        assert service.stop() == 0
        answered = [each for one in streams for each in one.result()]
        assert over == ["STREAM_OVER"] * CALLERS
        assert len(answered) == len(set(answered)) >= CALLERS * BEFORE
        assert {line.id for line in service.decisions() if isinstance(line, record.AssessmentRecord)} == set(answered)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_sigterm_under_load_loses_nothing(way: Way, tmp_path: Path) -> None:
    """At SIGTERM callers are answered until new calls are refused; log and store have exactly what was answered, and
    the exit code is 0."""
    with serving(tmp_path, workers=2, settings=PATIENT | way.settings) as service, ThreadPoolExecutor(CALLERS) as pool:
        warm = threading.Semaphore(0)
        calls = [pool.submit(call, service, number, warm, way) for number in range(CALLERS)]
        for _ in calls:
            assert warm.acquire(timeout=30)
        assert service.stop() == 0
        answered = [each for one in calls for each in one.result()]
        assert len(answered) == len(set(answered)) >= CALLERS * BEFORE
        assert {line.id for line in service.decisions() if isinstance(line, record.AssessmentRecord)} == set(answered)
    store = LmdbStore(tmp_path / "store")
    try:
        now = 0.0
        found = [any(key.endswith(b"R") for key in store.held(bytes.fromhex(one[:16]), now, 99)) for one in answered]
    finally:
        store.close()
    assert all(found)
