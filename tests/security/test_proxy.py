"""Strangers at the proxy of docs/http.md: what they may cost, and that a known caller is answered meanwhile."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from os import sysconf
from pathlib import Path
from statistics import median
from typing import Final

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from msgspec import Struct

from riskd._proto.riskd.v1 import risk_pb2_grpc
from riskd.core import record
from riskd.server.identity.callers import new_token, token_hash
from tests.e2e.proxy import (
    SERVICE,
    Configuration,
    Proxy,
    connections,
    http_filter,
    listener,
    proxied,
)
from tests.e2e.service import EAGER, LONDON, PATIENCE, ROOT, Service, attempt, eventually, serving
from tests.faults.floods import BATCH, DATA, END_HEADERS, FLOODS, HEADERS, Peer, frame, literal
from tests.faults.witness import MARGIN, OWN

SECONDS: Final = 0.8
"""Duration of a measurement."""
STRANGERS: Final = 3
"""Connections of a flood."""
HASTE: Final = 0.5
"""Seconds of every time limit of the hasty proxy."""
HEAP: Final = 64 << 20
"""Memory of a small proxy, in bytes."""
CROWD: Final = 30
"""Connections that the hasty proxy takes."""
CALLS: Final = 10
"""Calls that the frugal proxy takes from one address."""
LOGIN: Final = {
    "domain": "IDENTITY_DOMAIN_CUSTOMER",
    "subject": "kim",
    "journey": "JOURNEY_LOGIN",
    "network": {"client_ip": LONDON},
}


@pytest.fixture(scope="module")
def token() -> str:
    return new_token()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, token: str) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    callers = folder / "callers.toml"
    callers.write_text(f'[web]\ntoken_sha256 = ["{token_hash(token)}"]\nmethods = ["assessor"]\ntenants = [""]\n')
    with serving(folder / "state", settings={"RISKD_SERVER__CALLERS": str(callers)}) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The proxy as it is shipped."""
    with proxied(tmp_path_factory.mktemp("proxy"), [service.address]) as running:
        yield running


