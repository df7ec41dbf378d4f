"""Invalid requests over the wire: every violation is named, and nothing of the request is stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status.rpc_status import from_call

from riskd._proto.riskd.v1 import risk_pb2
from tests.e2e.service import LONDON, Service, attempt

LONG = "x" * 257
FAR_FUTURE = "2999-01-01T00:00:00Z"
CASES: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "missing address": ({"network": {"clientIp": ""}}, ("network.client_ip",)),
    "malformed address": ({"network": {"clientIp": "81.2.69"}}, ("network.client_ip",)),
    "address with a port": ({"network": {"clientIp": "81.2.69.142:443"}}, ("network.client_ip",)),
    "address with a zone": ({"network": {"clientIp": "fe80::1%eth0"}}, ("network.client_ip",)),
    "missing subject": ({"subject": ""}, ("subject",)),
    "subject over its limit": ({"subject": LONG}, ("subject",)),
    "NUL in a subject": ({"subject": "a\0b"}, ("subject",)),
    "unspecified enums": ({"domain": 0, "journey": 0}, ("domain", "journey")),
    "unknown enums": (
        {
            "domain": 99,
            "journey": -1,
            "credentialResult": 17,
            "device": {"attestation": 9},
            "federation": {"protocol": 9},
            "outside": {"riskLevel": 9},
        },
        (
            "domain",
            "journey",
            "credential_result",
            "device.attestation",
            "federation.protocol",
            "outside.risk_level",
        ),
    ),
    "every text over its limit": (
        {
            "requestId": LONG,
            "tenant": LONG,
            "subject": LONG,
            "device": {
                "userAgent": "x" * 1025,
                "platform": "x" * 65,
                "deviceId": LONG,
                "fingerprint": LONG,
                "screen": "x" * 65,
                "languages": ["en", "x" * 65],
                "timezone": "x" * 65,
            },
            "network": {"forwarded": ["x" * 65], "ja4": "x" * 65},
            "session": {"id": LONG, "acr": LONG, "amr": ["x" * 65]},
            "federation": {"issuer": LONG, "acr": LONG, "amr": ["x" * 65]},
            "consent": {"purposes": ["x" * 65]},
            "attributes": {"amount": LONG},
        },
        (
            "subject",
            "tenant",
            "request_id",
            "network.forwarded[0]",
            "network.ja4",
            "device.user_agent",
            "device.platform",
            "device.device_id",
            "device.fingerprint",
            "device.screen",
            "device.languages[1]",
            "device.timezone",
            "session.id",
            "session.acr",
            "session.amr[0]",
            "federation.issuer",
            "federation.acr",
            "federation.amr[0]",
            "consent.purposes[0]",
            "attributes[amount]",
        ),
    ),
    "every list over its limit": (
        {
            "device": {"languages": ["en"] * 17},
            "network": {"forwarded": [LONDON] * 17},
            "behaviour": {"typingIntervalsMs": [1.0] * 513},
            "session": {"amr": ["pwd"] * 17},
            "federation": {"amr": ["pwd"] * 17},
        },
        (
            "network.forwarded",
            "device.languages",
            "behaviour.typing_intervals_ms",
            "session.amr",
            "federation.amr",
        ),
    ),
    "no numbers": (
        {
            "place": {"latitude": "NaN", "longitude": "Infinity", "accuracyM": "-Infinity"},
            "behaviour": {"typingIntervalsMs": ["NaN"]},
        },
        ("place.latitude", "place.longitude", "place.accuracy_m", "behaviour.typing_intervals_ms"),
    ),
    "numbers out of range": (
        {
            "network": {"rtt": "61s"},
            "place": {"latitude": 90.1, "longitude": -180.1, "accuracyM": -1},
            "behaviour": {"pointerEvents": -1, "formDuration": "-1s", "formFailures": 1001},
        },
        (
            "network.rtt",
            "place.latitude",
            "place.longitude",
            "place.accuracy_m",
            "behaviour.pointer_events",
            "behaviour.form_duration",
            "behaviour.form_failures",
        ),
    ),
    "half of a place": ({"place": {"latitude": 51.5}}, ("place.longitude",)),
    "moments far in the future": (
        {
            "eventTime": FAR_FUTURE,
            "session": {"startTime": FAR_FUTURE, "authenticationTime": FAR_FUTURE},
            "federation": {"authenticationTime": FAR_FUTURE, "issueTime": FAR_FUTURE},
        },
        (
            "event_time",
            "session.start_time",
            "session.authentication_time",
            "federation.authentication_time",
            "federation.issue_time",
        ),
    ),
    "a moment in the wrong unit": ({"eventTime": "1970-01-20T00:00:00Z"}, ("event_time",)),
    "undeclared attributes": ({"attributes": {"colour": "red"}}, ("attributes[colour]",)),
    "10,000 attributes": ({"attributes": {f"a{n}": "" for n in range(10_000)}}, ("attributes",)),
    "several at once": (
        {"subject": "", "journey": 0, "network": {"clientIp": "here"}, "place": {"latitude": 91, "longitude": 0}},
        ("journey", "subject", "network.client_ip", "place.latitude"),
    ),
}
TOO_LARGE = risk_pb2.AssessRequest(attributes={f"attribute-{n}": "x" for n in range(10_000)})


def refused(call: grpc.RpcError) -> tuple[str, tuple[str, ...]]:
    """Reason and fields of an INVALID_ARGUMENT; every violation has a description."""
    assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
    info, bad, status = ErrorInfo(), BadRequest(), from_call(call)
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    assert info.domain == "riskd.dev"
    assert all(violation.description for violation in bad.field_violations)
    assert info.metadata["violations"] == str(len(bad.field_violations))
    return info.reason, tuple(violation.field for violation in bad.field_violations)


@contextmanager
def nothing_kept(service: Service) -> Iterator[None]:
    """Check that neither the decision log nor the store grows."""
    before = len(service.decisions()), service.remembered(), service.metric("riskd_assessments_total")
    yield
    assert (len(service.decisions()), service.remembered(), service.metric("riskd_assessments_total")) == before


@pytest.mark.parametrize("case", CASES)
def test_every_violation_is_named(case: str, service: Service) -> None:
    """All violations are reported at once in the order of the message, and nothing is recorded."""
    words, fields = CASES[case]
    request = ParseDict(words, attempt())
    with nothing_kept(service), service.stub() as stub:
        with pytest.raises(grpc.RpcError) as caught:
            stub.Assess(request, timeout=5)
        assert refused(caught.value) == ("INVALID_ATTEMPT", fields)


def test_a_request_that_is_too_large_is_not_even_read(service: Service) -> None:
    """A request above 128 KiB is refused unread."""
    with nothing_kept(service), service.stub() as stub:
        with pytest.raises(grpc.RpcError) as caught:
            stub.Assess(TOO_LARGE, timeout=5)
        assert refused(caught.value) == ("INVALID_REQUEST", ("request",))


@pytest.mark.parametrize("message", [b"\xff", b"\x22\x01\xff"], ids=["no message", "text that is not UTF-8"])
def test_bytes_that_are_no_attempt_are_refused(message: bytes, service: Service) -> None:
    """Bytes that are no valid message get an error status."""
    with nothing_kept(service), service.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/riskd.v1.RiskService/Assess", bytes, bytes)(message, timeout=5)
    assert refused(caught.value) == ("INVALID_REQUEST", ("request",))


def test_a_refused_attempt_of_a_batch_fails_no_other(service: Service) -> None:
    """In a batch each attempt has its own result, in order, and only valid ones are recorded."""
    batch = risk_pb2.BatchAssessRequest(requests=[attempt(), attempt("nowhere"), attempt()])
    before = len(service.decisions())
    with service.stub() as stub:
        results = stub.BatchAssess(batch, timeout=5).results
    assert [result.WhichOneof("result") for result in results] == ["response", "error", "response"]
    assert results[1].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert len(service.decisions()) == before + 2


def test_a_bad_outcome_teaches_nothing(service: Service) -> None:
    """An outcome with a bad kind, id, methods and time is refused and teaches nothing."""
    challenge = {"result": 9, "amr": ["pwd"] * 17, "duration": "-1s"}
    words = {"assessmentId": "x", "tenant": LONG, "eventTime": FAR_FUTURE, "challenge": challenge}
    told = ParseDict(words, risk_pb2.RecordOutcomeRequest())
    with nothing_kept(service), service.stub() as stub, pytest.raises(grpc.RpcError) as caught:
        stub.RecordOutcome(told, timeout=5)
    reason, fields = refused(caught.value)
    assert reason == "INVALID_OUTCOME"
    assert set(fields) == {"outcome", "assessment_id", "tenant", "event_time", "challenge.amr", "challenge.duration"}
