"""Which caller may call which method for which tenant, tested over the wire with a recording engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status.rpc_status import from_call
from msgspec.structs import replace

from riskd._proto.riskd.v1 import release_pb2, release_pb2_grpc, risk_pb2, subject_pb2, subject_pb2_grpc
from riskd.core.activation import ActivationRequest, StoredRelease
from riskd.core.dossier import Summary
from riskd.releases import Activated
from riskd.server.calls.boundary import Boundary
from riskd.server.grpc_server import build_server, release_service, subject_service
from riskd.server.identity.callers import Caller, Callers, in_full, token_hash
from riskd.server.identity.guard import LOG_SECONDS, LOGGED, Guard
from riskd.subjects import Erased, Page, Subject
from tests.faults.floods import END_HEADERS, HEADERS, Peer, call, frame
from tests.server.brake import Brake, settled
from tests.server.world import ANYWHERE, FakeEngine, ListMeter, Running, served

Metadata = tuple[tuple[str, str | bytes], ...]
SECRET = "riskd_the-token-of-somebody"
OTHER = "riskd_the-token-of-somebody-else"
THIRD = "riskd_the-token-of-a-third-party"


def caller(name: str, token: str, *words: str, tenants: tuple[str, ...] = ("acme",)) -> Caller:
    methods = frozenset(method for word in words for method in in_full(word))
    return Caller(name=name, methods=methods, tenants=frozenset(tenants), token_sha256=(token_hash(token),))


WEB = caller("web", SECRET, "assessor", "batch")
HEARER = caller("hearer", THIRD, "event_reporter")
TELLER = caller("teller", OTHER, "outcome_reporter", tenants=("*",))


@pytest.fixture
def guard() -> Guard:
    return Guard(Callers([WEB, TELLER, HEARER]))


@pytest.fixture
def running(guard: Guard) -> Iterator[Running]:
    with served(guard=guard) as running:
        yield running


def shows(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


def refused(call: Callable[[], object]) -> tuple[str, str]:
    """Status code and reason of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    status, info = from_call(caught.value), ErrorInfo()
    assert any(each.Unpack(info) for each in status.details)
    assert info.domain == "riskd.dev"
    return caught.value.code().name, info.reason


ATTEMPT = risk_pb2.AssessRequest(tenant="acme", subject="kim")
NOBODY: list[Metadata] = [
    (),
    (("authorization", ""),),
    (("authorization", SECRET),),
    (("authorization", f"Basic {SECRET}"),),
    (("authorization", f"Digest {SECRET}"),),
    (("authorization", f"bearer:{SECRET}"),),
    shows(""),
    shows("wrong"),
    shows(SECRET[:-1]),
    shows(token_hash(SECRET)),
    shows("x" * 5000),
    (*shows("wrong"), *shows(SECRET)),
]


@pytest.mark.parametrize("metadata", NOBODY, ids=range(len(NOBODY)))
def test_calls_without_a_known_token_are_refused(running: Running, metadata: Metadata) -> None:
    """A call without a known token gets UNAUTHENTICATED, is counted under that code, and does not reach the engine."""
    told = refused(lambda: running.stub.Assess(ATTEMPT, timeout=5, metadata=metadata))
    assert told == ("UNAUTHENTICATED", "UNKNOWN_CALLER")
    assert not running.engine.attempts
    assert running.meter.codes == [("riskd.v1.RiskService/Assess", "unary", "UNAUTHENTICATED")]


def test_unauthenticated_calls_are_refused_before_parsing(running: Running) -> None:
    """An unauthenticated call is refused before its bytes are parsed."""
    send: grpc.UnaryUnaryMultiCallable[bytes, bytes] = running.channel.unary_unary("/riskd.v1.RiskService/Assess")
    assert refused(lambda: send(b"\xff", timeout=5)) == ("UNAUTHENTICATED", "UNKNOWN_CALLER")


@pytest.mark.parametrize("method", ["Assess", "RecordOutcome", "BatchAssess", "StreamAssess"])
def test_unauthenticated_calls_are_refused_before_their_message_arrives(running: Running, method: str) -> None:
    """An unauthenticated call is refused by its headers, so it takes no place among the calls that send a message."""
    peer = Peer(f"127.0.0.1:{running.service.port}")
    peer.socket.sendall(frame(HEADERS, END_HEADERS, 1, call(f"/riskd.v1.RiskService/{method}")))
    assert peer.hears(b"neither a token nor a certificate")
    peer.close()
    assert [code for *_, code in running.meter.codes] == ["UNAUTHENTICATED"]
    assert len(running.meter.calls) == 1


