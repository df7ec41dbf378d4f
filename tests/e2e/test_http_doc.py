"""docs/http.md as it stands: its commands, its code and its blocks, with the real Envoy in front of a real service."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final
from urllib.error import URLError

import grpc
import pytest
import yaml
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd.core import record
from riskd.server.faults import FAULTS
from riskd.server.identity.callers import new_token, token_hash
from tests.e2e.clients import pages
from tests.e2e.clients.pages import App
from tests.e2e.proxy import ENVOY, FOLDER, PAGE, Configuration, Proxy, cluster, command, merge, proxied, transport
from tests.e2e.service import EAGER, LONDON, PATIENCE, ROOT, Service, attempt, eventually, serving
from tests.security.authority import Authority
from tests.security.traces import PARENT, TRACE, Receiver, traced

BOXFORD: Final = "2.125.160.216"
HOST: Final = "https://riskd.example.org:8443"
ATTEMPT: Final = json.loads(next(block for block in pages.blocks(PAGE, "json") if "request_id" in block))
REFUSED: Final = json.loads(next(block for block in pages.blocks(PAGE, "json") if "code" in block))
PYTHON, CHECK = pages.blocks(PAGE, "python")
(SCRIPT,) = pages.blocks(PAGE, "js")
MUTUAL, ELSEWHERE = (yaml.safe_load(block) for block in pages.blocks(PAGE, "yaml"))
STATUSES: Final = {
    int(status): (riskd.strip("` "), proxy.strip())
    for status, riskd, proxy in re.findall(r"^\| (\d{3}) \|(.*)\|(.*)\|$", PAGE, re.MULTILINE)
}
"""The code of riskd, and the cause in the proxy, of each status of the page; "" for neither."""


@pytest.fixture(scope="module")
def token() -> str:
    return new_token()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A receiver of traces."""
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, token: str, receiver: Receiver) -> Iterator[Service]:
    """A service with one caller, which may have one stream open, and with traces."""
    folder = tmp_path_factory.mktemp("http")
    methods = '["assessor", "outcome_reporter", "batch", "stream"]'
    callers = folder / "callers.toml"
    callers.write_text(f'[web]\ntoken_sha256 = ["{token_hash(token)}"]\nmethods = {methods}\ntenants = [""]\n')
    settings = {"RISKD_SERVER__CALLERS": str(callers), "RISKD_SERVER__MAX_STREAMS": "1", **traced(receiver.url)}
    with serving(folder / "state", settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("proxy")


@pytest.fixture(scope="module")
def proxy(service: Service, folder: Path) -> Iterator[Proxy]:
    with proxied(folder, [service.address]) as running:
        yield running


@pytest.fixture(scope="module")
def shown(token: str) -> dict[str, str]:
    """The headers of the caller."""
    return {"authorization": f"Bearer {token}"}


def login(**fields: object) -> dict[str, Any]:
    """An attempt of another person at another place than those whose tier is checked."""
    return {**ATTEMPT, "request_id": "", "subject": "lee", "network": {"client_ip": BOXFORD}, **fields}


def reason(body: str) -> str:
    """The reason of an error of riskd; "" for an error of the proxy, or of gRPC itself."""
    details = json.loads(body).get("details", []) if body.startswith("{") else []
    return next((str(each["reason"]) for each in details if "reason" in each), "")


def test_the_commands_prepare_a_valid_configuration(folder: Path, proxy: Proxy, tmp_path: Path) -> None:
    """The page's commands, in their order, leave what Envoy needs; `proxy` has run the one for the messages."""
    for name in ("riskd.binpb", "tls.crt", "tls.key"):
        shutil.copy(folder / name, tmp_path)
    install = [word.replace(FOLDER, f"{tmp_path}/") for word in command("install")]
    subprocess.run(install, cwd=ROOT, check=True, timeout=PATIENCE)
    file = tmp_path / "envoy.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace(FOLDER, f"{tmp_path}/"), encoding="utf-8")
    _, *check = [word.replace(FOLDER, f"{tmp_path}/") for word in command("envoy", "--mode")]
    done = subprocess.run([ENVOY, *check], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert proxy.process.poll() is None


def test_the_version_of_the_page_is_the_one_that_is_tested() -> None:
    """The page names the version of Envoy that ran."""
    done = subprocess.run([ENVOY, "--version"], capture_output=True, text=True, check=True, timeout=PATIENCE)
    (version,) = re.findall(r"/(\d+\.\d+)\.\d+/", done.stdout)
    assert f"Envoy {version} " in PAGE


def test_curl_asks(proxy: Proxy, folder: Path, token: str) -> None:
    """The page's command prints an answer with the names of the proto, every enum by name."""
    (folder / "attempt.json").write_text(json.dumps(ATTEMPT))
    (folder / "token.header").write_text(f"authorization: Bearer {token}\n")
    words = [word.replace(HOST, proxy.url) for word in command("curl")]
    words[words.index("grpc-timeout: 150m")] = "grpc-timeout: 5S"
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True, timeout=PATIENCE)
    answer = json.loads(done.stdout)
    assert answer.keys() == {field.name for field in risk_pb2.AssessResponse.DESCRIPTOR.fields}
    assert (answer["requirement"]["tier"], answer["requirement"]["satisfied"]) == ("TIER_STEP_UP", False)
    assert [each["code"] for each in answer["reasons"]] == ["AUTOMATED_CLIENT"]


def test_python_asks_and_reports(proxy: Proxy, service: Service, folder: Path, token: str) -> None:
    """The page's functions return a requirement, report the outcome, explain a refusal, and fall back in time."""
    (folder / "client.py").write_text(PYTHON)
    (folder / "play.py").write_text(
        "import client, json, urllib.error\n"
        f"requirement, assessment = client.assess('kim', '{LONDON}', 5000)\n"
        "client.established(assessment, 5000)\n"
        "try:\n    client.call('Assess', {'subject': 'kim'}, 5000)\n"
        "except urllib.error.HTTPError as error:\n    refused = client.explain(error)\n"
        "try:\n    client.call('Nothing', {}, 5000)\n"
        "except urllib.error.HTTPError as error:\n    unknown = client.explain(error)\n"
        "client.URL = 'https://127.0.0.1:1'\n"
        f"print(json.dumps([requirement, assessment, refused, unknown, client.assess('kim', '{LONDON}')]))\n"
    )
    (requirement, assessment, refused, unknown, without) = ran([sys.executable, "-S", "play.py"], proxy, folder, token)
    assert requirement["tier"] == "TIER_BASELINE"
    assert (refused[0], refused[1].keys()) == ("INVALID_ATTEMPT", {"domain", "journey", "network.client_ip"})
    assert unknown == ["", {}]
    assert without == [{"tier": "TIER_STEP_UP", "acr_values": ["mfa"], "satisfied": False}, ""]
    eventually(lambda: told(service, assessment) == ["session_established"])


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"HTTP/1.1 200 OK\r\n\r\n{"])
def test_an_answer_that_is_cut_short_is_no_answer(
    proxy: Proxy, folder: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """If the connection ends before an answer or within it, the page's client falls back, as without one."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PROXY_TOKEN", "token")
    code: dict[str, Any] = {}
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        monkeypatch.setenv("PROXY_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        thread = threading.Thread(target=cut_short, args=(server, sent), daemon=True)
        thread.start()
        exec(PYTHON, code)
        assert code["assess"]("kim", LONDON, 5000) == (code["WITHOUT_ANSWER"], "")
        thread.join(PATIENCE)


def cut_short(server: socket.socket, sent: bytes) -> None:
    """Answer one request with these bytes only."""
    connection, _ = server.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass


def told(service: Service, assessment: str) -> list[str]:
    found = [each for each in service.decisions() if isinstance(each, record.OutcomeRecord)]
    return [each.kind for each in found if each.assessment_id == assessment]


def test_fetch_asks(proxy: Proxy, folder: Path, token: str) -> None:
    """The page's function returns an answer, and throws the status and details of an error, riskd's or the proxy's."""
    (folder / "client.mjs").write_text(SCRIPT)
    (folder / "play.mjs").write_text(
        'import { call } from "./client.mjs";\n'
        f"const {{ requirement }} = await call('Assess', {json.dumps(login())}, 5000);\n"
        "const failed = (error) => [error.status, error.details.length];\n"
        "const refused = await call('Assess', { subject: 'kim' }, 5000).catch(failed);\n"
        "const unknown = await call('Nothing', {}, 5000).catch(failed);\n"
        "console.log(JSON.stringify([requirement.tier, refused, unknown]));\n"
    )
    came = ran(["node", "play.mjs"], proxy, folder, token, {**pages.NODE_ENVIRONMENT, "NODE_EXTRA_CA_CERTS": "ca.crt"})
    assert came[0].startswith("TIER_")
    assert came[1:] == [[400, 2], [404, 0]]


def ran(
    words: list[str], proxy: Proxy, folder: Path, token: str, environment: Mapping[str, str] | None = None
) -> list[Any]:
    """What a program printed last."""
    given = {**(environment or {}), "PROXY_URL": proxy.url, "PROXY_TOKEN": token}
    done = subprocess.run(words, cwd=folder, env=given, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    came = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(came, list)
    return came


def test_an_error_of_riskd_is_its_status_in_json(proxy: Proxy, shown: dict[str, str]) -> None:
    """The body is the one on the page, with the violations of each field."""
    status, headers, body = proxy.post("Assess", login(network={"client_ip": "nowhere"}), shown)
    assert (status, headers["content-type"], json.loads(body)) == (400, "application/json", REFUSED)


def test_every_status_of_the_page_occurs(proxy: Proxy, shown: dict[str, str], tmp_path: Path) -> None:
    """Each status of the table has the code of riskd, or comes from the proxy in the situation, that the table names;
    429 and 503 say when to try again."""
    gone = {"assessment_id": "0" * 32, "session_established": {}}
    with occupied(proxy, shown):
        overloaded = proxy.post("StreamAssess", [{"request": login()}], shown)
    seen = {
        (status, reason(body)): headers
        for status, headers, body in (
            proxy.post("Assess", {}, shown),
            proxy.post("Assess", "{", shown),
            proxy.post("Assess", login(journey="JOURNEY_LOGON"), shown),
            proxy.post("Assess", login()),
            proxy.post("RecordSecurityEvent", {"subject": "kim"}, shown),
            proxy.post("RecordOutcome", gone, shown),
            proxy.post("Nothing", {}, shown),
            proxy.post("Assess", login(subject="s" * (257 << 10)), shown),
            overloaded,
            proxy.post("Assess", login(), {**shown, "x-large": "y" * 9000}),
            proxy.post("Assess", login(), {**shown, **{f"x-{number}": "y" for number in range(100)}}),
            proxy.post("BatchAssess", {"requests": [login()] * 400}, {**shown, "grpc-timeout": "1m"}),
        )
    }
    with proxied(tmp_path, ["127.0.0.1:1"], ready=False) as alone:
        status, headers, body = alone.post("Assess", login(), shown)
        seen[status, reason(body)] = headers
    ours = {(status, each) for status, each in seen if each and status != 504}  # whoever notices the deadline first
    assert ours == {
        (400, "INVALID_ATTEMPT"),
        (401, "UNKNOWN_CALLER"),
        (403, "NOT_ALLOWED"),
        (404, "UNKNOWN_ASSESSMENT"),
        (429, "OVERLOADED"),
    }
    assert {status: FAULTS[each].code.name for status, each in ours} == {each: STATUSES[each][0] for each, _ in ours}
    assert {status for status, each in seen if not each} - {504} == {400, 404, 413, 431, 503}
    assert all(STATUSES[status][1] for status, each in seen if not each)
    assert {status for status, _ in seen} == STATUSES.keys()
    retried = {status for (status, _), headers in seen.items() if headers.get("retry-after") == "1"}
    assert retried == {429, 503}


@contextmanager
def occupied(proxy: Proxy, shown: dict[str, str]) -> Iterator[None]:
    """The only stream that the service allows is open, so that it refuses another."""
    waiting: SimpleQueue[risk_pb2.StreamAssessRequest | None] = SimpleQueue()
    waiting.put(risk_pb2.StreamAssessRequest(request=attempt()))
    with channel(proxy) as client:
        stub = risk_pb2_grpc.RiskServiceStub(client)
        stream = stub.StreamAssess(iter(waiting.get, None), timeout=PATIENCE, metadata=tuple(shown.items()))
        next(stream)
        yield
        waiting.put(None)
        assert list(stream) == []


def channel(proxy: Proxy, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """A client of gRPC with its own connection to the proxy."""
    return grpc.secure_channel(proxy.address, credentials or proxy.authority.trusted_by(), EAGER)


def test_a_deadline_bounds_the_work_of_riskd(proxy: Proxy, service: Service, shown: dict[str, str]) -> None:
    """`grpc-timeout` reaches riskd, which does not finish a batch whose deadline has passed."""
    before = len(service.decisions())
    batch = {"requests": [login(subject=f"late-{number}") for number in range(500)]}
    assert proxy.post("BatchAssess", batch, {**shown, "grpc-timeout": "50m"})[0] == 504
    proxy.post("BatchAssess", {"requests": [login(subject="next")]}, shown)  # it waits for the one before
    assert len(service.decisions()) - before < 500


def test_several_attempts_are_answered_in_order(proxy: Proxy, shown: dict[str, str]) -> None:
    """A full batch is answered, as is an array for StreamAssess, which names each attempt."""
    batch = {"requests": [login(subject=f"several-{number}") for number in range(500)]}
    status, _, body = proxy.post("BatchAssess", batch, shown)
    assert (status, len(json.loads(body)["results"])) == (200, 500)
    ids = [f"stream-{number}" for number in range(40)]
    status, _, body = proxy.post("StreamAssess", [{"request": login(request_id=each)} for each in ids], shown)
    answers = [result for message in json.loads(body) for result in message["results"]]
    assert (status, [each["request_id"] for each in answers]) == (200, ids)


def test_a_misspelt_name_is_dropped_and_found_by_the_page(
    proxy: Proxy, folder: Path, shown: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy drops an unknown name, as the page warns; the page's function refuses it and accepts what is right."""
    misspelt = login(device={"user_agnet": "python-requests/2.32.3"})
    status, _, body = proxy.post("Assess", misspelt, shown)
    assert status == 200
    assert {"source": "agent", "why": "not_sent"} in json.loads(body)["gaps"]
    monkeypatch.chdir(folder)
    page: dict[str, Any] = {}
    exec(CHECK, page)
    page["check"]("AssessRequest", ATTEMPT)
    with pytest.raises(page["json_format"].ParseError, match="user_agnet"):
        page["check"]("AssessRequest", misspelt)


def test_what_is_in_the_url_does_not_replace_the_body(proxy: Proxy, shown: dict[str, str]) -> None:
    """An unknown name in the URL is refused, and so is one that the body has as well."""
    for query in ("?sub=max", "?subject=max"):
        assert proxy.post(f"Assess{query}", login(), shown)[0] == 400


@pytest.mark.parametrize("language", pages.APPS)
def test_the_clients_for_grpc_work_as_they_are(
    proxy: Proxy, token: str, client_of: Callable[[str], App], language: str
) -> None:
    """The code of the pages for gRPC is answered through the proxy, and explains a refusal."""
    step = pages.sign_in("kim", language)
    given = {"authorities": proxy.authority.certificate.decode(), "token": token, "deadline": PATIENCE}
    came, (why, fields) = client_of(language).play(
        proxy.address.replace("127.0.0.1", "localhost"), step, {"do": "mistake"}, **given
    )
    assert came["assessment"]
    assert why == "INVALID_ATTEMPT"
    assert "network.client_ip" in fields


def test_a_refusal_over_grpc_has_its_details(proxy: Proxy, shown: dict[str, str]) -> None:
    """A stream is answered while it is open, and the refusal of another has riskd's reason and the time to retry."""
    with occupied(proxy, shown), channel(proxy) as client:
        stub = risk_pb2_grpc.RiskServiceStub(client)
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.StreamAssess(iter(()), timeout=PATIENCE, metadata=tuple(shown.items())))
    status, info, retry = rpc_status.from_call(refused.value), ErrorInfo(), RetryInfo()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [each.Unpack(info) or each.Unpack(retry) for each in status.details] == [True, True]
    assert (info.reason, retry.retry_delay.seconds) == ("OVERLOADED", 1)


def test_grpc_may_call_riskservice_only(proxy: Proxy, shown: dict[str, str]) -> None:
    """Administration, reflection and health checks are not reachable, with or without a token."""
    methods = (
        "riskd.v1.SubjectService/EraseSubject",
        "riskd.v1.ReleaseService/RollbackRelease",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "grpc.health.v1.Health/Check",
    )
    with channel(proxy) as client:
        for method in methods:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = client.unary_unary(f"/{method}")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", timeout=PATIENCE, metadata=tuple(shown.items()))
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_trace_goes_on_behind_the_proxy(proxy: Proxy, receiver: Receiver, shown: dict[str, str]) -> None:
    """`traceparent` of a call in JSON or gRPC reaches riskd unchanged."""
    given = {**shown, "traceparent": f"00-{TRACE}-{PARENT}-01"}
    assert proxy.post("Assess", login(), given)[0] == 200
    with channel(proxy) as client:
        risk_pb2_grpc.RiskServiceStub(client).Assess(attempt(), timeout=PATIENCE, metadata=tuple(given.items()))

    def parents() -> list[str]:
        return [span.parent_span_id.hex() for span in receiver.of("Assess") if span.trace_id.hex() == TRACE]

    eventually(lambda: parents() == [PARENT, PARENT])


def test_the_proxy_can_require_certificates(service: Service, token: str, tmp_path: Path) -> None:
    """With the page's block, a client without a certificate of the authority ends at the handshake, token or not."""
    callers = Authority()
    (tmp_path / "callers.crt").write_bytes(callers.certificate)
    cert, key = callers.issue("web").put(tmp_path, "client")
    with proxied(tmp_path, [service.address], lambda parsed: merge(transport(parsed), MUTUAL)) as proxy:
        shown = {"authorization": f"Bearer {token}"}
        with pytest.raises((URLError, ssl.SSLError, ConnectionError)):
            proxy.post("Assess", login(), shown)
        known = grpc.ssl_channel_credentials(
            proxy.authority.certificate, Path(key).read_bytes(), Path(cert).read_bytes()
        )
        with channel(proxy, known) as client:
            stub = risk_pb2_grpc.RiskServiceStub(client)
            assert stub.Assess(attempt(), timeout=PATIENCE, metadata=tuple(shown.items())).assessment_id


def test_riskd_may_be_on_other_machines(tmp_path: Path) -> None:
    """With the page's block, the proxy finds riskd by name, and accepts only the certificate of that name."""
    authority = Authority()
    (tmp_path / "riskd.crt").write_bytes(authority.certificate)
    cert, key = authority.issue("riskd", hosts=["riskd"]).put(tmp_path / "riskd", "server")
    settings = {"RISKD_SERVER__TLS_CERT": cert, "RISKD_SERVER__TLS_KEY": key}
    strict = json.loads(json.dumps(ELSEWHERE).replace('"exact": "riskd"', '"exact": "another"'))
    with serving(tmp_path / "state", settings=settings) as service:
        place = service.address.replace("127.0.0.1", "localhost")
        for block, status in ((ELSEWHERE, 200), (strict, 503)):
            with proxied(tmp_path, [place], partial(add, block), ready=status == 200) as proxy:
                assert proxy.post("Assess", login())[0] == status


def add(block: Configuration, parsed: Configuration) -> None:
    """Add a block to the cluster."""
    merge(cluster(parsed), block)
