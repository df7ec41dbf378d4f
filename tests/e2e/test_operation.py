"""What an operator sees of a service: health, readiness, metrics, reflection, certificates."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from riskd._proto.riskd.v1 import risk_pb2
from riskd.core import record
from riskd.core.errors import InvalidSettings
from riskd.metrics.labels import METHODS, OTHER
from riskd.server.processes.supervisor import reserved
from tests.e2e.service import Service, attempt, eventually, riskd, serving

SERVICE = "riskd.v1.RiskService"


def test_health_and_readiness(service: Service) -> None:
    """gRPC and HTTP health agree, and an unknown service gives NOT_FOUND."""
    assert service.get("/healthz") == (200, "ok\n")
    assert service.get("/readyz") == (200, "ready\n")
    with service.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_draining_service_is_not_ready_before_it_refuses_calls(tmp_path: Path) -> None:
    """While it drains, the service is alive but not ready and still answers; then it ends with code 0."""
    with serving(tmp_path, settings={"RISKD_SERVER__LAME_DUCK_S": "1"}) as service, service.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        states = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=20)
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        service.process.terminate()
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
        eventually(lambda: service.get("/readyz")[0] == 503)
        assert service.get("/healthz")[0] == 200
        assert service.assess(attempt()).assessment_id
        states.cancel()
        assert service.process.wait(20) == 0


def test_a_service_listens_on_ipv6(tmp_path: Path) -> None:
    """Calls and metrics are served on IPv6 addresses, which are named as clients need them, and are held against
    others."""
    settings = {"RISKD_SERVER__HOST": "::1", "RISKD_METRICS__HOST": "::1"}
    with serving(tmp_path, settings=settings) as service:
        assert service.address.startswith("[::1]:")
        assert service.metrics.startswith("http://[::1]:")
        assert service.assess(attempt()).assessment_id
        assert service.get("/readyz") == (200, "ready\n")
        port = int(service.address.rpartition(":")[2])
        with pytest.raises(InvalidSettings, match=r"server\.port: cannot listen"), reserved("::1", port):
            pass


def test_readyz_stays_200_without_the_store_and_reports_it(tmp_path: Path) -> None:
    """Without its store the service stays ready and answers by the policy's postures."""
    nobody = {"RISKD_STORE__KIND": "redis", "RISKD_STORE__URL": "redis://127.0.0.1:1"}
    with serving(tmp_path, settings=nobody) as service:
        assert "store:not_written" in service.assess(attempt()).causes
        assert service.get("/readyz") == (200, "ready, without: store\n")
        assert time.time() - service.metric("riskd_failure_timestamp_seconds", part="store") < 30


def test_reflection_lists_every_method(service: Service) -> None:
    """Reflection lists exactly the methods that have metrics."""
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)
    with service.channel() as channel:
        (answer,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]), timeout=5)
    files = [FileDescriptorProto.FromString(raw) for raw in answer.file_descriptor_response.file_descriptor_proto]
    methods = {
        (f"{file.package}.{found.name}", method.name)
        for file in files
        for found in file.service
        for method in found.method
    }
    assert methods == {(name, method) for _, name, method in METHODS if name == SERVICE}


