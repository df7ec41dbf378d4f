"""RiskService over a real channel, with a fake engine."""

from __future__ import annotations

import functools
import logging
import queue
import time
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status.rpc_status import from_call

from riskd._proto.riskd.v1 import assessment_pb2, attempt_pb2, risk_pb2
from riskd.core import validation
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt, Outcome, SecurityEvent
from riskd.core.errors import InvalidAttempt, Problem
from riskd.server import grpc_server
from riskd.server.faults import DeadlinePassed
from riskd.server.grpc_server import Options
from riskd.server.risk_servicer import BATCH, RiskServicer
from tests.server.world import ASSESSMENT, FakeEngine, Left, Running, served

Detail = TypeVar("Detail", bound=Message)
LOGIN = risk_pb2.AssessRequest(
    domain=attempt_pb2.IDENTITY_DOMAIN_CUSTOMER,
    subject="u-1",
    journey=attempt_pb2.JOURNEY_LOGIN,
    network=attempt_pb2.Network(client_ip="192.0.2.7"),
)


@pytest.fixture
def running() -> Iterator[Running]:
    with served() as service:
        yield service


def refused(call: Callable[[], object]) -> grpc.RpcError:
    """The error of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def noise(channel: grpc.Channel, method: str) -> bytes:
    """Call a method with bytes that are no message."""
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/riskd.v1.RiskService/{method}")
    return call(b"\xff\xff\xff", timeout=5)


def detail(error: grpc.RpcError, kind: type[Detail]) -> Detail:
    """A detail of an error's google.rpc.Status."""
    status = from_call(error)
    assert status is not None
    (packed,) = (each for each in status.details if each.Is(kind.DESCRIPTOR))
    message = kind()
    packed.Unpack(message)
    return message


def test_attempts_and_assessments_pass_unchanged(running: Running) -> None:
    """The engine gets the attempt as sent, and the caller gets the assessment as made."""
    answer = running.stub.Assess(LOGIN, timeout=5)
    assert (answer.assessment_id, answer.score, answer.level) == ("0" * 32, 0.25, attempt_pb2.RISK_LEVEL_MEDIUM)
    assert answer.requirement.tier == assessment_pb2.TIER_STEP_UP
    assert [list(combination.methods) for combination in answer.requirement.amr] == [["hwk"], ["pwd", "otp"]]
    assert not answer.degraded
    ((attempt, timeout),) = running.engine.attempts
    assert (attempt.domain, attempt.subject, attempt.network.client_ip) == ("customer", "u-1", "192.0.2.7")
    assert timeout == Options().timeout_s
    assert running.meter.calls == [("riskd.v1.RiskService/Assess", "unary")]
    assert running.meter.codes == [("riskd.v1.RiskService/Assess", "unary", "OK")]


def test_the_caller_s_deadline_bounds_the_engine() -> None:
    """The engine gets the rest of the deadline, and never more than the setting."""
    with served(Options(address="127.0.0.1:0", timeout_s=20.0)) as running:
        for deadline in (10.0, 30.0, None):
            running.stub.Assess(LOGIN, timeout=deadline)
    bounded, *unbounded = (timeout for _, timeout in running.engine.attempts)
    assert 0 < bounded < 11, "the deadline header is rounded up"
    assert unbounded == [20.0, 20.0]


def test_batches_and_streams_give_way() -> None:
    """Before each attempt of a batch or stream, waiting sign-ins go first; a single sign-in does not give way."""
    engine, asked = FakeEngine(), list[int]()
    servicer = RiskServicer(engine, 0.1, lambda: asked.append(len(engine.attempts)))
    servicer.assess(LOGIN, Left())
    assert asked == []
    servicer.batch_assess(risk_pb2.BatchAssessRequest(requests=[LOGIN] * 3), Left())
    servicer.assess_streamed(LOGIN, Left())
    assert asked == [1, 2, 3, 4]


