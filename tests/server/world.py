"""A served RiskService, with an engine and a meter that keep what they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

import grpc
from msgspec import Struct

from riskd._proto.riskd.v1 import risk_pb2_grpc
from riskd.core.assessment import Assessment, Reason
from riskd.core.attempt import Attempt, Outcome, SecurityEvent
from riskd.core.context import Missing
from riskd.core.errors import Problem, UnknownAssessment
from riskd.core.requirement import Requirement, Terms, Tier
from riskd.engine import Engine
from riskd.engine.reported import Recorded
from riskd.server.calls.boundary import Boundary
from riskd.server.grpc_server import Options, Service, build_server
from riskd.server.identity.guard import Guard

ASSESSMENT = Assessment(
    id="0" * 32,
    score=0.25,
    level="medium",
    requirement=Requirement(Tier.STEP_UP, Terms(2, ("phr",), 300, (("hwk",), ("pwd", "otp"))), satisfied=False),
    reasons=(Reason("NEW_DEVICE", 1.5, "This device is new"),),
    gaps=(Missing("behaviour", "not_sent"),),
    coverage=0.9,
    causes=(),
    next_signals=("behaviour",),
    release="r1",
    model="starter",
    valid_until=1_800_000_000.5,
)


ANYWHERE = Options(address="127.0.0.1:0", queue_s=20.0, standing_queue_s=20.0)


class Left:
    """A call context with this many seconds left."""

    def __init__(self, seconds: float = 10.0) -> None:
        self.seconds = seconds

    def time_remaining(self) -> float:
        return self.seconds

    def is_active(self) -> bool:
        return True


class FakeEngine:
    """Keeps what it was asked; `answer` may raise."""

    def __init__(self) -> None:
        self.attempts: list[tuple[Attempt, float]] = []
        self.outcomes: list[tuple[Outcome, float]] = []
        self.events: list[tuple[SecurityEvent, float]] = []
        self.callers: list[str] = []
        """The caller that reported each event."""
        self.answer: Callable[[Attempt], Assessment] = lambda _: ASSESSMENT

    def hold(self, which: Callable[[Attempt], bool]) -> tuple[Event, Event]:
        """Let these attempts wait. The first event says that one has begun, the second lets them go on."""
        begun, on = Event(), Event()

        def answer(attempt: Attempt) -> Assessment:
            if which(attempt):
                begun.set()
                assert on.wait(20)
            return ASSESSMENT

        self.answer = answer
        return begun, on

    def assess(self, attempt: Attempt, timeout: float) -> Assessment:
        self.attempts.append((attempt, timeout))
        return self.answer(attempt)

    def record(self, outcome: Outcome, timeout: float) -> Recorded:
        self.outcomes.append((outcome, timeout))
        if outcome.assessment_id != ASSESSMENT.id:
            raise UnknownAssessment([Problem("assessment_id", "no such assessment")])
        return Recorded(outcome.assessment_id, 3)

    def record_event(self, event: SecurityEvent, timeout: float, caller: str) -> None:
        self.events.append((event, timeout))
        self.callers.append(caller)


class ListMeter:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.codes: list[tuple[str, str, str]] = []
        self.refusals: list[tuple[str, str]] = []
        self.messages: list[tuple[str, int, int]] = []

    def started(self, method: str, kind: str) -> None:
        self.calls.append((method, kind))

    def exchanged(self, method: str, received: int, sent: int) -> None:
        self.messages.append((method, received, sent))

    def queued(self, method: str, seconds: float) -> None:
        assert seconds >= 0

    def refused(self, method: str, why: str) -> None:
        self.refusals.append((method, why))

    def handled(self, method: str, kind: str, code: str, seconds: float) -> None:
        assert 0 <= seconds < 60
        self.codes.append((method, kind, code))


class Running(Struct, frozen=True):
    engine: FakeEngine
    meter: ListMeter
    service: Service
    channel: grpc.Channel
    stub: risk_pb2_grpc.RiskServiceStub


@contextmanager
def served(
    options: Options = ANYWHERE, behind: Engine | None = None, *, guard: Guard | None = None
) -> Iterator[Running]:
    """A server on a free loopback port, and a channel to it; `behind` it an engine, or one that is made up."""
    engine, meter = FakeEngine(), ListMeter()
    service = build_server(behind or engine, Boundary(meter, guard), options)
    service.server.start()
    with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        yield Running(engine, meter, service, channel, risk_pb2_grpc.RiskServiceStub(channel))
    service.server.stop(0).wait(10)
