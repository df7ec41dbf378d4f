"""Transport security of a running service: which clients may connect, and how certificates and callers are replaced."""

from __future__ import annotations

import os
import signal
import ssl
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import grpc
import pytest

from riskd._proto.riskd.v1 import (
    release_pb2,
    release_pb2_grpc,
    risk_pb2_grpc,
    subject_pb2,
    subject_pb2_grpc,
)
from riskd.config import load
from riskd.core.errors import InvalidSettings
from riskd.server.identity.callers import token_hash
from riskd.server.identity.tls import read_identity
from tests.e2e.service import EAGER, Service, attempt, eventually, riskd, serving
from tests.security.authority import Authority, Issued

HOST = ["127.0.0.1"]
SPIFFE = "spiffe://example.org/web"
TOKEN = "riskd_the-token-of-a-test"
NAMES = f'certificates = ["{SPIFFE}", "CN=web"]\n'
WEB = f"""
[web]
{NAMES}token_sha256 = ["{token_hash(TOKEN)}"]
methods = ["assessor"]
tenants = [""]
"""
ASSESS = ("assess", "--domain", "customer", "--subject", "kim", "--journey", "login", "--ip", "81.2.69.142")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def settings(folder: Path, shown: Issued, ours: Authority, callers: str = "") -> dict[str, str]:
    """Settings of a server with this certificate, for clients of this authority."""
    certificate, key = shown.put(folder, "server")
    (folder / "ca.pem").write_bytes(ours.certificate)
    values = {"TLS_CERT": certificate, "TLS_KEY": key}
    if callers:
        (folder / "callers.toml").write_text(callers)
        values |= {"CALLERS": str(folder / "callers.toml"), "TLS_CLIENT_CA": str(folder / "ca.pem")}
    return {f"RISKD_SERVER__{name}": value for name, value in values.items()}


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Service]:
    """A service with mutual TLS and one known caller, and with all services on its port."""
    folder = tmp_path_factory.mktemp("mutual")
    made = settings(folder, authority.issue("riskd", hosts=HOST), authority, WEB)
    made |= {"RISKD_SUBJECTS__SERVE": "port", "RISKD_RELEASE__SERVE": "port"}
    with serving(folder / "state", settings=made) as service:
        yield service


def code(service: Service, credentials: grpc.ChannelCredentials, metadata: Mapping[str, str] | None = None) -> str:
    """The status code of a call over its own connection."""
    with service.stub(credentials) as stub:
        try:
            stub.Assess(attempt(), timeout=5, metadata=tuple((metadata or {}).items()))
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def serial(service: Service) -> bytes:
    """The certificate that the server presents on a new connection."""
    host, _, port = service.address.rpartition(":")
    return ssl.get_server_certificate((host, int(port)), timeout=5).encode()


def test_a_certificate_names_its_caller(mutual: Service, authority: Authority) -> None:
    """A SPIFFE id among the subject alternative names (X.509-SVID) identifies the caller without a token."""
    assert code(mutual, authority.trusted_by(authority.issue("anything", uris=[SPIFFE]))) == "OK"


def test_the_common_name_is_used_only_without_alternative_names(mutual: Service, authority: Authority) -> None:
    """The common name counts only if there are no subject alternative names (RFC 9525), and a SPIFFE id in it does not
    count."""
    assert code(mutual, authority.trusted_by(authority.issue("web"))) == "OK"
    shown = authority.issue("web", uris=["spiffe://example.org/other"])
    assert code(mutual, authority.trusted_by(shown)) == "UNAUTHENTICATED"
    assert code(mutual, authority.trusted_by(authority.issue(SPIFFE))) == "UNAUTHENTICATED"


def test_a_certificate_of_no_caller_needs_a_token(mutual: Service, authority: Authority) -> None:
    """A client whose certificate is no caller's needs a token; a caller's certificate does not make up for a wrong
    token."""
    stranger = authority.trusted_by(authority.issue("stranger"))
    assert code(mutual, stranger) == "UNAUTHENTICATED"
    assert code(mutual, stranger, {"authorization": f"Bearer {TOKEN}"}) == "OK"
    known = authority.trusted_by(authority.issue("web", uris=[SPIFFE]))
    assert code(mutual, known, {"authorization": "Bearer wrong"}) == "UNAUTHENTICATED"


