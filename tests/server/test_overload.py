"""Overload: which calls are admitted, in which order they are run, and how the rest are refused."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from random import Random
from typing import TypeAlias

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status.rpc_status import from_call
from msgspec.structs import replace

from riskd._proto.riskd.v1 import risk_pb2
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt
from riskd.server.calls.handlers import FAIR, Handlers, Lane, Limits, Turns, take_turn
from riskd.server.faults import Overloaded
from tests.server.brake import Brake, settled
from tests.server.world import ANYWHERE, ASSESSMENT, Running, served

ASSESS = "riskd.v1.RiskService/Assess"
FEW = replace(ANYWHERE, max_concurrent_rpcs=4, queue_s=10.0)
Pending: TypeAlias = "grpc._CallFuture[risk_pb2.AssessResponse]"


def sign_in(running: Running, subject: str, timeout: float = 10.0) -> Pending:
    return running.stub.Assess.future(risk_pb2.AssessRequest(subject=subject), timeout=timeout)


def outcome(running: Running, name: str) -> grpc._CallFuture[risk_pb2.RecordOutcomeResponse]:
    return running.stub.RecordOutcome.future(risk_pb2.RecordOutcomeRequest(assessment_id=name), timeout=10)


def counted(running: Running, *refusals: tuple[str, str]) -> None:
    """Wait for these refusals, which are counted just after they are sent."""
    until = time.monotonic() + 5
    while len(running.meter.refusals) < len(refusals) and time.monotonic() < until:
        time.sleep(0.001)
    assert running.meter.refusals == [*refusals]


@pytest.fixture
def running() -> Iterator[Running]:
    with served(FEW) as running:
        yield running


def test_calls_beyond_the_queue_limit_are_refused_with_retry_info(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls beyond the queue's bound are refused at once with RetryInfo and a reason, without being parsed; admitted
    ones are answered in order."""
    brake = Brake(running, monkeypatch)
    names = [str(number) for number in range(20)]
    taken = []
    for name in names[: FEW.max_concurrent_rpcs]:
        taken.append(sign_in(running, name))
        settled(running)  # calls made at once may arrive in any order
    calls = [sign_in(running, name) for name in names[FEW.max_concurrent_rpcs :]]
    for call in calls:
        assert call.exception(5)
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        info, retry = ErrorInfo(), RetryInfo()
        details = from_call(call).details
        assert [details[0].Unpack(info), details[1].Unpack(retry)] == [True, True]
        assert info.reason == "OVERLOADED"
        assert retry.retry_delay.ToTimedelta().total_seconds() == 1
    assert not any(call.done() for call in taken)
    brake.go()
    assert all(call.result(5).assessment_id == ASSESSMENT.id for call in taken)
    assert brake.order == names[: FEW.max_concurrent_rpcs]
    assert running.meter.refusals == [(ASSESS, "full")] * 16
    assert [code for *_, code in running.meter.codes].count("RESOURCE_EXHAUSTED") == 16
    assert len(running.meter.calls) == len(running.meter.codes)


def test_a_call_that_waited_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that has waited longer than `queue_s` is refused with RetryInfo instead of being answered late."""
    with served(replace(ANYWHERE, queue_s=0.05, standing_queue_s=0.05)) as running:
        brake = Brake(running, monkeypatch)
        late = sign_in(running, "late")
        settled(running)
        time.sleep(0.1)
        brake.go()
        error = late.exception(5)
        assert error is not None
        assert late.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert from_call(late).details[1].Unpack(RetryInfo())
        assert brake.order == []
        counted(running, (ASSESS, "waited"))


@pytest.mark.parametrize("cancelled", [False, True], ids=["deadline", "cancelled"])
def test_nothing_is_computed_for_a_caller_that_has_gone(
    running: Running, cancelled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that was cancelled, or whose deadline passed, in the queue is not run, and is counted."""
    brake = Brake(running, monkeypatch)
    gone = sign_in(running, "gone", timeout=10.0 if cancelled else 0.5)
    settled(running)
    if cancelled:
        gone.cancel()
    else:
        assert gone.exception(5)
    settled(running)
    brake.go()
    last = sign_in(running, "last")
    assert last.result(5).assessment_id
    assert brake.order == ["last"]
    counted(running, (ASSESS, "gone"))


