"""A service is stopped under load: whatever was begun is answered, and what was answered is found."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from riskd.adapters.lmdb_store import LmdbStore
from riskd.core import record
from tests.e2e.service import Service, attempt, serving

CALLERS = 4
BEFORE = 30
"""Answers to each caller before the service is told to stop."""


def call(service: Service, number: int, warm: threading.Semaphore) -> list[str]:
    """Sign in until nobody answers; the ids of all answers. Any other error than that is raised."""
    answered: list[str] = []
    with service.stub() as stub:
        while True:
            try:
                answer = stub.Assess(attempt(subject=f"{number} {len(answered)}"), timeout=10)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                return answered
            assert not answer.degraded
            answered.append(answer.assessment_id)
            if len(answered) == BEFORE:
                warm.release()


@pytest.mark.slow
def test_sigterm_under_load_loses_nothing(tmp_path: Path) -> None:
    """Callers are answered until new calls are refused as UNAVAILABLE; log and store have exactly what was answered,
    and the exit code is 0."""
    with serving(tmp_path, workers=2) as service, ThreadPoolExecutor(CALLERS) as pool:
        warm = threading.Semaphore(0)
        calls = [pool.submit(call, service, number, warm) for number in range(CALLERS)]
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