def test_nothing_is_computed_for_a_caller_who_has_gone() -> None:
    """A call whose deadline passed in the queue is not assessed or counted."""
    engine = FakeEngine()
    with pytest.raises(DeadlinePassed):
        RiskServicer(engine, 0.1).assess(LOGIN, Left(0.0))
    with pytest.raises(DeadlinePassed):
        RiskServicer(engine, 0.1).batch_assess(risk_pb2.BatchAssessRequest(requests=[LOGIN]), Left(0.0))
    assert not engine.attempts


def test_nothing_more_is_computed_of_a_batch_that_was_cancelled(running: Running) -> None:
    """The attempt at hand is the last, and the call is counted for what it was."""
    begun, on = running.engine.hold(lambda attempt: attempt.request_id == "first")
    first = risk_pb2.AssessRequest(request_id="first")
    call = running.stub.BatchAssess.future(risk_pb2.BatchAssessRequest(requests=[first, LOGIN, LOGIN]), timeout=60)
    assert begun.wait(10)
    call.cancel()
    running.stub.Assess(LOGIN, timeout=10)  # it is answered after the batch
    on.set()
    until = time.monotonic() + 10
    while len(running.meter.codes) < 2 and time.monotonic() < until:
        time.sleep(0.001)
    assert running.meter.codes[-1] == ("riskd.v1.RiskService/BatchAssess", "unary", "CANCELLED")
    assert len(running.engine.attempts) == 2


def test_every_violation_is_reported_under_the_wire_name(running: Running) -> None:
    """All violations are reported at once under the names of wire fields, including unknown enum numbers."""

    def judge(attempt: Attempt) -> NoReturn:
        raise InvalidAttempt(validation.violations(attempt, 1_700_000_000.0, address_known=False, declared=frozenset()))

    running.engine.answer = judge
    request = risk_pb2.AssessRequest(consent=attempt_pb2.Consent(purposes=["fun"]), attributes={"plan": "gold"})
    request.MergeFromString(b"\x18\x11")
    error = refused(lambda: running.stub.Assess(request, timeout=5))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail(error, ErrorInfo).reason == "INVALID_ATTEMPT"
    told = {each.field: each.description for each in detail(error, BadRequest).field_violations}
    assert set(told) == {
        "domain",
        "journey",
        "subject",
        "network.client_ip",
        "consent.purposes[0]",
        "attributes[plan]",
    }
    assert "'17'" in told["domain"]
    assert running.meter.codes == [("riskd.v1.RiskService/Assess", "unary", "INVALID_ARGUMENT")]