@pytest.fixture(scope="module")
def hasty(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The same with short times and few connections."""
    with proxied(tmp_path_factory.mktemp("hasty"), [service.address], hurry) as running:
        yield running


def hurry(parsed: Configuration) -> None:
    http, haste = connections(parsed), f"{HASTE}s"
    http["request_headers_timeout"] = haste
    http["route_config"]["virtual_hosts"][0]["routes"][1]["route"]["max_stream_duration"]["max_stream_duration"] = haste
    listener(parsed)["filter_chains"][0]["transport_socket_connect_timeout"] = haste
    crowd, _ = parsed["overload_manager"]["resource_monitors"]
    crowd["typed_config"]["max_active_downstream_connections"] = CROWD


def save(parsed: Configuration) -> None:
    """Let an address call `CALLS` times, and then once a minute."""
    (limit,) = http_filter(parsed, "local_ratelimit")["descriptors"]
    limit["token_bucket"] = {"max_tokens": CALLS, "tokens_per_fill": 1, "fill_interval": "60s"}


def tls(proxy: Proxy, protocol: str = "h2") -> ssl.SSLContext:
    context = proxy.trust()
    context.set_alpn_protocols([protocol])
    return context


class Beside(Struct, frozen=True):
    """What a known caller saw: the durations of its answers, its errors, and what the worker spent meanwhile."""

    seconds: list[float]
    errors: list[str]
    spent: float

    @property
    def cost(self) -> float:
        """CPU seconds of the worker for each answer."""
        return self.spent / max(1, len(self.seconds))


def beside(address: str, credentials: grpc.ChannelCredentials | None, service: Service, token: str) -> Beside:
    """A known caller that calls again and again, 5 ms after each answer."""
    seconds: list[float] = []
    errors: list[str] = []
    made = grpc.insecure_channel(address, EAGER)
    if credentials is not None:
        made = grpc.secure_channel(address, credentials, EAGER)
    with made:
        stub = risk_pb2_grpc.RiskServiceStub(made)
        metadata = (("authorization", f"Bearer {token}"),)
        before, ends = spent(service), time.monotonic() + SECONDS
        while time.monotonic() < ends:
            begun = time.monotonic()
            try:
                stub.Assess(attempt(subject="known"), timeout=2, metadata=metadata)
                seconds.append(time.monotonic() - begun)
            except grpc.RpcError as error:
                errors.append(error.code().name)
            time.sleep(0.005)
        return Beside(seconds, errors, spent(service) - before)


def spent(service: Service, worker: int | None = None) -> float:
    """CPU seconds of a worker so far, or of all."""
    workers = service.workers() if worker is None else [worker]
    stats = [Path(f"/proc/{each}/stat").read_text(encoding="ascii") for each in workers]
    ticks = [int(tick) for stat in stats for tick in stat.rpartition(")")[2].split()[11:13]]
    return sum(ticks) / sysconf("SC_CLK_TCK")


@contextmanager
def flooding(name: str, address: str, authority: str = "") -> Iterator[None]:
    """Strangers in a process of their own."""
    words = [name, address, str(STRANGERS), authority]
    command = [sys.executable, "-m", "tests.faults.floods", *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield
            assert process.poll() is None
        finally:
            process.kill()


@pytest.fixture(scope="module")
def calm(proxy: Proxy, service: Service, token: str) -> Beside:
    """Without strangers."""
    return beside(proxy.address, proxy.authority.trusted_by(), service, token)


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_at_the_proxy_costs_riskd_nothing(
    name: str, proxy: Proxy, service: Service, token: str, calm: Beside
) -> None:
    """While strangers flood the proxy over several connections, and connect again whenever it closes one, a known
    caller is answered each time, usually at once, and an answer costs riskd about what it costs without them. (At
    riskd's own port, some of these floods cost it fifty times as much.)"""
    with flooding(name, proxy.address, str(proxy.folder / "ca.crt")):
        seen = beside(proxy.address, proxy.authority.trusted_by(), service, token)
    assert seen.errors == []
    assert median(seen.seconds) < OWN + MARGIN
    assert seen.cost < 10 * calm.cost


def test_without_the_proxy_large_headers_starve_a_known_caller(proxy: Proxy, service: Service, token: str) -> None:
    """The same flood of large headers at riskd's own port leaves the caller less than a quarter of the answers."""
    name = "headers that are not unicode"
    with flooding(name, proxy.address, str(proxy.folder / "ca.crt")):
        shielded = beside(proxy.address, proxy.authority.trusted_by(), service, token)
    with flooding(name, service.address):
        exposed = beside(service.address, None, service, token)
    assert 4 * len(exposed.seconds) < len(shielded.seconds)
    eventually(lambda: proxy.post("Assess", LOGIN)[0] == 401)


def test_forwarded_addresses_play_no_part(proxy: Proxy, service: Service, token: str) -> None:
    """The attempt is scored by the address in its message."""
    headers = {"authorization": f"Bearer {token}", "x-forwarded-for": "175.16.199.7", "forwarded": "for=175.16.199.7"}
    status, _, body = proxy.post("Assess", LOGIN, headers)
    assert status == 200
    assessment = json.loads(body)["assessment_id"]
    (line,) = [
        each for each in service.decisions() if isinstance(each, record.AssessmentRecord) if each.id == assessment
    ]
    assert (line.facts.place and line.facts.place.country) == "GB"


def test_an_address_has_a_limit_of_calls(service: Service, token: str, tmp_path: Path) -> None:
    """Further calls from one address are refused before riskd sees them, whatever X-Forwarded-For they have: over HTTP
    with the time to try again, over gRPC as RESOURCE_EXHAUSTED."""
    shown = {"authorization": f"Bearer {token}"}
    with proxied(tmp_path, [service.address], save) as proxy:
        answers = [proxy.post("Assess", LOGIN, {**shown, "x-forwarded-for": f"192.0.2.{n}"}) for n in range(CALLS + 5)]
        before = service.metric("grpc_server_started_total")
        assert [status for status, *_ in answers] == [200] * CALLS + [429] * 5
        assert {headers.get("retry-after") for status, headers, _ in answers if status == 429} == {"1"}
        with grpc.secure_channel(proxy.address, proxy.authority.trusted_by(), EAGER) as channel:
            stub = risk_pb2_grpc.RiskServiceStub(channel)
            with pytest.raises(grpc.RpcError) as refused:
                stub.Assess(attempt(), timeout=PATIENCE, metadata=tuple(shown.items()))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert service.metric("grpc_server_started_total") == before


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "half a greeting"])
def test_an_unfinished_handshake_is_given_up(sent: bytes, hasty: Proxy) -> None:
    """A connection without a complete TLS handshake is closed in time."""
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=PATIENCE) as one:
        one.sendall(sent)
        begun = time.monotonic()
        assert one.recv(1) == b""
        assert time.monotonic() - begun < 10 * HASTE


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (f"POST /{SERVICE}/Assess HTTP/1.1\r\nhost: riskd\r\nx-slow: y", 408),
        (f"POST /{SERVICE}/Assess HTTP/1.1\r\nhost: riskd\r\ncontent-length: 99\r\n\r\n{{", 408),
    ],
    ids=["headers", "body"],
)
def test_a_request_that_does_not_end_is_given_up(said: str, status: int, hasty: Proxy, service: Service) -> None:
    """Headers and bodies that do not arrive completely in time are answered by the proxy; riskd does not see them."""
    before = service.metric("grpc_server_started_total")
    with (
        socket.create_connection(("127.0.0.1", hasty.port), timeout=PATIENCE) as plain,
        tls(hasty, "http/1.1").wrap_socket(plain, server_hostname="127.0.0.1") as one,
    ):
        one.sendall(said.encode())
        assert one.recv(1 << 16).startswith(f"HTTP/1.1 {status} ".encode())
    assert service.metric("grpc_server_started_total") == before