@pytest.mark.parametrize("flaw", ["none", "of another authority", "expired", "not valid yet"])
def test_a_client_without_a_valid_certificate_cannot_connect(mutual: Service, authority: Authority, flaw: str) -> None:
    """Without a certificate, or with one of another authority or outside its validity, the handshake fails; a token
    does not help."""
    shown = {
        "none": None,
        "of another authority": Authority("elsewhere").issue("web", uris=[SPIFFE]),
        "expired": authority.issue("web", uris=[SPIFFE], days=(-3, -1)),
        "not valid yet": authority.issue("web", uris=[SPIFFE], days=(1, 3)),
    }[flaw]
    before = mutual.metric("grpc_server_started_total")
    assert code(mutual, authority.trusted_by(shown), {"authorization": f"Bearer {TOKEN}"}) == "UNAVAILABLE"
    assert mutual.metric("grpc_server_started_total") == before


def test_administration_on_the_port_is_for_callers_who_may(mutual: Service, authority: Authority) -> None:
    """Where callers are configured, whoever may assess can neither erase a subject nor change a release."""
    shown = authority.trusted_by(authority.issue("web", uris=[SPIFFE]))
    with grpc.secure_channel(mutual.address, shown) as channel:
        erase = partial(subject_pb2_grpc.SubjectServiceStub(channel).EraseSubject, subject_pb2.EraseSubjectRequest())
        release = release_pb2_grpc.ReleaseServiceStub(channel)
        for call in (erase, partial(release.RollbackRelease, release_pb2.RollbackReleaseRequest())):
            with pytest.raises(grpc.RpcError) as refused:
                call(timeout=5)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_refusals_are_counted_by_code(mutual: Service, authority: Authority) -> None:
    """Refused calls are counted under UNAUTHENTICATED and PERMISSION_DENIED like any other code."""
    before = mutual.metric("grpc_server_handled_total", grpc_code="Unauthenticated")
    assert code(mutual, authority.trusted_by(authority.issue("stranger"))) == "UNAUTHENTICATED"
    assert mutual.metric("grpc_server_handled_total", grpc_code="Unauthenticated") == before + 1
    assert mutual.metric("riskd_tls_expiry_timestamp_seconds") > 0