def test_counters_say_what_was_done(tmp_path: Path) -> None:
    """After some assessments the counters have their number, and every method has its own series."""
    with serving(tmp_path, workers=2) as service:
        with service.stub() as stub:
            answers = [stub.Assess(attempt(subject=str(number)), timeout=5) for number in range(7)]
            stub.Assess(attempt(subject="8", request_id="r"), timeout=5)
            stub.Assess(attempt(subject="8", request_id="r"), timeout=5)
            stub.BatchAssess(risk_pb2.BatchAssessRequest(requests=[attempt(), attempt("bad")]), timeout=5)
            sent = [risk_pb2.StreamAssessRequest(request=each) for each in (attempt(subject="9"), attempt("bad"))]
            told_of = list(stub.StreamAssess(iter(sent), timeout=5))
            assert [each.WhichOneof("result") for one in told_of for each in one.results] == ["response", "error"]
            told = risk_pb2.RecordOutcomeRequest(assessment_id=answers[0].assessment_id)
            told.session_established.SetInParent()
            stub.RecordOutcome(told, timeout=5)
            for _ in range(2):
                with pytest.raises(grpc.RpcError):
                    stub.Assess(attempt("bad"), timeout=5)

        handled = {
            (dict(labels)["grpc_method"], dict(labels)["grpc_code"]): value
            for labels, value in service.samples("grpc_server_handled_total").items()
            if value
        }
        assert handled == {
            ("Assess", "OK"): 9,
            ("Assess", "InvalidArgument"): 2,
            ("BatchAssess", "OK"): 1,
            ("StreamAssess", "OK"): 1,
            ("RecordOutcome", "OK"): 1,
        }
        for name in ("grpc_server_started_total", "grpc_server_handling_seconds_count"):
            assert service.metric(name) == 14
        assert service.metric("grpc_server_msg_received_total", grpc_type="bidi_stream") == 2
        assert service.metric("grpc_server_msg_sent_total", grpc_type="bidi_stream") == len(told_of)
        assert not [name for name in ("grpc_method", "grpc_service", "domain", "tier") if _other(service, name)]
        assert service.metric("riskd_assessments_total", domain="customer", journey="login") == 10
        assert service.metric("riskd_score_count") == 10
        assert service.metric("riskd_outcomes_total", kind="session_established") == 1
        logged = Counter(type(line) for line in service.decisions())
        assert logged == {record.AssessmentRecord: 10, record.RepeatRecord: 1, record.OutcomeRecord: 1}
        assert service.stop() == 0


def _other(service: Service, label: str) -> bool:
    """Whether anything was counted under `other`."""
    page = service.get("/metrics")[1]
    return any(f'{label}="{OTHER}"' in line and float(line.split()[-1]) > 0 for line in page.splitlines())


def test_health_and_reflection_are_not_counted_as_calls(service: Service) -> None:
    """Health checks are not counted, not even under `other`."""
    before = service.metric("grpc_server_started_total")
    with service.channel() as channel:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert service.metric("grpc_server_started_total") == before


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=riskd test", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=20)
    return certificate, key


def test_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """With a certificate, plaintext is refused, and clients that trust the certificate are answered."""
    settings = {"RISKD_SERVER__TLS_CERT": str(certificate[0]), "RISKD_SERVER__TLS_KEY": str(certificate[1])}
    arguments = ("assess", "--domain", "customer", "--subject", "kim", "--journey", "login", "--ip", "81.2.69.142")
    with serving(tmp_path / "tls", settings=settings) as service:
        trusting = riskd(*arguments, "--target", service.address, "--ca", str(certificate[0]), state=tmp_path)
        plain = riskd(*arguments, "--target", service.address, state=tmp_path)
    assert (trusting.returncode, trusting.stderr) == (0, "")
    assert "tier" in trusting.stdout
    assert plain.returncode == 3


def test_mutual_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """If client certificates are required, clients without one are refused."""
    cert, key = map(str, certificate)
    settings = {"TLS_CERT": cert, "TLS_KEY": key, "TLS_CLIENT_CA": cert}
    settings = {f"RISKD_SERVER__{name}": value for name, value in settings.items()}
    arguments = ("assess", "--domain", "customer", "--subject", "kim", "--journey", "login", "--ip", "81.2.69.142")
    with serving(tmp_path / "tls", settings=settings) as service:
        to = ("--target", service.address, "--ca", cert)
        known = riskd(*arguments, *to, "--cert", cert, "--key", key, state=tmp_path)
        unknown = riskd(*arguments, *to, state=tmp_path)
    assert (known.returncode, known.stderr) == (0, "")
    assert unknown.returncode == 3