def test_unauthenticated_calls_are_no_load(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many unauthenticated calls arrive, each is refused as such, and a known caller's call may wait."""
    with served(replace(ANYWHERE, max_concurrent_rpcs=4, queue_s=10.0, standing_queue_s=0.001), guard=guard) as running:
        brake = Brake(running, monkeypatch)
        for _ in range(20):
            told = refused(lambda: running.stub.Assess(ATTEMPT, timeout=5, metadata=shows("wrong")))
            assert told == ("UNAUTHENTICATED", "UNKNOWN_CALLER")
        known = running.stub.Assess.future(ATTEMPT, timeout=10, metadata=shows(SECRET))
        settled(running)
        brake.go()
        assert known.result(5).assessment_id
    assert running.meter.refusals == []


def test_a_callers_flood_does_not_refuse_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """During an overload that one caller makes, its further calls are refused, which the log says of it, and those of
    another may wait."""
    monkeypatch.setattr("riskd.server.calls.handlers.monotonic", lambda: 0.0)
    guard = Guard(Callers([WEB, caller("shop", OTHER, "assessor")]))
    with served(replace(ANYWHERE, queue_s=0.0195, standing_queue_s=0.0), guard=guard) as running:
        ask, brake = partial(running.stub.Assess.future, ATTEMPT, timeout=10), Brake(running, monkeypatch)
        burst = [ask(metadata=shows(SECRET)) for _ in range(20)]
        settled(running)
        brake.go()
        assert all(call.result(5).assessment_id for call in burst)
        brake.hold()
        more = [ask(metadata=shows(SECRET)) for _ in range(5)]
        settled(running)
        other = ask(metadata=shows(OTHER))
        settled(running)
        brake.go()
        codes = [call.code().name for call in [*more, other]]
    assert codes == ["OK", *["RESOURCE_EXHAUSTED"] * 4, "OK"]
    guard.log_refused(lambda: guard._logged + LOG_SECONDS)
    told = {"reason": "OVERLOADED", "method": "riskd.v1.RiskService/Assess", "caller": "web", "calls": 4}
    assert [line.__dict__["fields"]["refused"] for line in caplog.records] == [[told]]


def test_a_caller_may_use_its_methods_for_its_tenants(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    """A known token may call its methods for its tenants; the scheme is case-insensitive (RFC 9110), and nothing is
    logged per call."""
    caplog.set_level(logging.INFO)
    running.stub.Assess(ATTEMPT, timeout=5, metadata=shows(SECRET))
    running.stub.Assess(ATTEMPT, timeout=5, metadata=(("authorization", f"bEARER  {SECRET} "),))
    batch = risk_pb2.BatchAssessRequest(requests=[ATTEMPT, ATTEMPT])
    running.stub.BatchAssess(batch, timeout=5, metadata=shows(SECRET))
    assert [attempt.tenant for attempt, _ in running.engine.attempts] == ["acme"] * 4
    told = risk_pb2.RecordOutcomeRequest(assessment_id="0" * 32, tenant="whoever")
    running.stub.RecordOutcome(told, timeout=5, metadata=shows(OTHER))
    assert len(running.engine.outcomes) == 1
    assert not caplog.records


def test_a_method_that_the_caller_may_not_use_is_denied(running: Running) -> None:
    """An assessor may not report outcomes, and an outcome reporter may not assess."""
    told = risk_pb2.RecordOutcomeRequest(assessment_id="0" * 32, tenant="acme")
    denied = ("PERMISSION_DENIED", "NOT_ALLOWED")
    assert refused(lambda: running.stub.RecordOutcome(told, timeout=5, metadata=shows(SECRET))) == denied
    assert refused(lambda: running.stub.Assess(ATTEMPT, timeout=5, metadata=shows(OTHER))) == denied
    assert not running.engine.attempts
    assert not running.engine.outcomes


def test_an_event_reporter_may_only_report_events(running: Running) -> None:
    """An event reporter may report events for its tenants and nothing else; no other role may report events."""
    denied = ("PERMISSION_DENIED", "NOT_ALLOWED")
    tell, event = running.stub.RecordSecurityEvent, risk_pb2.RecordSecurityEventRequest(tenant="acme", subject="kim")
    told = risk_pb2.RecordOutcomeRequest(assessment_id="0" * 32, tenant="acme")
    tell(event, timeout=5, metadata=shows(THIRD))
    assert [each.subject for each, _ in running.engine.events] == ["kim"]
    assert running.engine.callers == ["hearer"]
    other = risk_pb2.RecordSecurityEventRequest(tenant="other", subject="kim")
    for denied_call in (
        lambda: tell(other, timeout=5, metadata=shows(THIRD)),
        lambda: tell(event, timeout=5, metadata=shows(SECRET)),
        lambda: tell(event, timeout=5, metadata=shows(OTHER)),
        lambda: running.stub.Assess(ATTEMPT, timeout=5, metadata=shows(THIRD)),
        lambda: running.stub.RecordOutcome(told, timeout=5, metadata=shows(THIRD)),
    ):
        assert refused(denied_call) == denied
    assert (len(running.engine.events), running.engine.attempts, running.engine.outcomes) == (1, [], [])


@pytest.mark.parametrize("tenant", ["", "Acme", "acme ", "other", "*"])
def test_a_tenant_of_another_caller_is_denied(running: Running, tenant: str) -> None:
    """A caller bound to one tenant may name no other tenant, nor none, nor all; the engine sees nothing."""
    request = risk_pb2.AssessRequest(tenant=tenant, subject="kim")
    told = refused(lambda: running.stub.Assess(request, timeout=5, metadata=shows(SECRET)))
    assert told == ("PERMISSION_DENIED", "NOT_ALLOWED")
    mixed = risk_pb2.BatchAssessRequest(requests=[ATTEMPT, request, ATTEMPT])
    told = refused(lambda: running.stub.BatchAssess(mixed, timeout=5, metadata=shows(SECRET)))
    assert told == ("PERMISSION_DENIED", "NOT_ALLOWED")
    assert not running.engine.attempts


def test_a_stream_is_of_its_caller(running: Running, guard: Guard) -> None:
    """A stream without an allowed caller ends before it is read; in an allowed stream, an attempt for another tenant
    gets PERMISSION_DENIED and the stream continues."""
    requests = [risk_pb2.StreamAssessRequest(request=ATTEMPT)] * 2
    requests.insert(1, risk_pb2.StreamAssessRequest(request=risk_pb2.AssessRequest(tenant="other")))
    for metadata, told in (
        ((), ("UNAUTHENTICATED", "UNKNOWN_CALLER")),
        (shows(SECRET), ("PERMISSION_DENIED", "NOT_ALLOWED")),
    ):
        stream = running.stub.StreamAssess(iter(requests), timeout=5, metadata=metadata)
        assert refused(partial(list, stream)) == told
    assert not running.engine.attempts
    guard.install(Callers([caller("web", SECRET, "stream")]))
    answers = running.stub.StreamAssess(iter(requests), timeout=5, metadata=shows(SECRET))
    results = [result for answer in answers for result in answer.results]
    assert [result.error.code for result in results] == [0, grpc.StatusCode.PERMISSION_DENIED.value[0], 0]
    assert [attempt.tenant for attempt, _ in running.engine.attempts] == ["acme"] * 2


class FakeSubjects:
    """Records which subjects were erased."""

    def __init__(self) -> None:
        self.asked: list[Subject] = []

    def summary(self, subject: Subject) -> Summary:
        raise AssertionError(subject)

    def export(self, subject: Subject, size: int, token: bytes) -> Page:
        raise AssertionError(subject)

    def erase(self, subject: Subject, timeout: float) -> Erased:
        self.asked.append(subject)
        return Erased({}, 0.0)


def test_only_callers_with_subject_methods_may_erase(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    """SubjectService on the port is for callers with its methods, in their tenants; each call is logged with the
    caller, and without the subject."""
    caplog.set_level(logging.INFO)
    officer = caller("officer", "riskd_officer", "privacy_officer")
    guard.install(Callers([WEB, TELLER, officer]))
    meter, subjects = ListMeter(), FakeSubjects()
    beside = [subject_service(subjects, Boundary(meter, guard))]
    service = build_server(FakeEngine(), Boundary(meter, guard), ANYWHERE, None, beside)
    service.server.start()
    with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        erase = subject_pb2_grpc.SubjectServiceStub(channel).EraseSubject
        request = subject_pb2.EraseSubjectRequest(tenant="acme", subject="kim")
        for token in (SECRET, OTHER):
            told = refused(lambda: erase(request, timeout=5, metadata=shows(token)))  # noqa: B023 - called at once
            assert told == ("PERMISSION_DENIED", "NOT_ALLOWED")
        other = subject_pb2.EraseSubjectRequest(tenant="other", subject="kim")
        told = refused(lambda: erase(other, timeout=5, metadata=shows("riskd_officer")))
        assert told == ("PERMISSION_DENIED", "NOT_ALLOWED")
        assert not subjects.asked
        erase(request, timeout=5, metadata=shows("riskd_officer"))
    service.server.stop(0).wait()
    assert [subject.tenant for subject in subjects.asked] == ["acme"]
    events = [record.__dict__["fields"] for record in caplog.records if record.msg == "administration"]
    assert events[-1] == {"caller": "officer", "method": "riskd.v1.SubjectService/EraseSubject"}
    assert "kim" not in caplog.text


class FakeReleases:
    """Has none, and must not be asked to change anything."""

    def find(self, release: str) -> StoredRelease:
        raise AssertionError(release)

    def all(self) -> list[StoredRelease]:
        return []

    def active(self) -> None:
        return None

    def activate(self, request: ActivationRequest, timeout: float) -> Activated:
        raise AssertionError(request)

    def rollback(self, actor: str, reason: str, timeout: float) -> Activated:
        raise AssertionError(actor)


def test_only_callers_with_release_methods_may_activate(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    """ReleaseService on the port is for callers with its methods; each call is logged with the caller."""
    caplog.set_level(logging.INFO)
    guard.install(Callers([WEB, caller("viewer", "riskd_viewer", "release_viewer", tenants=("*",))]))
    meter = ListMeter()
    beside = [release_service(FakeReleases(), Boundary(meter, guard))]
    service = build_server(FakeEngine(), Boundary(meter, guard), ANYWHERE, None, beside)
    service.server.start()
    with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        stub = release_pb2_grpc.ReleaseServiceStub(channel)
        shown, activation = release_pb2.ListReleasesRequest(), release_pb2.ActivateReleaseRequest()
        for call, token, told in (
            (partial(stub.ListReleases, shown), "riskd_nobody", "UNKNOWN_CALLER"),
            (partial(stub.ListReleases, shown), SECRET, "NOT_ALLOWED"),
            (partial(stub.ActivateRelease, activation), "riskd_viewer", "NOT_ALLOWED"),
        ):
            assert refused(partial(call, timeout=5, metadata=shows(token)))[1] == told
        stub.ListReleases(shown, timeout=5, metadata=shows("riskd_viewer"))
    service.server.stop(0).wait()
    events = [record.__dict__["fields"] for record in caplog.records if record.msg == "administration"]
    assert events == [{"caller": "viewer", "method": "riskd.v1.ReleaseService/ListReleases"}]


def test_probes_need_no_token(running: Running) -> None:
    """Health checks need no token, because load balancers and kubelets have none; they reveal nothing about people."""
    answer = health_pb2_grpc.HealthStub(running.channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_another_set_of_callers_holds_from_the_next_call(running: Running, guard: Guard) -> None:
    """New callers apply from the next call on, also on open connections; a removed caller is refused at once."""
    running.stub.Assess(ATTEMPT, timeout=5, metadata=shows(SECRET))
    guard.install(Callers([TELLER]))
    told = refused(lambda: running.stub.Assess(ATTEMPT, timeout=5, metadata=shows(SECRET)))
    assert told == ("UNAUTHENTICATED", "UNKNOWN_CALLER")


def test_refusals_are_logged_in_one_line(running: Running, guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    """One log line per interval counts the refused calls by caller and method, without tokens, tenants or subjects."""
    for _ in range(20):
        refused(lambda: running.stub.Assess(ATTEMPT, timeout=5, metadata=shows("riskd_wrong-token")))
    elsewhere = risk_pb2.AssessRequest(tenant="elsewhere", subject="kim")
    refused(lambda: running.stub.Assess(elsewhere, timeout=5, metadata=shows(SECRET)))
    guard.log_refused()
    assert not caplog.records
    later = guard._logged + LOG_SECONDS
    guard.log_refused(lambda: later)
    guard.log_refused(lambda: later + LOG_SECONDS)
    (line,) = caplog.records
    assert line.__dict__["fields"]["seconds"] == LOG_SECONDS
    assert line.__dict__["fields"]["refused"] == [
        {"reason": "UNKNOWN_CALLER", "method": "riskd.v1.RiskService/Assess", "caller": "unknown", "calls": 20},
        {"reason": "NOT_ALLOWED", "method": "riskd.v1.RiskService/Assess", "caller": "web", "calls": 1},
    ]
    assert not [word for word in ("wrong-token", SECRET, "elsewhere", "kim") if word in str(line.__dict__)]


def test_a_line_about_refusals_is_short(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    """Of thousands of callers, the line has those that were refused most."""
    for number in range(300):
        for _ in range(number):
            guard.count("NOT_ALLOWED", "riskd.v1.RiskService/Assess", f"caller-{number}")
    guard.log_refused(lambda: guard._logged + LOG_SECONDS)
    (line,) = caplog.records
    assert [each["calls"] for each in line.__dict__["fields"]["refused"]] == [*range(299, 299 - LOGGED, -1)]