def test_memory_is_limited(service: Service, token: str, tmp_path: Path) -> None:
    """When unfinished bodies use up the memory, further requests are refused, and answered once those bodies were
    given up."""
    fields = {":method": "POST", ":scheme": "https", ":path": f"/{SERVICE}/Assess", ":authority": "riskd"}
    headers = b"".join(literal(name.encode(), value.encode()) for name, value in fields.items())
    shown = {"authorization": f"Bearer {token}"}

    def shrink(parsed: Configuration) -> None:
        _, heap = parsed["overload_manager"]["resource_monitors"]
        heap["typed_config"]["max_heap_size_bytes"] = HEAP
        parsed["overload_manager"]["refresh_interval"] = "0.05s"

    with proxied(tmp_path, [service.address], shrink) as proxy, ExitStack() as strangers:
        assert proxy.post("Assess", LOGIN, shown)[0] == 200
        for _ in range(20):
            peer = Peer(proxy.address, tls=tls(proxy))
            strangers.callback(peer.close)
            bodies = (
                frame(HEADERS, END_HEADERS, stream, headers) + frame(DATA, 0, stream, b" " * 16_000) * 4
                for stream in count(1, 2)
            )
            peer.flood(bodies, BATCH, reads=True)
        assert proxy.post("Assess", LOGIN, shown)[0] == 503
        eventually(lambda: proxy.post("Assess", LOGIN, shown)[0] == 200)