def test_sign_ins_come_before_outcomes(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sign-ins are run before outcomes that came earlier."""
    brake = Brake(running, monkeypatch)
    told = outcome(running, "outcome")
    settled(running)
    calls = [sign_in(running, name) for name in "abc"]
    settled(running)
    brake.go()
    assert told.result(5).taught_units == 0
    assert all(call.result(5).assessment_id for call in calls)
    assert brake.order == ["a", "b", "c", "outcome"]


def test_no_lane_starves() -> None:
    """However many sign-ins wait, every eighth turn goes to an outcome if one waits."""
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


def test_no_lane_starves_behind_another() -> None:
    """Several lanes behind the sign-ins take the eighth turns in rotation."""
    order: list[str] = []
    held = threading.Event()
    with Handlers(1, "test", held_up_s=60.0) as pool:
        lanes = [pool.lane(name, Limits(), Silent()) for name in "soe"]
        pool.submit(held.wait, 5)
        for lane, name in zip(lanes, "soe", strict=True):
            for _ in range(4 * FAIR):
                lane.submit(order.append, name)
        held.set()
    assert "".join(order)[: 4 * FAIR] == "ssssssse" + "ssssssso" + "ssssssse" + "ssssssso"


class Silent:
    """A meter that counts nothing."""

    def queued(self, method: str, seconds: float) -> None:
        """Count nothing."""

    def refused(self, method: str, why: str) -> None:
        """Count nothing."""


def test_a_batch_yields_to_sign_ins(running: Running) -> None:
    """Between two of its attempts, a batch lets waiting sign-ins go first, for a bounded time."""
    batched, begun = threading.Event(), threading.Event()
    order: list[str] = []

    def judge(attempt: Attempt) -> Assessment:
        if attempt.subject == "slow":
            begun.set()
            time.sleep(0.2)
        elif not order:
            batched.set()
            assert begun.wait(5)
        order.append(attempt.subject)
        return ASSESSMENT

    running.engine.answer = judge
    batch = risk_pb2.BatchAssessRequest(requests=[risk_pb2.AssessRequest(subject="b")] * 40)
    answered = running.stub.BatchAssess.future(batch, timeout=10)
    assert batched.wait(5)
    assert sign_in(running, "slow").result(5).assessment_id
    assert len(answered.result(5).results) == 40
    assert order.index("slow") <= 1 + 0.2 / 0.02


def lane(limits: Limits, clock: Callable[[], float], monkeypatch: pytest.MonkeyPatch) -> Lane:
    """A lane without a thread."""
    monkeypatch.setattr("riskd.server.calls.handlers.monotonic", clock)
    monkeypatch.setattr("riskd.server.calls.handlers._TURN.ended", clock())
    return Turns().lane("m", limits, Silent())


def test_after_a_burst_the_queue_limit_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst may wait for `burst_s`. After more than that, only `standing_s` of work may wait, even if the queue was
    empty for a moment, until there has been time for everything that came."""
    now = 0.0
    queue = lane(Limits(calls=1000, burst_s=0.1, standing_s=0.01), lambda: now, monkeypatch)
    queue._mean_s = 1 / 512

    def fill() -> int:
        while queue.admits():
            queue.submit(print)
        return len(queue.calls)

    assert fill() == 52
    queue.calls.clear()
    assert fill() == 6
    for _ in range(1000):
        assert not queue.admits()
    queue.calls.clear()
    now = 0.35
    assert fill() == 6
    queue.calls.clear()
    now = 0.85
    assert fill() == 52
    queue.calls.clear()


def test_calls_that_are_reset_are_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that are accepted, and reset before their message has arrived, leave as much room as if they had not
    come."""
    queue = lane(Limits(calls=1000, burst_s=0.1, standing_s=0.01), lambda: 0.0, monkeypatch)
    queue._mean_s = 1 / 512
    assert all(queue.admits() for _ in range(1000))
    while queue.admits():
        queue.submit(print)
    assert len(queue.calls) == 52


@pytest.mark.parametrize(("load", "most"), [(0.8, 0.0), (3.0, 0.7)], ids=["below capacity", "three times capacity"])
def test_calls_are_refused_by_the_arrival_rate(load: float, most: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below capacity no call is refused, even after an overload; at three times capacity the thread is never idle, and
    no admitted call waits longer than `standing_s`."""
    now, free, random = 0.0, 0.0, Random(7)
    queue = lane(Limits(calls=1000, burst_s=0.1, standing_s=0.005), lambda: now, monkeypatch)
    queue._mean_s = 0.001
    refused, waits, idle = 0, list[float](), 0.0
    for number in range(40_000):
        rate = 3000.0 if number < 3_000 else 1000.0 * load
        now += random.expovariate(rate)
        while queue.calls and free <= now:
            _, since = queue.calls.popleft()
            free = max(free, since) + 0.001
        settled = number > 10_000
        if queue.admits():
            waits += [max(0.0, free - now) + 0.001 * len(queue.calls)] * settled
            idle += max(0.0, now - free) * settled
            queue.submit(print)
        else:
            refused += settled
    assert refused <= most * 30_000
    assert load < 1 or (max(waits) <= 0.007 and idle < 0.01)


class Flooded:
    """A lane that takes a millisecond for each call, and callers that arrive by chance."""

    def __init__(self, rates: Mapping[str, float], monkeypatch: pytest.MonkeyPatch, seed: int = 7) -> None:
        self.now, self._free, self._rates, self._random = 0.0, 0.0, rates, Random(seed)
        limits = Limits(calls=1000, burst_s=0.1, standing_s=0.005)
        self.lane = lane(limits, lambda: self.now, monkeypatch)
        self.asked, self.refused, self.waits, self.idle = Counter[str](), Counter[str](), list[float](), 0.0

    def run(self, seconds: float) -> None:
        """Let them come for so long, and count anew."""
        self.asked, self.refused, self.waits, self.idle = Counter(), Counter(), [], 0.0
        until, names, rates = self.now + seconds, [*self._rates], [*self._rates.values()]
        while self.now < until:
            self.now += self._random.expovariate(sum(rates))
            while self.lane.calls and self._free <= self.now:
                _, since = self.lane.calls.popleft()
                self._free = max(self._free, since) + 0.001
            (name,) = self._random.choices(names, rates)
            self.asked[name] += 1
            if self.lane.admits(name):
                self.waits.append(max(0.0, self._free - self.now) + 0.001 * len(self.lane.calls))
                self.idle += max(0.0, self.now - self._free)
                self.lane.submit(print)
            else:
                self.refused[name] += 1


@pytest.mark.parametrize(
    "quiet", [{"b": 20.0}, {"b": 300.0}, {f"b{number}": 20.0 for number in range(20)}], ids=["few", "many", "twenty"]
)
def test_a_flood_of_one_caller_refuses_no_other(quiet: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """While one caller asks for several times what the lane can do, others that ask for less than their share are not
    refused, all wait a few milliseconds, and the lane is never idle: what they leave is the flood's."""
    flooded = Flooded({"a": 4000.0, **quiet}, monkeypatch)
    flooded.run(2.0)
    flooded.run(6.0)
    assert sum(flooded.refused[name] for name in quiet) <= 0.001 * sum(flooded.asked[name] for name in quiet)
    assert max(flooded.waits) < 0.02
    assert flooded.idle < 0.01
    assert flooded.asked["a"] - flooded.refused["a"] > 6.0 * (950 - sum(quiet.values()))


def test_a_flood_that_is_refused_has_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another caller may wait behind a flood, also while all calls of the flood are refused."""
    queue = lane(Limits(calls=1000, burst_s=0.1, standing_s=0.01), lambda: 0.0, monkeypatch)
    queue._mean_s = 1 / 512
    while queue.admits("flood"):
        queue.submit(print)
    for _ in range(42):
        queue.calls.popleft()
    assert not any(queue.admits("flood") for _ in range(100))
    assert queue.admits("another")


@pytest.mark.parametrize("rate", [600.0, 1500.0])
def test_two_floods_leave_each_half(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """If two callers ask for more than half, each gets as much as the other, however much more one of them asks for."""
    flooded = Flooded({"a": 6000.0, "b": rate}, monkeypatch)
    flooded.run(2.0)
    flooded.run(6.0)
    answered = {name: flooded.asked[name] - flooded.refused[name] for name in "ab"}
    assert max(answered.values()) < 1.2 * min(answered.values())


@pytest.mark.parametrize("rate", [800.0, 1200.0, 4000.0])
def test_a_caller_alone_has_no_share(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls of one caller are admitted as if callers had no names."""
    named, nameless = Flooded({"a": rate}, monkeypatch), Flooded({"": rate}, monkeypatch)
    for flooded in (named, nameless):
        monkeypatch.setattr("riskd.server.calls.handlers.monotonic", lambda flooded=flooded: flooded.now)
        flooded.run(4.0)
    assert (named.refused["a"], named.waits) == (nameless.refused[""], nameless.waits)


def test_callers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """During an overload a caller is remembered for a moment after its last call, and nobody after the overload."""
    now = 0.0
    queue = lane(Limits(calls=1000, burst_s=0.1, standing_s=0.005), lambda: now, monkeypatch)
    for number in range(5000):
        now += 0.0001
        queue.admits("flood")
        queue.admits(f"caller {number}")
        assert len(queue._shares) < 1100, "those of the last 0.1 s"
    now += 10.0
    queue.admits("flood")
    assert len(queue._shares) == 0


def test_the_estimate_follows_how_long_calls_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many calls may wait as take `burst_s`, by how long calls took lately. Pauses between calls, and waiting behind
    others, are not taken for work, and a single long call not for a trend."""
    now = 0.0
    queue = lane(Limits(calls=1000, burst_s=0.1, standing_s=0.1), lambda: now, monkeypatch)

    def room(took: float, times: int, calls: int) -> int:
        """How many calls may wait after so many more, at so many times, that took so long each."""
        nonlocal now

        def call() -> None:
            nonlocal now
            take_turn()
            now += took

        for _ in range(times):
            now += 1.0
            for _ in range(calls):
                queue.submit(call)
            while queue.calls:
                queue.run_first()
        now += 1.0
        while queue.admits():
            queue.submit(print)
        most = len(queue.calls)
        queue.calls.clear()
        return most

    assert room(0.02, 100, 3) == pytest.approx(6, abs=1)
    assert room(0.002, 100, 3) == pytest.approx(51, abs=2)
    assert room(9.0, 1, 1) > 40


def test_late_calls_reduce_admission(monkeypatch: pytest.MonkeyPatch) -> None:
    """If admitted calls wait longer than estimated, the estimate rises until admitted calls are answered in time."""
    now = 0.0
    answered, refused = list[bool](), list[tuple[str, str]]()
    monkeypatch.setattr(Silent, "refused", lambda _, *said: refused.append(said))
    queue = lane(Limits(calls=1000, burst_s=0.1, standing_s=0.005), lambda: now, monkeypatch)

    def call() -> None:
        with suppress(Overloaded):
            take_turn()
            answered.append(True)

    for _ in range(400):
        for _ in range(20):
            if queue.admits():
                queue.submit(call)
        now += 0.05
        queue.run_first()
    assert refused.count(("m", "waited")) < 100
    assert len(answered) > 300
