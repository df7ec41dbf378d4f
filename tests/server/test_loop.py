"""One thread receives calls and runs them: received calls are read before the next is run, and nothing blocks it for
long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import grpc
import pytest
from msgspec.structs import replace

from riskd._proto.riskd.v1 import risk_pb2
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt
from riskd.server.calls.handlers import SPARES
from riskd.server.calls.loop import EVENTS
from tests.faults.floods import Peer, calls
from tests.server.world import ANYWHERE, ASSESSMENT, Running, served

Pending: TypeAlias = "grpc._CallFuture[risk_pb2.AssessResponse]"
HELD_UP = replace(ANYWHERE, timeout_s=0.1)
PATIENT = replace(ANYWHERE, timeout_s=60.0)
"""With this timeout no thread counts as held up."""


@contextmanager
def held(running: Running, *names: str) -> Iterator[Callable[[str], Pending]]:
    """Calls of these subjects stay in the engine until the end. Yields a function that makes a call and waits until the
    engine has it."""
    begun, go = {name: threading.Event() for name in names}, threading.Event()

    def answer(attempt: Attempt) -> Assessment:
        if attempt.subject in names:
            begun[attempt.subject].set()
            assert go.wait(10)
        return ASSESSMENT

    def call(name: str) -> Pending:
        made = sign_in(running, name)
        assert begun[name].wait(5)
        return made

    running.engine.answer = answer
    try:
        yield call
    finally:
        go.set()


def sign_in(running: Running, name: str) -> Pending:
    return running.stub.Assess.future(risk_pb2.AssessRequest(subject=name), timeout=10)


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name in ("watch", "spare")}


def ended(name: str) -> None:
    """Wait until no thread has this name."""
    until = time.monotonic() + 10
    while any(thread.name == name for thread in threads()):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_stuck_thread_gets_a_spare() -> None:
    """While calls hang, spare threads answer later ones, up to their number; in the end the first are answered, too."""
    with served(HELD_UP) as running:
        names = [str(number) for number in range(SPARES)]
        with held(running, *names) as call:
            hanging = []
            for name in names:
                hanging.append(call(name))
                assert sign_in(running, "other").result(5).assessment_id
            assert not any(one.done() for one in hanging)
        assert all(one.result(5).assessment_id for one in hanging)
        ended("spare")
        assert sign_in(running, "other").result(5).assessment_id


def test_a_stuck_event_gets_a_spare() -> None:
    """If a stream's message blocks on a lock in the loop's thread, other calls are still answered."""
    go_on = threading.Event()

    def requests() -> Iterator[risk_pb2.StreamAssessRequest]:
        yield risk_pb2.StreamAssessRequest()
        assert go_on.wait(10)
        yield risk_pb2.StreamAssessRequest()

    with served(HELD_UP) as running:
        stream = running.stub.StreamAssess(requests(), timeout=20)
        assert next(stream).results
        (inbox,) = running.service.streams._open
        with inbox._state.condition:
            go_on.set()
            time.sleep(0.2)
            assert sign_in(running, "other").result(5).assessment_id
        assert next(stream).results
        ended("spare")
        assert sign_in(running, "other").result(5).assessment_id


def test_its_threads_end() -> None:
    """Spare threads end soon after they are no longer needed, the others with the server."""
    before = threads()
    for _ in range(3):
        with served(HELD_UP) as running:
            with held(running, "first") as call:
                call("first")
                assert sign_in(running, "other").result(5).assessment_id
                assert sorted(thread.name for thread in threads() - before) == ["spare", "watch"]
            ended("spare")
    ended("watch")
    assert threads() - before == set()


def test_a_spare_that_is_held_up_until_the_server_has_stopped_just_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that hangs in a spare thread beyond the stop of the server ends that thread without an exception."""
    failed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    with served(HELD_UP) as running:
        hanging = {name: threading.Event() for name in ("first", "second")}
        begun = {name: threading.Event() for name in hanging}

        def answer(attempt: Attempt) -> Assessment:
            begun[attempt.subject].set()
            assert hanging[attempt.subject].wait(20)
            return ASSESSMENT

        running.engine.answer = answer
        first, _ = [(sign_in(running, name), begun[name].wait(10)) for name in hanging]
        hanging["first"].set()
        assert first[0].result(10).assessment_id
        assert running.service.server.stop(0).wait(10)
        hanging["second"].set()
        ended("spare")
    assert failed == []


def test_a_busy_thread_gets_no_spare() -> None:
    """A thread that computes gets no spare, because two would only slow each other down."""
    before = threads()
    with served(PATIENT) as running, held(running, "first") as call:
        call("first")
        with pytest.raises(grpc.FutureTimeoutError):
            sign_in(running, "other").result(0.3)
        assert [thread.name for thread in threads() - before] == ["watch"]


def test_two_threads_run_two_calls_at_a_time() -> None:
    """With `threads`, so many calls run beside each other, and no more."""
    with served(replace(PATIENT, threads=2)) as running, held(running, "first", "second") as call:
        both = [call("first"), call("second")]
        third = sign_in(running, "other")
        with pytest.raises(grpc.FutureTimeoutError):
            third.result(0.3)
        assert not any(one.done() for one in both)


def test_received_calls_are_read_before_the_next_is_run() -> None:
    """Of outcomes and sign-ins that arrive during a turn, the sign-ins are run first, except that one outcome may
    already have been read."""
    with served(PATIENT) as running:
        with held(running, "first") as call:
            sign_ins = [call("first")]
            request = risk_pb2.RecordOutcomeRequest(assessment_id=ASSESSMENT.id)
            outcomes = [running.stub.RecordOutcome.future(request, timeout=10) for _ in range(5)]
            time.sleep(0.1)
            sign_ins += [sign_in(running, "later") for _ in range(5)]
            time.sleep(0.9)
        assert all(one.result(10) for one in sign_ins)
        assert all(one.result(10) for one in outcomes)
        ended = [method.rpartition("/")[2] for method, _, code in running.meter.codes if code == "OK"]
        assert ended[:7].count("RecordOutcome") <= 1


def test_a_flood_does_not_stop_answers() -> None:
    """Between two turns, the thread reads a bounded number of calls, so that refusing a flood does not stop answers."""
    with served(replace(PATIENT, max_concurrent_rpcs=4)) as running:
        refused_before: list[int] = []
        peers = [Peer(f"127.0.0.1:{running.service.port}") for _ in range(6)]
        message = risk_pb2.AssessRequest(subject="many").SerializeToString()
        with held(running, "first") as call:
            first = call("first")
            for peer in peers:
                peer.flood(calls(message), 64, reads=False)
            time.sleep(0.5)
            answer = running.engine.answer

            def counting(attempt: Attempt) -> Assessment:
                refused_before.append(len(running.meter.refusals))
                return answer(attempt)

            running.engine.answer = counting
        assert first.result(5).assessment_id
        until = time.monotonic() + 10
        while len(running.meter.refusals) <= 2 * EVENTS and time.monotonic() < until:
            time.sleep(0.01)
        for peer in peers:
            peer.close()
        assert 0 < refused_before[0] <= EVENTS < len(running.meter.refusals) / 2
