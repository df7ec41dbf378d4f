"""More calls than can be done: who is taken, in which order, and how the others are refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status.rpc_status import from_call
from msgspec.structs import replace

from riskd._proto.riskd.v1 import risk_pb2
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt, Outcome
from riskd.server.handlers import FAIR, Handlers, Lane, Limits
from tests.server.world import ANYWHERE, ASSESSMENT, Running, Taught, served

ASSESS = "riskd.v1.RiskService/Assess"
FEW = replace(ANYWHERE, max_concurrent_rpcs=4, queue_s=10.0)
Pending: TypeAlias = "grpc._CallFuture[risk_pb2.AssessResponse]"


class Brake:
    """Holds up the engine until it is let go; keeps the order of what it was asked."""

    def __init__(self, running: Running) -> None:
        self.order: list[str] = []
        self._held, self._go = threading.Event(), threading.Event()
        running.engine.answer = self._assess
        running.engine.record = self._record  # type: ignore[method-assign]  # as slow as an assessment

    def _pass(self, name: str) -> None:
        self.order.append(name)
        self._held.set()
        assert self._go.wait(10)

    def _assess(self, attempt: Attempt) -> Assessment:
        self._pass(attempt.subject)
        return ASSESSMENT

    def _record(self, outcome: Outcome, timeout: float) -> Taught:
        self._pass(outcome.assessment_id)
        return Taught(0)

    def hold(self, running: Running) -> Pending:
        """A call that is under way until `go`."""
        first = sign_in(running, "first")
        assert self._held.wait(5)
        return first

    def go(self) -> None:
        self._go.set()


def sign_in(running: Running, subject: str, timeout: float = 10.0) -> Pending:
    return running.stub.Assess.future(risk_pb2.AssessRequest(subject=subject), timeout=timeout)


def outcome(running: Running, name: str) -> grpc._CallFuture[risk_pb2.RecordOutcomeResponse]:
    return running.stub.RecordOutcome.future(risk_pb2.RecordOutcomeRequest(assessment_id=name), timeout=10)


def settled(running: Running, calls: int) -> None:
    """Wait until the server has heard of so many calls: those that were refused, and those that wait."""
    last: grpc.UnaryUnaryMultiCallable[bytes, bytes] = running.channel.unary_unary("/riskd.v1.RiskService/Nothing")
    with pytest.raises(grpc.RpcError):
        last(b"", timeout=5)
    time.sleep(0.05 + 0.002 * calls)


def counted(running: Running, *refusals: tuple[str, str]) -> None:
    """Refusals are counted a moment after they have left."""
    until = time.monotonic() + 5
    while len(running.meter.refusals) < len(refusals) and time.monotonic() < until:
        time.sleep(0.001)
    assert running.meter.refusals == [*refusals]


@pytest.fixture
def running() -> Iterator[Running]:
    with served(FEW) as running:
        yield running


def test_a_burst_is_taken_to_its_bound_and_the_rest_is_told_when_to_come_again(running: Running) -> None:
    """Of many calls at once, as many wait as may; each other one is refused at once with RetryInfo, a reason, and
    without a look at what it says. Those taken are answered in the order in which they came."""
    brake = Brake(running)
    first = brake.hold(running)
    names = [str(number) for number in range(20)]
    calls = [sign_in(running, name) for name in names]
    refused = [call for call in calls[FEW.max_concurrent_rpcs :] if call.exception(5)]
    assert len(refused) == 16
    for call in refused:
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        info, retry = ErrorInfo(), RetryInfo()
        details = from_call(call).details
        assert [details[0].Unpack(info), details[1].Unpack(retry)] == [True, True]
        assert info.reason == "OVERLOADED"
        assert retry.retry_delay.ToTimedelta().total_seconds() == 1
    assert not any(call.done() for call in (first, *calls[: FEW.max_concurrent_rpcs]))
    brake.go()
    assert all(call.result().assessment_id == ASSESSMENT.id for call in calls[: FEW.max_concurrent_rpcs])
    assert brake.order == ["first", *names[: FEW.max_concurrent_rpcs]]
    assert running.meter.refusals == [(ASSESS, "full")] * 16
    assert [code for *_, code in running.meter.codes].count("RESOURCE_EXHAUSTED") == 16


def test_what_has_waited_too_long_is_not_begun() -> None:
    """A call whose turn comes after `queue_s` is refused with RetryInfo instead of being answered late."""
    with served(replace(ANYWHERE, queue_s=0.05, standing_queue_s=0.05)) as running:
        brake = Brake(running)
        first = brake.hold(running)
        late = sign_in(running, "late")
        settled(running, 1)
        time.sleep(0.1)
        brake.go()
        assert first.result(5).assessment_id
        error = late.exception(5)
        assert error is not None
        assert late.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert from_call(late).details[1].Unpack(RetryInfo())
        assert brake.order == ["first"]
        counted(running, (ASSESS, "waited"))


@pytest.mark.parametrize("cancelled", [False, True], ids=["deadline", "cancelled"])
def test_nothing_is_computed_for_whoever_has_gone(running: Running, cancelled: bool) -> None:
    """A call whose deadline passed, or that was cancelled, while it waited is not begun, and is counted."""
    brake = Brake(running)
    first = brake.hold(running)
    gone = sign_in(running, "gone", timeout=10.0 if cancelled else 0.1)
    settled(running, 1)
    if cancelled:
        gone.cancel()
    else:
        assert gone.exception(5)
    settled(running, 1)
    brake.go()
    assert first.result(5).assessment_id
    last = sign_in(running, "last")
    assert last.result(5).assessment_id
    assert brake.order == ["first", "last"]
    counted(running, (ASSESS, "gone"))


def test_sign_ins_come_before_outcomes(running: Running) -> None:
    """Somebody waits at a sign-in; an outcome can be told a moment later, but comes to its turn, too."""
    brake = Brake(running)
    first, told = brake.hold(running), outcome(running, "outcome")
    settled(running, 1)
    calls = [sign_in(running, name) for name in "abc"]
    settled(running, 3)
    brake.go()
    assert told.result(5).taught_units == 0
    assert all(call.result(5).assessment_id for call in (first, *calls))
    assert brake.order == ["first", "a", "b", "c", "outcome"]


def test_no_lane_starves() -> None:
    """However many sign-ins wait, every eighth turn is an outcome's, if there is one."""
    order: list[str] = []
    held = threading.Event()
    with Handlers(1, "test", held_up_s=60.0) as pool:
        sign_ins, outcomes = (pool.lane(name, Limits(), Silent()) for name in ("sign-in", "outcome"))
        pool.submit(held.wait, 5)
        for _ in range(3 * FAIR):
            sign_ins.submit(order.append, "s")
        for _ in range(2):
            outcomes.submit(order.append, "o")
        held.set()
    assert "".join(order) == "sssssssosssssssossssssssss"