def test_bytes_that_are_no_request_are_the_caller_s_mistake(running: Running) -> None:
    """Unparsable bytes give INVALID_ARGUMENT, not INTERNAL, and do not reach the engine."""
    error = refused(lambda: noise(running.channel, "Assess"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail(error, ErrorInfo).reason == "INVALID_REQUEST"
    assert not running.engine.attempts


def test_a_huge_message_is_refused(running: Running) -> None:
    """Size is checked before parsing, per method with a reason and globally by gRPC."""
    fits, large = (risk_pb2.AssessRequest(subject="x" * (grpc_server.ATTEMPT_BYTES - 4 + more)) for more in (0, 1))
    assert (fits.ByteSize(), large.ByteSize()) == (grpc_server.ATTEMPT_BYTES, grpc_server.ATTEMPT_BYTES + 1)
    assert running.stub.Assess(fits, timeout=5).assessment_id == ASSESSMENT.id
    error = refused(lambda: running.stub.Assess(large, timeout=5))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail(error, ErrorInfo).reason == "INVALID_REQUEST"
    huge = risk_pb2.AssessRequest(subject="x" * (Options().max_message_bytes + 1))
    error = refused(lambda: running.stub.Assess(huge, timeout=5))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(running.engine.attempts) == 1


def test_the_largest_acceptable_attempt_is_not_too_large() -> None:
    """The largest attempt that validation accepts is within the size limit."""
    sign = "\N{GRINNING FACE}"
    name, text, word = (sign * limit for limit in (validation.ID, validation.TEXT, validation.WORD))
    listed = [word] * validation.ITEMS
    largest = risk_pb2.AssessRequest(
        request_id=name,
        tenant=name,
        subject=name,
        device=attempt_pb2.Device(
            user_agent=text,
            platform=word,
            device_id=name,
            fingerprint=name,
            screen=word,
            languages=listed,
            timezone=word,
        ),
        network=attempt_pb2.Network(client_ip=name, forwarded=listed, ja4=word),
        behaviour=attempt_pb2.Behaviour(typing_intervals_ms=[1.0] * validation.INTERVALS),
        session=attempt_pb2.Session(id=name, acr=name, amr=listed),
        federation=attempt_pb2.Federation(issuer=name, acr=name, amr=listed),
        attributes={f"{sign * validation.WORD}{number}": name for number in range(validation.ATTRIBUTES)},
    )
    assert largest.ByteSize() < grpc_server.ATTEMPT_BYTES


def test_in_a_batch_one_refusal_fails_no_other(running: Running) -> None:
    """Results have the order of requests; a refused attempt has the status that Assess gives, and the others are
    answered."""

    def judge(attempt: Attempt) -> Assessment:
        if not attempt.subject:
            raise InvalidAttempt([Problem("subject", "missing")])
        return ASSESSMENT

    running.engine.answer = judge
    batch = risk_pb2.BatchAssessRequest(requests=[LOGIN, risk_pb2.AssessRequest(), LOGIN])
    results = running.stub.BatchAssess(batch, timeout=5).results
    assert [result.WhichOneof("result") for result in results] == ["response", "error", "response"]
    assert results[1].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert results[2].response.assessment_id == ASSESSMENT.id


def test_a_batch_does_not_delay_sign_ins(running: Running) -> None:
    """Batches have their own thread: while they run, a sign-in is answered."""
    begun, on = running.engine.hold(lambda attempt: attempt.subject == "in the batch")
    slow = risk_pb2.AssessRequest()
    slow.CopyFrom(LOGIN)
    slow.subject = "in the batch"
    batches = [
        running.stub.BatchAssess.future(risk_pb2.BatchAssessRequest(requests=[slow]), timeout=5)
        for _ in range(Options().threads + 1)
    ]
    assert begun.wait(5)
    try:
        assert running.stub.Assess(LOGIN, timeout=5).assessment_id == ASSESSMENT.id
        assert not any(batch.done() for batch in batches)
    finally:
        on.set()
    assert [len(batch.result().results) for batch in batches] == [1] * len(batches)


@pytest.mark.parametrize("count", [0, BATCH + 1])
def test_a_batch_is_bounded(running: Running, count: int) -> None:
    """An empty batch and one that is too large are refused."""
    error = refused(lambda: running.stub.BatchAssess(risk_pb2.BatchAssessRequest(requests=[LOGIN] * count), timeout=5))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = detail(error, BadRequest).field_violations
    assert violation.field == "requests"
    assert not running.engine.attempts


def test_an_outcome_is_recorded(running: Running) -> None:
    """The engine gets the outcome, and the answer says how many units were taught."""
    told = risk_pb2.RecordOutcomeRequest(
        assessment_id=ASSESSMENT.id,
        challenge=risk_pb2.Challenge(result=risk_pb2.Challenge.RESULT_PASSED, amr=["hwk"]),
    )
    assert running.stub.RecordOutcome(told, timeout=5).taught_units == 3
    ((outcome, _),) = running.engine.outcomes
    assert outcome == Outcome(assessment_id=ASSESSMENT.id, kind="challenge_passed", amr=("hwk",))


def test_a_security_event_reaches_the_engine(running: Running) -> None:
    """The engine gets the event as sent; the answer is empty."""
    told = risk_pb2.RecordSecurityEventRequest(
        domain="IDENTITY_DOMAIN_CUSTOMER", subject="kim", issuer="https://idp.example"
    )
    told.risk_level_change.current_level = attempt_pb2.RISK_LEVEL_HIGH
    assert running.stub.RecordSecurityEvent(told, timeout=5) == risk_pb2.RecordSecurityEventResponse()
    ((event, _),) = running.engine.events
    assert event == SecurityEvent(
        domain="customer", subject="kim", kind="risk_level_change", level="high", issuer="https://idp.example"
    )


def test_an_unknown_assessment_is_not_found(running: Running) -> None:
    """An outcome for an unknown assessment gives NOT_FOUND."""
    error = refused(lambda: running.stub.RecordOutcome(risk_pb2.RecordOutcomeRequest(assessment_id="x"), timeout=5))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert detail(error, ErrorInfo).reason == "UNKNOWN_ASSESSMENT"


def test_a_bug_is_logged_by_place_and_id_and_says_nothing_of_the_request(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """For an unexpected exception, the caller gets an error id; the log has the id, the kind, the place and the request
    id, and nothing else of the request."""

    def stumble(attempt: Attempt) -> NoReturn:
        raise KeyError(attempt.subject)

    running.engine.answer = stumble
    again = risk_pb2.AssessRequest(request_id="once")
    again.MergeFrom(LOGIN)
    with caplog.at_level(logging.ERROR):
        refused(lambda: running.stub.Assess(LOGIN, timeout=5))
        error = refused(lambda: running.stub.Assess(again, timeout=5))
    told = detail(error, ErrorInfo)
    error_id = told.metadata["error_id"]
    assert (told.reason, told.domain) == ("INTERNAL", "riskd.dev")
    assert error.code() is grpc.StatusCode.INTERNAL
    first, record = [record for record in caplog.records if record.name.startswith("riskd")]
    fields = vars(record)["fields"]
    assert record.getMessage() == "internal_error"
    assert "request_id" not in vars(first)["fields"]
    assert (fields["error_id"], fields["kind"], fields["request_id"]) == (error_id, "KeyError", "once")
    assert fields["place"][-1].endswith(" stumble")
    assert "u-1" not in f"{fields} {caplog.text}"
    assert "u-1" not in (error.details() or "")


def test_health_follows_its_setting(running: Running) -> None:
    """Health is NOT_SERVING until it is set to serving."""
    stub = health_pb2_grpc.HealthStub(running.channel)
    states = health_pb2.HealthCheckResponse
    for serving, expected in ((None, states.NOT_SERVING), (True, states.SERVING), (False, states.NOT_SERVING)):
        if serving is not None:
            running.service.health.set(serving=serving)
        for service in ("", "riskd.v1.RiskService"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status == expected


def test_reflection_describes_every_method_that_is_served(running: Running) -> None:
    """grpcurl works without our protos, and every described method is served."""
    stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    question = reflection_pb2.ServerReflectionRequest(file_containing_symbol="riskd.v1.RiskService")
    (answer,) = stub.ServerReflectionInfo(iter([question]), timeout=5)
    files = [FileDescriptorProto.FromString(raw) for raw in answer.file_descriptor_response.file_descriptor_proto]
    (risk,) = [file for file in files if file.name == "riskd/v1/risk.proto"]
    for method in risk.service[0].method:
        if method.client_streaming:
            (result,) = risk_pb2.StreamAssessResponse.FromString(noise(running.channel, method.name)).results
            assert result.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        else:
            error = refused(functools.partial(noise, running.channel, method.name))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_open_streams_do_not_hold_the_handlers(running: Running) -> None:
    """Open reflection calls and health watches do not block sign-ins."""
    stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    watch = health_pb2_grpc.HealthStub(running.channel).Watch
    questions = [
        queue.SimpleQueue[reflection_pb2.ServerReflectionRequest | None]() for _ in range(Options().threads + 1)
    ]
    questions[0].put(reflection_pb2.ServerReflectionRequest(list_services=""))
    streams = [stub.ServerReflectionInfo(iter(questions[0].get, None), timeout=30)]
    assert next(streams[0]).list_services_response.service
    streams += [stub.ServerReflectionInfo(iter(each.get, None), timeout=30) for each in questions[1:]]
    watches = [watch(health_pb2.HealthCheckRequest(), timeout=30) for _ in questions]
    assert all(next(each).status for each in watches)
    assert running.stub.Assess(LOGIN, timeout=5).assessment_id == ASSESSMENT.id
    for stream, question in zip(streams, questions, strict=True):
        stream.cancel()
        question.put(None)