def test_connections_are_limited(hasty: Proxy, token: str) -> None:
    """Beyond the limit, connections are closed at once; a caller that is connected goes on, and others may connect once
    the crowd is gone."""
    metadata = (("authorization", f"Bearer {token}"),)
    with grpc.secure_channel(hasty.address, hasty.authority.trusted_by(), EAGER) as channel:
        stub = risk_pb2_grpc.RiskServiceStub(channel)
        eventually(lambda: answered(stub, metadata))
        with ExitStack() as crowd:
            for _ in range(2 * CROWD):
                crowd.enter_context(socket.create_connection(("127.0.0.1", hasty.port), timeout=PATIENCE))
            with pytest.raises(OSError, match=r"EOF|reset|closed"):
                hasty.post("Assess", LOGIN)
            assert answered(stub, metadata)
    eventually(lambda: connects(hasty))


def answered(stub: risk_pb2_grpc.RiskServiceStub, metadata: tuple[tuple[str, str], ...]) -> bool:
    with suppress(grpc.RpcError):
        return bool(stub.Assess(attempt(), timeout=PATIENCE, metadata=metadata).assessment_id)
    return False


def connects(proxy: Proxy) -> bool:
    with suppress(OSError):
        return proxy.post("Assess", LOGIN)[0] > 0
    return False


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of two workers, which the last test stops."""
    settings = {"RISKD_SERVER__LAME_DUCK_S": "3"}
    with serving(tmp_path_factory.mktemp("another"), workers=2, settings=settings) as running:
        yield running


def test_workers_share_what_comes_through_the_proxy(another: Service, tmp_path: Path) -> None:
    """Calls at the same time reach all workers, although they come from one connection of a caller."""
    with (
        proxied(tmp_path, [another.address]) as proxy,
        grpc.secure_channel(proxy.address, proxy.authority.trusted_by(), EAGER) as channel,
    ):
        before = [spent(another, worker) for worker in another.workers()]
        stub = risk_pb2_grpc.RiskServiceStub(channel)
        for _ in range(16):
            calls = [stub.Assess.future(attempt(subject=f"s{number}"), timeout=PATIENCE) for number in range(64)]
            assert all(call.result().assessment_id for call in calls)
        shares = [spent(another, worker) - begun for worker, begun in zip(another.workers(), before, strict=True)]
        assert min(shares) > sum(shares) / 25, "chance decides how many connections each worker has"


def test_a_service_that_vanished_costs_no_call(service: Service, token: str, tmp_path: Path) -> None:
    """Calls that would go to a service that is gone go to the other one, before a health check has noticed."""
    gone, health = grpc.server(ThreadPoolExecutor(2)), HealthServicer()
    health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, gone)
    port = gone.add_insecure_port("127.0.0.1:0")
    gone.start()
    metadata = (("authorization", f"Bearer {token}"),)
    with (
        proxied(tmp_path, [service.address, f"127.0.0.1:{port}"]) as proxy,
        grpc.secure_channel(proxy.address, proxy.authority.trusted_by(), EAGER) as channel,
    ):
        gone.stop(0).wait()
        stub = risk_pb2_grpc.RiskServiceStub(channel)
        calls = [stub.Assess.future(attempt(), timeout=PATIENCE, metadata=metadata) for _ in range(40)]
        assert all(call.result().assessment_id for call in calls)


def test_a_restart_of_one_of_several_costs_no_call(
    another: Service, service: Service, token: str, tmp_path: Path
) -> None:
    """While one of two services says that it will stop, and stops, every call in JSON is answered."""
    seen: Counter[tuple[int, str]] = Counter()
    stop = threading.Event()

    def call(proxy: Proxy) -> None:
        while not stop.is_set():
            status, _, body = proxy.post("Assess", LOGIN, {"authorization": f"Bearer {token}"})
            seen[status, "" if status == 200 else body] += 1

    with proxied(tmp_path, [another.address, service.address]) as proxy, ExitStack() as threads:
        for _ in range(4):
            thread = threading.Thread(target=call, args=(proxy,))
            thread.start()
            threads.callback(thread.join)
        threads.callback(stop.set)
        eventually(lambda: seen[200, ""] > 20)
        assert another.stop() == 0
        ended = seen[200, ""]
        eventually(lambda: seen[200, ""] > ended + 20)
    assert seen.keys() == {(200, "")}