class Silent:
    """Counts nothing."""

    def queued(self, method: str, seconds: float) -> None:
        """Nothing."""

    def refused(self, method: str, why: str) -> None:
        """Nothing."""


def test_a_batch_yields_to_sign_ins(running: Running) -> None:
    """Between two of its attempts a batch lets those go first for whom somebody waits, and goes on when none is left;
    it is not stopped for ever either."""
    begun, held = threading.Event(), threading.Event()
    order: list[tuple[str, int]] = []

    def judge(attempt: Attempt) -> Assessment:
        if attempt.subject == "slow":
            begun.set()
            assert held.wait(5)
            order.append(("slow", sum(name == "b" for name, _ in order)))
        order.append((attempt.subject, 0))
        return ASSESSMENT

    running.engine.answer = judge
    slow = sign_in(running, "slow")
    assert begun.wait(5)
    batch = risk_pb2.BatchAssessRequest(requests=[risk_pb2.AssessRequest(subject="b")] * 40)
    answered = running.stub.BatchAssess.future(batch, timeout=10)
    time.sleep(0.2)
    held.set()
    slow.result(5)
    assert len(answered.result(5).results) == 40
    beside = dict(order)["slow"]
    assert beside <= 0.2 / 0.02


def lane(limits: Limits, clock: Callable[[], float], monkeypatch: pytest.MonkeyPatch) -> tuple[Handlers, Lane]:
    monkeypatch.setattr("riskd.server.handlers.monotonic", clock)
    pool = Handlers(1, "test", held_up_s=60.0)
    return pool, pool.lane("m", limits, Silent())


def test_a_queue_that_lasts_is_kept_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst may wait for `burst_s`. Once there has been a queue for that long, more comes than can be done, and only
    so many wait as are done in `standing_s`; when it has been empty for a moment, a burst may wait again."""
    now = 0.0
    held = threading.Semaphore(0)
    pool, queue = lane(Limits(calls=1000, burst_s=0.1, standing_s=0.01), lambda: now, monkeypatch)
    queue._usual_s = 0.002

    def fill() -> int:
        while queue.admits():
            queue.submit(held.acquire)
        return queue.waiting

    with pool:
        queue.submit(held.acquire)
        while queue.waiting:
            time.sleep(0.001)
        assert fill() == 51
        now = 0.2
        assert not queue.admits()
        for _ in range(46):
            queue._calls.pop()
        assert fill() == 6
        queue._calls.clear()
        assert queue.admits()
        assert fill() == 51
        queue._calls.clear()
        held.release(200)
