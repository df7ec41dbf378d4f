"""RiskService: one method per RPC. Each translates the request, calls the engine, and translates the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from riskd._proto.riskd.v1 import risk_pb2
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt, Outcome, SecurityEvent
from riskd.core.errors import Problem, RiskdError
from riskd.engine.reported import Recorded
from riskd.server import translate
from riskd.server.faults import CallerGone, DeadlinePassed, InvalidRequest
from riskd.server.status import status

BATCH: Final = 500
"""Most attempts in a batch. They take one worker about 0.2 s, during which single sign-ins compete for the CPU."""


class Engine(Protocol):
    """The part of the engine that the RPCs use. Thread-safe."""

    def assess(self, attempt: Attempt, timeout: float) -> Assessment:
        """Assess within `timeout` seconds. Raises InvalidAttempt."""
        ...

    def record(self, outcome: Outcome, timeout: float) -> Recorded:
        """Learn from an outcome within `timeout` seconds. Raises InvalidOutcome, UnknownAssessment, Unavailable."""
        ...

    def record_event(self, event: SecurityEvent, timeout: float, caller: str) -> None:
        """Store an event within `timeout` seconds. `caller`: who reported it. Raises InvalidEvent, Unavailable."""
        ...


class Call(Protocol):
    """The part of grpc.ServicerContext that the RPCs use."""

    def time_remaining(self) -> float:
        """Seconds until the caller's deadline; 0 once it has passed, centuries if the caller set none."""
        ...

    def is_active(self) -> bool:
        """Whether the caller still waits for the answer."""
        ...


def time_left(call: Call, limit: float, margin: float = 0.0) -> float:
    """Seconds that the work may take: what is left of the caller's deadline less `margin`, at most `limit`.

    `margin`: seconds reserved for sending the answer. Raises DeadlinePassed when no time is left.
    """
    remaining = call.time_remaining() - margin
    if remaining <= 0:
        raise DeadlinePassed([Problem("deadline", "passed before the work started", "allow more time")])
    return min(remaining, limit)


def _no_wait() -> None:
    """Start at once."""


class RiskServicer:
    """RiskService over an engine."""

    def __init__(self, engine: Engine, timeout: float, give_way: Callable[[], None] = _no_wait) -> None:
        """`timeout`: seconds for one attempt, outcome or event; the caller's deadline can shorten it. `give_way` is
        called before each attempt of a batch or a stream, and may wait until waiting single calls were answered."""
        self._engine = engine
        self._give_way = give_way
        self._timeout = timeout
        self._answers = translate.Answers()

    def assess(self, request: risk_pb2.AssessRequest, call: Call) -> risk_pb2.AssessResponse:
        """Assess one attempt."""
        timeout = time_left(call, self._timeout)
        return self._answers.response(self._engine.assess(translate.attempt(request), timeout))

    def assess_streamed(self, request: risk_pb2.AssessRequest, call: Call) -> risk_pb2.AssessResponse:
        """Assess one attempt of a stream, after single calls that wait."""
        self._give_way()
        return self.assess(request, call)

    def batch_assess(self, request: risk_pb2.BatchAssessRequest, call: Call) -> risk_pb2.BatchAssessResponse:
        """Assess several attempts in order. An invalid one gets its own error and does not fail the others.

        Raises CallerGone and DeadlinePassed between two attempts; the attempts before are counted.
        """
        count = len(request.requests)
        if not 0 < count <= BATCH:
            raise InvalidRequest([Problem("requests", f"has {count} attempts", f"send 1 to {BATCH}")])
        results = []
        for each in request.requests:
            self._give_way()
            if not call.is_active():
                raise CallerGone([Problem("call", "the caller is gone", "send the attempts again that have no answer")])
            results.append(self._result(each, time_left(call, self._timeout)))
        return risk_pb2.BatchAssessResponse(results=results)

    def record_outcome(self, request: risk_pb2.RecordOutcomeRequest, call: Call) -> risk_pb2.RecordOutcomeResponse:
        """Learn from what happened after an assessment."""
        recorded = self._engine.record(translate.outcome(request), time_left(call, self._timeout))
        return risk_pb2.RecordOutcomeResponse(taught_units=recorded.taught)

    def record_security_event(
        self, request: risk_pb2.RecordSecurityEventRequest, call: Call, caller: str = ""
    ) -> risk_pb2.RecordSecurityEventResponse:
        """Store what another party reports about a subject. `caller`: the name of the reporter, '' if unknown."""
        self._engine.record_event(translate.security_event(request), time_left(call, self._timeout), caller)
        return risk_pb2.RecordSecurityEventResponse()

    def _result(self, request: risk_pb2.AssessRequest, timeout: float) -> risk_pb2.BatchAssessResult:
        try:
            assessment = self._engine.assess(translate.attempt(request), timeout)
        except RiskdError as error:
            return risk_pb2.BatchAssessResult(error=status(error))
        return risk_pb2.BatchAssessResult(response=self._answers.response(assessment))
