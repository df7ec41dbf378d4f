"""One method per RPC: translate, call the engine, translate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from riskd._proto.riskd.v1 import risk_pb2
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt, Outcome, SecurityEvent
from riskd.core.errors import Problem, RiskdError
from riskd.server import translate
from riskd.server.faults import CallerGone, DeadlinePassed, InvalidRequest
from riskd.server.status import status

BATCH: Final = 500
"""Attempts in a batch: some 0.2 s of one worker, which sign-ins beside it have to share."""


class Recorded(Protocol):
    """What an outcome did."""

    @property
    def taught(self) -> int:
        """Units that the assessment has taught in total."""
        ...


class Engine(Protocol):
    """What the RPCs need of the engine. Safe to share between threads."""

    def assess(self, attempt: Attempt, timeout: float) -> Assessment:
        """Assess within `timeout` seconds. Raises InvalidAttempt."""
        ...

    def record(self, outcome: Outcome, timeout: float) -> Recorded:
        """Learn within `timeout` seconds. Raises InvalidOutcome, UnknownAssessment, Unavailable."""
        ...

    def record_event(self, event: SecurityEvent, timeout: float, caller: str) -> None:
        """Remember within `timeout` seconds. Raises InvalidEvent, Unavailable."""
        ...


class Call(Protocol):
    """What the RPCs need of grpc.ServicerContext."""

    def time_remaining(self) -> float:
        """Seconds until the caller's deadline, 0 once it has passed, some centuries where there is none."""
        ...

    def is_active(self) -> bool:
        """Whether anybody still waits for the answer."""
        ...


def allowed(call: Call, most: float, margin: float = 0.0) -> float:
    """Seconds that the caller allows, less what is left for the answer, and `most` at most. Raises DeadlinePassed."""
    remaining = call.time_remaining() - margin
    if remaining <= 0:
        raise DeadlinePassed([Problem("deadline", "passed before the work was begun", "allow more time")])
    return min(remaining, most)


def _go_on() -> None:
    """Give way to nobody."""


class RiskServicer:
    """RiskService over an engine."""

    def __init__(self, engine: Engine, timeout: float, give_way: Callable[[], None] = _go_on) -> None:
        """`timeout`: seconds for one attempt, outcome or event, where the caller's deadline leaves as much. `give_way`
        lets those go first for whom somebody waits."""
        self._engine = engine
        self._give_way = give_way
        self._timeout = timeout
        self._answers = translate.Answers()

    def assess(self, request: risk_pb2.AssessRequest, call: Call) -> risk_pb2.AssessResponse:
        """Assess one attempt."""
        timeout = allowed(call, self._timeout)
        return self._answers.response(self._engine.assess(translate.attempt(request), timeout))

    def assess_aside(self, request: risk_pb2.AssessRequest, call: Call) -> risk_pb2.AssessResponse:
        """Assess one of many for which nobody waits."""
        self._give_way()
        return self.assess(request, call)

    def batch_assess(self, request: risk_pb2.BatchAssessRequest, call: Call) -> risk_pb2.BatchAssessResponse:
        """Assess several attempts in order; a refused one fails no other. Raises CallerGone, DeadlinePassed: those that
        came before are counted."""
        count = len(request.requests)
        if not 0 < count <= BATCH:
            raise InvalidRequest([Problem("requests", f"{count} attempts", f"send 1 to {BATCH}")])
        results = []
        for each in request.requests:
            self._give_way()
            if not call.is_active():
                raise CallerGone([Problem("call", "its caller has gone", "send what has no answer again")])
            results.append(self._result(each, allowed(call, self._timeout)))
        return risk_pb2.BatchAssessResponse(results=results)

    def record_outcome(self, request: risk_pb2.RecordOutcomeRequest, call: Call) -> risk_pb2.RecordOutcomeResponse:
        """Learn from what happened after an assessment."""
        recorded = self._engine.record(translate.outcome(request), allowed(call, self._timeout))
        return risk_pb2.RecordOutcomeResponse(taught_units=recorded.taught)

    def record_security_event(
        self, request: risk_pb2.RecordSecurityEventRequest, call: Call, caller: str = ""
    ) -> risk_pb2.RecordSecurityEventResponse:
        """Remember what another party says of a subject. `caller`: the name of who tells it, where it is known."""
        self._engine.record_event(translate.security_event(request), allowed(call, self._timeout), caller)
        return risk_pb2.RecordSecurityEventResponse()

    def _result(self, request: risk_pb2.AssessRequest, timeout: float) -> risk_pb2.BatchAssessResult:
        try:
            assessment = self._engine.assess(translate.attempt(request), timeout)
        except RiskdError as error:
            return risk_pb2.BatchAssessResult(error=status(error))
        return risk_pb2.BatchAssessResult(response=self._answers.response(assessment))
