"""StreamAssess: each attempt is answered as Assess would, in order, and none ends the stream."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import NoReturn, TypeAlias

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status.rpc_status import from_call
from msgspec.structs import replace

from riskd._proto.riskd.v1 import attempt_pb2, risk_pb2
from riskd.core import validation
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt
from riskd.core.errors import InvalidAttempt
from riskd.server.calls.inbox import BYTES, MESSAGES
from riskd.server.calls.streams import GROUP
from riskd.server.grpc_server import ATTEMPT_BYTES
from tests.server.world import ANYWHERE, ASSESSMENT, Running, served

METHOD = "riskd.v1.RiskService/StreamAssess"
Stream: TypeAlias = "grpc._CallIterator[risk_pb2.StreamAssessResponse]"


class Sender:
    """The client of a stream, which sends what it is told until it is told to end."""

    def __init__(self, running: Running, timeout: float = 20.0) -> None:
        self._said: queue.SimpleQueue[risk_pb2.StreamAssessRequest | None] = queue.SimpleQueue()
        self.stream: Stream = running.stub.StreamAssess(iter(self._said.get, None), timeout=timeout)
        self._results = (result for response in self.stream for result in response.results)

    def say(self, *requests: risk_pb2.AssessRequest) -> None:
        for request in requests:
            self._said.put(risk_pb2.StreamAssessRequest(request=request))

    def end(self) -> None:
        self._said.put(None)

    def hear(self, answers: int) -> list[risk_pb2.StreamAssessResult]:
        return [next(self._results) for _ in range(answers)]

    def rest(self) -> list[risk_pb2.StreamAssessResult]:
        return list(self._results)


@pytest.fixture
def running() -> Iterator[Running]:
    with served() as service:
        yield service


@pytest.fixture
def sender(running: Running) -> Iterator[Sender]:
    with speaking(running) as sender:
        yield sender


@contextmanager
def speaking(running: Running) -> Iterator[Sender]:
    sender = Sender(running)
    try:
        yield sender
    finally:
        sender.end()
        sender.stream.cancel()


def login(name: str, subject: str = "u-1") -> risk_pb2.AssessRequest:
    return risk_pb2.AssessRequest(
        request_id=name,
        domain=attempt_pb2.IDENTITY_DOMAIN_CUSTOMER,
        subject=subject,
        journey=attempt_pb2.JOURNEY_LOGIN,
        network=attempt_pb2.Network(client_ip="192.0.2.7"),
    )


def by_subject(attempt: Attempt) -> Assessment:
    return replace(ASSESSMENT, id=f"{attempt.subject:0>32}")


def once(held: threading.Event) -> Callable[[Attempt], Assessment]:
    """Answers once `held` is set."""

    def answer(_: Attempt) -> Assessment:
        assert held.wait(10)
        return ASSESSMENT

    return answer


def judged(attempt: Attempt) -> Assessment:
    """Refuses invalid attempts, as the engine does."""
    found = validation.violations(attempt, 1_700_000_000.0, address_known=True, declared=frozenset())
    if found:
        raise InvalidAttempt(found)
    return by_subject(attempt)


def until(holds: Callable[[], bool]) -> bool:
    """Whether the condition holds within ten seconds."""
    end = time.monotonic() + 10
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def failed(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def reason(error: grpc.RpcError) -> str:
    status = from_call(error)
    assert status is not None
    info = ErrorInfo()
    status.details[0].Unpack(info)
    return str(info.reason)


def test_each_attempt_is_answered_at_once_in_order_and_by_name(running: Running, sender: Sender) -> None:
    """Each answer comes without waiting for the next attempt, in order, with its request id; the status is OK after the
    last."""
    running.engine.answer = by_subject
    for number in range(3):
        sender.say(login(f"r{number}", str(number)))
        (result,) = sender.hear(1)
        assert (result.request_id, result.response.assessment_id) == (f"r{number}", f"{number:0>32}")
    sender.say(*(login(f"r{number}", str(number)) for number in range(3, 200)))
    sender.end()
    rest = sender.rest()
    assert [result.request_id for result in rest] == [f"r{number}" for number in range(3, 200)]
    assert [result.response.assessment_id for result in rest] == [f"{number:0>32}" for number in range(3, 200)]
    assert sender.stream.code() is grpc.StatusCode.OK
    assert until(lambda: running.meter.codes == [(METHOD, "bidi_stream", "OK")])
    assert running.meter.calls == [(METHOD, "bidi_stream")]
    assert sum(received for _, received, _ in running.meter.messages) == 200


def test_waiting_attempts_are_answered_together(running: Running, sender: Sender) -> None:
    """Attempts that arrive while others are assessed share a message, up to `GROUP` of them."""
    held = threading.Event()
    running.engine.answer = once(held)
    sender.say(login("first"))
    assert until(lambda: len(running.engine.attempts) == 1)
    sender.say(*[login(str(number)) for number in range(2 * GROUP)])
    time.sleep(0.2)
    held.set()
    assert [len(next(sender.stream).results) for _ in range(3)] == [1, GROUP, GROUP]


def test_it_answers_what_assess_and_batches_answer(running: Running, sender: Sender) -> None:
    """An attempt gets the same answer or error from a stream, a batch and Assess."""
    running.engine.answer = judged
    requests = [login("a"), risk_pb2.AssessRequest(request_id="b"), login("c", subject="")]
    requests.append(risk_pb2.AssessRequest(consent=attempt_pb2.Consent(purposes=["fun"])))
    sender.say(*requests)
    streamed = sender.hear(len(requests))
    batched = running.stub.BatchAssess(risk_pb2.BatchAssessRequest(requests=requests), timeout=5).results
    assert [each.request_id for each in streamed] == ["a", "b", "c", ""]
    assert [each.WhichOneof("result") for each in streamed] == ["response", "error", "error", "error"]
    for request, one, other in zip(requests, streamed, batched, strict=True):
        assert (one.response, one.error) == (other.response, other.error)
        if one.HasField("response"):
            assert running.stub.Assess(request, timeout=5) == one.response
        else:
            assert from_call(failed(partial(running.stub.Assess, request, timeout=5))) == one.error
    violations = BadRequest()
    assert streamed[1].error.details[1].Unpack(violations)
    assert {each.field for each in violations.field_violations} >= {"domain", "journey", "subject"}


def test_bytes_that_are_no_request_are_answered_like_any_mistake(running: Running) -> None:
    """Bytes that are unparsable or too large get an error each, and the stream continues."""
    call: grpc.StreamStreamMultiCallable[bytes, bytes] = running.channel.stream_stream(f"/{METHOD}")
    good = risk_pb2.StreamAssessRequest(request=login("good")).SerializeToString()
    large = risk_pb2.StreamAssessRequest(request=login("x" * (ATTEMPT_BYTES + 1))).SerializeToString()
    told = map(risk_pb2.StreamAssessResponse.FromString, call(iter([b"\xff\xff", large, good]), timeout=5))
    results = [result for response in told for result in response.results]
    assert [result.WhichOneof("result") for result in results] == ["error", "error", "response"]
    assert [result.error.code for result in results[:2]] == [grpc.StatusCode.INVALID_ARGUMENT.value[0]] * 2
    assert len(running.engine.attempts) == 1


def test_a_bug_concerns_the_attempt_that_met_it(running: Running, sender: Sender) -> None:
    """An unexpected exception gives INTERNAL for its attempt, and the next one is answered."""

    def stumble(attempt: Attempt) -> Assessment:
        if attempt.subject == "odd":
            raise KeyError(attempt.subject)
        return ASSESSMENT

    running.engine.answer = stumble
    sender.say(login("a", "odd"), login("b"))
    first, second = sender.hear(2)
    assert first.error.code == grpc.StatusCode.INTERNAL.value[0]
    assert "odd" not in str(first.error)
    assert second.response.assessment_id == ASSESSMENT.id


def test_a_sender_that_does_not_read_is_not_read_either(running: Running) -> None:
    """If a client does not read its answers, the server stops reading its attempts, so memory stays bounded and others
    are answered."""
    size, word = 100_000, "x" * 2000
    running.engine.answer = lambda _: replace(ASSESSMENT, causes=("x" * 1000,))
    said = count()
    flood = (risk_pb2.StreamAssessRequest(request=login(str(next(said)), word)) for _ in range(size))
    stream = running.stub.StreamAssess(flood, timeout=30)
    sent, answered = -1, -1
    while (sent, answered) != (seen := (next(said), len(running.engine.attempts))) or not answered:
        sent, answered = seen[0] + 1, seen[1]
        time.sleep(0.5)
    assert sent < size / 4
    assert running.stub.Assess(login("other"), timeout=5).assessment_id == ASSESSMENT.id
    with speaking(running) as other:
        other.say(login("beside"))
        assert other.hear(1)[0].request_id == "beside"
    stream.cancel()
    assert until(lambda: (METHOD, "bidi_stream", "CANCELLED") in running.meter.codes)


def test_few_bytes_of_a_stream_wait(running: Running) -> None:
    """While an attempt is assessed, at most a few large messages of its stream are received."""
    held, said, size = threading.Event(), count(), 100_000
    running.engine.answer = once(held)
    flood = (risk_pb2.StreamAssessRequest(request=login(str(next(said)), "x" * size)) for _ in range(2 * MESSAGES))
    stream = running.stub.StreamAssess(flood, timeout=30)
    sent = -1
    while sent != (seen := next(said)) or not running.engine.attempts:
        sent = seen + 1
        time.sleep(0.3)
    stream.cancel()
    held.set()
    assert sent * size < 64 * BYTES, "a few of them, and what gRPC's flow control lets through"


def test_nothing_is_computed_for_a_cancelled_stream(running: Running, sender: Sender) -> None:
    """Attempts of a cancelled stream that have not begun are not assessed, and its place becomes free."""
    held = threading.Event()
    running.engine.answer = once(held)
    sender.say(login("first"))
    assert until(lambda: len(running.engine.attempts) == 1)
    sender.say(*[login(str(number)) for number in range(100)])
    time.sleep(0.1)
    sender.stream.cancel()
    time.sleep(0.1)
    held.set()
    assert until(lambda: running.meter.codes == [(METHOD, "bidi_stream", "CANCELLED")])
    assert len(running.engine.attempts) == 1
    assert until(lambda: not running.service.streams._open)


def test_a_stream_beyond_the_limit_is_told_when_to_retry() -> None:
    """Beyond the limit, a stream is refused with RetryInfo, and admitted when another has ended."""
    with served(replace(ANYWHERE, max_streams=2)) as running:
        first, second = Sender(running), Sender(running)
        for each in (first, second):
            each.say(login("x"))
            assert each.hear(1)
        refused = failed(lambda: Sender(running).hear(1))
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        status = from_call(refused)
        assert status is not None
        assert status.details[1].Unpack(RetryInfo())
        assert (METHOD, "full") in running.meter.refusals
        first.end()
        assert not first.rest()
        assert until(lambda: len(running.service.streams._open) == 1)
        third = Sender(running)
        third.say(login("y"))
        assert third.hear(1)[0].request_id == "y"
        for each in (second, third):
            each.end()


@pytest.mark.parametrize("options", [{"stream_silent_s": 0.2}, {"stream_age_s": 0.4}], ids=["silent", "old"])
def test_silent_or_old_streams_are_closed(options: dict[str, float]) -> None:
    """A stream that is silent for long, or old, ends with ABORTED and a reason."""
    with served(replace(ANYWHERE, **options)) as running:
        sender = Sender(running)
        sender.say(login("x"))
        assert sender.hear(1)
        begun = time.monotonic()
        error = failed(sender.rest)
        assert (error.code(), reason(error)) == (grpc.StatusCode.ABORTED, "STREAM_OVER")
        assert time.monotonic() - begun < 5
        sender.end()


def test_an_old_stream_ends_however_busy_it_is() -> None:
    """A busy stream ends at its maximum age, and every attempt that was assessed has been answered."""
    with served(replace(ANYWHERE, stream_age_s=0.4)) as running:
        said = count()

        def talk() -> Iterator[risk_pb2.StreamAssessRequest]:
            while True:
                time.sleep(0.001)
                yield risk_pb2.StreamAssessRequest(request=login(str(next(said))))

        heard: list[str] = []

        def listen() -> NoReturn:
            for response in running.stub.StreamAssess(talk(), timeout=20):
                heard.extend(result.request_id for result in response.results)
            raise AssertionError("it never ends by itself")

        assert reason(failed(listen)) == "STREAM_OVER"
        assert heard == [str(number) for number in range(len(heard))]
        assert len(heard) == len(running.engine.attempts) > 0


def test_a_stream_whose_client_does_not_read_loses_its_place() -> None:
    """A stream that cannot end because its client does not read is cancelled when its place is needed."""
    with served(replace(ANYWHERE, max_streams=1, stream_age_s=0.3)) as running:
        running.engine.answer = lambda _: replace(ASSESSMENT, causes=("x" * 100_000,))
        flood = running.stub.StreamAssess(
            (risk_pb2.StreamAssessRequest(request=login("x")) for _ in range(100_000)), timeout=60
        )
        assert until(lambda: bool(running.engine.attempts))
        refused = 0

        def taken() -> bool:
            nonlocal refused
            sender = Sender(running)
            sender.say(login("y"))
            sender.end()
            try:
                return sender.hear(1)[0].request_id == "y"
            except grpc.RpcError as error:
                refused += error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                time.sleep(0.1)
                return False

        assert until(taken)
        assert refused
        flood.cancel()


def test_streams_end_when_the_service_stops(running: Running, sender: Sender) -> None:
    """At a stop, received attempts are answered, then the stream ends with STREAM_OVER; no new stream is admitted."""
    held = threading.Event()
    running.engine.answer = once(held)
    sender.say(*[login(str(number)) for number in range(3 * GROUP)])
    assert until(lambda: len(running.engine.attempts) >= 1)
    time.sleep(0.1)
    running.service.streams.end(0.0)
    held.set()
    assert [result.request_id for result in sender.hear(3 * GROUP)] == [str(number) for number in range(3 * GROUP)]
    assert reason(failed(sender.rest)) == "STREAM_OVER"
    assert failed(lambda: Sender(running).hear(1)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_silent_stream_ends_when_the_service_stops(running: Running, sender: Sender) -> None:
    """A stop waits for no attempt of a stream that is silent at the moment."""
    sender.say(login("x"))
    assert sender.hear(1)
    begun = time.monotonic()
    running.service.streams.end(20.0)
    assert reason(failed(sender.rest)) == "STREAM_OVER"
    assert time.monotonic() - begun < 10


def test_a_deadline_is_that_of_the_stream(running: Running) -> None:
    """At its deadline the stream ends with DEADLINE_EXCEEDED, and each attempt gets at most the rest of it."""
    sender = Sender(running, timeout=1.0)
    sender.say(login("x"))
    assert sender.hear(1)
    assert failed(sender.rest).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert all(0 < timeout <= 1.1 for _, timeout in running.engine.attempts)
    sender.end()


def test_a_stream_yields_to_sign_ins(running: Running, sender: Sender) -> None:
    """While a sign-in runs, each attempt of a stream is delayed by up to 20 ms."""
    begun, on = running.engine.hold(lambda attempt: attempt.subject == "slow")
    slow = running.stub.Assess.future(login("slow", "slow"), timeout=10)
    assert begun.wait(5)
    since = time.monotonic()
    sender.say(*[login(str(number)) for number in range(40)])
    time.sleep(0.2)
    assert len(running.engine.attempts) <= 1 + (time.monotonic() - since) / 0.02
    on.set()
    assert slow.result(5).assessment_id
    assert len(sender.hear(40)) == 40
