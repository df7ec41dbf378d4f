"""A worker dies under load: every answer is in log and store, and callers see no failure."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import grpc
import pytest

from riskd._proto.riskd.v1 import risk_pb2
from riskd.core import record
from tests.e2e.service import Service, attempt, eventually, serving

CLIENTS = 4
BEFORE, AFTER = 40, 40
"""Calls of each client before and after the worker's death."""
PATIENT = {"RISKD_SERVER__DEFAULT_TIMEOUT_MS": "5000", "RISKD_LOG__SLOW_MS": "5000"}
"""On a busy machine, slow writes are no failures."""


class Client:
    """Signs in with its own request ids, and retries until it gets an answer."""

    def __init__(self, service: Service, number: int) -> None:
        self._service = service
        self._number = number
        self.answered: dict[str, risk_pb2.AssessResponse] = {}
        self.tries = 0
        self.warm = Event()

    def run(self, died: Event) -> None:
        """Call before, during and after the worker's death."""
        after = 0
        with self._service.stub() as stub:
            while after < AFTER:
                name = f"{self._number}-{len(self.answered)}"
                request = attempt(subject=f"client-{self._number}", request_id=name)
                while name not in self.answered:
                    self.tries += 1
                    try:
                        self.answered[name] = stub.Assess(request, timeout=10, wait_for_ready=True)
                    except grpc.RpcError as error:
                        if error.code() is not grpc.StatusCode.UNAVAILABLE:
                            raise
                after += died.is_set()
                if len(self.answered) >= BEFORE:
                    self.warm.set()


def load(service: Service) -> list[Client]:
    """Run clients while a worker is killed."""
    clients, died = [Client(service, number) for number in range(CLIENTS)], Event()
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(client.run, died) for client in clients]
        for client in clients:
            client.warm.wait(20)
        counted = service.metric("riskd_assessments_total")
        os.kill(service.workers()[0], signal.SIGKILL)
        died.set()
        for future in running:
            future.result()
    assert counted >= CLIENTS * BEFORE
    assert service.metric("riskd_assessments_total") >= counted
    return clients


@pytest.mark.slow
def test_answered_calls_survive_a_killed_worker(tmp_path: Path) -> None:
    """Each answer is in the decision log and has its receipt, counters continue, and the service ends cleanly."""
    with serving(tmp_path, workers=2, settings=PATIENT) as service:
        clients = load(service)
        answers = [answer for client in clients for answer in client.answered.values()]
        ids = {answer.assessment_id for answer in answers}
        assert len(ids) == len(answers) >= CLIENTS * (BEFORE + AFTER)

        eventually(lambda: service.metric("riskd_workers_serving") == 2)
        assert service.metric("riskd_worker_restarts_total") == 1
        assert service.metric("riskd_failures_total") == 0, service.samples("riskd_failures_total")
        tries = sum(client.tries for client in clients)
        assert len(answers) - 2 * CLIENTS <= service.metric("riskd_assessments_total") <= tries

        with service.stub() as stub:
            for assessment_id in ids:
                told = risk_pb2.RecordOutcomeRequest(assessment_id=assessment_id)
                told.sign_in_abandoned.SetInParent()
                stub.RecordOutcome(told, timeout=5)
            repeated = stub.Assess(attempt(subject="client-0", request_id="0-0"), timeout=5)
        assert repeated == clients[0].answered["0-0"]
        assert service.stop() == 0
        decided = {
            line.id for line in service.decisions() if isinstance(line, record.AssessmentRecord | record.RepeatRecord)
        }
        settled = {line.assessment_id for line in service.decisions() if isinstance(line, record.OutcomeRecord)}
        assert ids <= decided
        assert ids == settled