def test_the_command_line_shows_certificate_and_token(mutual: Service, authority: Authority, tmp_path: Path) -> None:
    """Client commands take certificates and tokens from flags or environment variables, and never send a token in
    plaintext."""
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    ca, token = str(tmp_path / "ca.pem"), str(tmp_path / "token")
    to = ("--target", mutual.address)
    cert, key = authority.issue("stranger").put(tmp_path, "client")
    flags = ("--ca", ca, "--cert", cert, "--key", key)
    done = riskd(*ASSESS, *to, *flags, "--token-file", token, state=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    environment = {"CA": ca, "CERT": cert, "KEY": key, "TOKEN_FILE": token}
    variables = {f"RISKD_CLIENT_{name}": value for name, value in environment.items()}
    assert riskd(*ASSESS, *to, state=tmp_path, settings=variables).returncode == 0
    denied = riskd("subject", "show", "kim", "--domain", "customer", *to, state=tmp_path, settings=variables)
    assert denied.returncode == 1
    assert "PERMISSION_DENIED NOT_ALLOWED" in denied.stderr
    strange = riskd(*ASSESS, *to, *flags, state=tmp_path)
    assert strange.returncode == 1
    assert "UNAUTHENTICATED UNKNOWN_CALLER" in strange.stderr
    plain = riskd(*ASSESS, "--target", "192.0.2.1:1", "--token-file", token, state=tmp_path)
    assert plain.returncode == 2
    assert "plaintext" in plain.stderr
    assert TOKEN not in plain.stderr + strange.stderr


def test_a_new_certificate_is_loaded_without_a_restart(tmp_path: Path, authority: Authority) -> None:
    """New connections get a new certificate soon after its files change, and the metrics its expiry, while open ones
    continue; a bad one is refused, counted and logged, and the last good one stays in use."""
    first, second = (authority.issue("riskd", hosts=HOST, days=(0, days)) for days in (9, 19))
    made = settings(tmp_path, first, authority)
    cert, key = Path(made["RISKD_SERVER__TLS_CERT"]), Path(made["RISKD_SERVER__TLS_KEY"])
    with serving(tmp_path / "state", settings=made) as service, service.stub(authority.trusted_by()) as stub:
        stub.Assess(attempt(), timeout=5)
        assert serial(service) == first.certificate
        old, expires = service.workers(), service.metric("riskd_tls_expiry_timestamp_seconds")

        cert.write_bytes(second.certificate)
        eventually(lambda: service.metric("riskd_failures_total", part="tls") == 1)
        assert serial(service) == first.certificate
        key.write_bytes(second.key)
        eventually(lambda: serial(service) == second.certificate)
        eventually(lambda: service.metric("riskd_tls_expiry_timestamp_seconds") > expires)
        stub.Assess(attempt(), timeout=5)
        assert code(service, authority.trusted_by()) == "OK"

        expired = authority.issue("riskd", hosts=HOST, days=(-3, -1))
        for content in (b"nonsense", expired.certificate):
            failures = service.metric("riskd_failures_total", part="tls")
            cert.write_bytes(content)
            key.write_bytes(expired.key)
            eventually(lambda: service.metric("riskd_failures_total", part="tls") > failures)  # noqa: B023 - called at once
            assert serial(service) == second.certificate
        cert.unlink()
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: "No such file" in str([e for e in service.events() if e["event"] == "files_refused"][-1]))
        assert serial(service) == second.certificate
        assert service.workers() == old
        stub.Assess(attempt(), timeout=5)


def test_the_callers_file_is_reloaded_without_a_restart(tmp_path: Path) -> None:
    """A new callers file applies from the next call on, also on open connections; a bad one is refused, counted and
    logged, and the previous callers stay in force."""
    file = tmp_path / "callers.toml"
    file.write_text(WEB.replace(NAMES, ""))
    other = "riskd_another-token"
    metadata = {name: (("authorization", f"Bearer {name}"),) for name in (TOKEN, other)}
    with (
        serving(tmp_path / "s", workers=2, settings={"RISKD_SERVER__CALLERS": str(file)}) as service,
        grpc.insecure_channel(service.address, EAGER) as channel,
    ):
        stub = risk_pb2_grpc.RiskServiceStub(channel)

        def answered(token: str) -> bool:
            try:
                stub.Assess(attempt(), timeout=5, metadata=metadata[token])
            except grpc.RpcError as error:
                return error.code() is not grpc.StatusCode.UNAUTHENTICATED
            return True

        assert answered(TOKEN)
        assert not answered(other)
        file.write_text(file.read_text().replace(token_hash(TOKEN), token_hash(other)))
        eventually(lambda: answered(other))
        assert not answered(TOKEN)
        replaced = tmp_path / "bad"
        replaced.write_text("[web]\n")
        os.replace(replaced, file)  # noqa: PTH105 - atomically, as tools do
        eventually(lambda: service.metric("riskd_failures_total", part="callers") == 2)
        assert answered(other)
        told = [event for event in service.events() if event["event"] == "files_refused"]
        assert "has no identity" in str(told[-1]["problems"])
        assert other not in str(service.events())


CASES = {
    "plaintext beyond loopback": ({"HOST": "0.0.0.0"}, "server.host: 0.0.0.0 would be served in plaintext"),
    "plaintext for all of IPv6": ({"HOST": "::"}, "server.host: :: would be served in plaintext"),
    "a host name": ({"HOST": "riskd.example.org"}, "server.host: riskd.example.org would be served in plaintext"),
}


@pytest.mark.parametrize("case", CASES)
def test_plaintext_beyond_loopback_is_refused_at_startup(case: str, tmp_path: Path) -> None:
    """Without TLS, `serve` refuses to listen beyond loopback and says how to allow it."""
    given, told = CASES[case]
    environ = {f"RISKD_SERVER__{name}": value for name, value in given.items()}
    done = riskd("serve", "--port", "0", state=tmp_path, settings=environ)
    assert done.returncode == 2
    assert told in done.stderr
    assert "server.insecure = true" in done.stderr
    assert load(None, {**environ, "RISKD_SERVER__INSECURE": "true"}).server.insecure


def test_callers_make_the_port_fit_for_administration() -> None:
    """Subjects and releases may be served beyond loopback only if callers are configured."""
    environ = {"RISKD_SERVER__HOST": "0.0.0.0", "RISKD_SERVER__INSECURE": "true", "RISKD_SUBJECTS__SERVE": "port"}
    with pytest.raises(InvalidSettings, match=r"subjects\.serve"):
        load(None, environ)
    assert load(None, {**environ, "RISKD_SERVER__CALLERS": __file__}).subjects.serve == "port"


@pytest.mark.parametrize("flaw", ["not PEM", "the key of another", "expired", "not valid yet"])
def test_a_bad_certificate_is_refused_at_the_start(flaw: str, tmp_path: Path, authority: Authority) -> None:
    """A certificate is checked before it is served, and the remedy names the setting."""
    good, other = (authority.issue("riskd", hosts=HOST) for _ in range(2))
    shown, told = {
        "not PEM": (Issued(b"nonsense", b"nonsense"), "not PEM"),
        "the key of another": (Issued(good.certificate, other.key), "key values mismatch"),
        "expired": (authority.issue("riskd", days=(-3, -1)), "certificate has expired"),
        "not valid yet": (authority.issue("riskd", days=(1, 3)), "certificate is not yet valid"),
    }[flaw]
    made = load(None, settings(tmp_path, shown, authority))
    with pytest.raises(InvalidSettings) as caught:
        read_identity(made)
    (problem,) = caught.value.problems
    assert problem.where == "server.tls_cert"
    assert problem.what.startswith(f"cannot be used with server.tls_key: {told}")  # newer OpenSSL says more
    assert "nonsense" not in str(problem)


@pytest.mark.parametrize(
    "before", ["", "Certificate:\n    Data: of openssl x509 -text\n", "# Főtanúsítvány\n", "the key"]
)
def test_text_around_a_certificate_does_not_matter(before: str, tmp_path: Path, authority: Authority) -> None:
    """The first certificate in the file counts, whatever text, key or chain surrounds it."""
    issued, later = authority.issue("riskd", hosts=HOST, days=(0, 9)), authority.issue("other", hosts=HOST)
    ahead = issued.key if before == "the key" else before.encode()
    shown = Issued(ahead + issued.certificate + later.certificate, issued.key)
    made = settings(tmp_path, shown, authority, WEB)
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes(ahead + authorities.read_bytes())
    identity = read_identity(load(None, made))

    assert 8 * 86_400 < identity.expires - time.time() < 10 * 86_400
    assert identity.begins <= time.time()


def test_key_and_certificate_are_of_one_renewal(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If both are replaced after the key was read, they are read again: what is served is what was tested."""
    old, new = (authority.issue("riskd", hosts=HOST) for _ in range(2))
    made, read = load(None, settings(tmp_path, old, authority)), Path.read_bytes

    def renewing(path: Path) -> bytes:
        content = read(path)
        if content == old.key:
            new.put(tmp_path, "server")
        return content

    monkeypatch.setattr(Path, "read_bytes", renewing)
    identity = read_identity(made)
    assert Issued(identity.chain, identity.key) == new


@pytest.mark.parametrize("content", ["nonsense", "\n", ""])
def test_bad_authorities_are_refused(content: str, tmp_path: Path, authority: Authority) -> None:
    """A client CA file without a usable certificate is refused."""
    made = settings(tmp_path, authority.issue("riskd", hosts=HOST), authority, WEB)
    (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(InvalidSettings, match=r"server\.tls_client_ca: has no usable certificates"):
        read_identity(load(None, made))
