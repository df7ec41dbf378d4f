"""Hostile and broken clients: other callers are still answered, and memory stays bounded."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from statistics import median

import grpc
import pytest

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd.server.processes.http import CONNECTIONS, SECONDS
from tests.e2e.service import Service, attempt, eventually, reload, serving
from tests.faults.floods import FLOODS, SETTINGS, Peer, calls, frame
from tests.faults.witness import MARGIN, OWN

MIB = 1 << 20
SPARE = 256 * MIB
"""Memory that all these clients together may cost a worker: mainly the allocator arenas of its threads, which it
keeps."""
EMPTY_WINDOW = struct.pack(">HI", 4, 0)
"""SETTINGS_INITIAL_WINDOW_SIZE 0: the server may not send a byte of an answer."""
CROWD = 400


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with one worker, so that the attacked worker also serves the others; it must survive all tests."""
    with serving(tmp_path_factory.mktemp("clients")) as running:
        with running.stub() as stub:
            for _ in range(50):
                stub.Assess(attempt(), timeout=5)
        (worker,) = running.workers()
        before = private(running)
        yield running
        assert private(running) - before < SPARE
        assert running.workers() == [worker]
        assert running.metric("riskd_worker_restarts_total") == 0
        assert running.metric("grpc_server_handled_total", grpc_code="Internal") == 0


def private(service: Service) -> int:
    """Anonymous memory of the worker in bytes."""
    (worker,) = service.workers()
    status = Path(f"/proc/{worker}/status").read_text(encoding="ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))


@contextmanager
def neighbour(service: Service) -> Iterator[None]:
    """Another caller signs in meanwhile and is answered each time, usually at once."""
    stop = threading.Event()
    seconds: list[float] = []
    errors: list[grpc.RpcError] = []

    def call() -> None:
        with service.stub() as stub:
            while not (stop.is_set() and len(seconds) + len(errors) > 4):
                begun = time.monotonic()
                try:
                    stub.Assess(attempt(subject="neighbour"), timeout=5)
                    seconds.append(time.monotonic() - begun)
                except grpc.RpcError as error:
                    errors.append(error)
                stop.wait(0.01)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert errors == []
    assert median(seconds) < OWN + MARGIN


@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not reading"])
@pytest.mark.parametrize("name", FLOODS)
def test_a_flood(name: str, reads: bool, service: Service) -> None:
    """While a client floods the server with tens of thousands of frames, others are answered."""
    make, most = FLOODS[name]
    with neighbour(service):
        peer = Peer(service.address)
        peer.flood(make(), most, reads=reads)
        peer.close()
    assert peer.sent


def test_many_clients_that_read_no_answers(service: Service) -> None:
    """Calls whose answers are never read do not block other callers."""
    message = attempt(subject="slow").SerializeToString()
    with ExitStack() as peers:
        for _ in range(5):
            peer = Peer(service.address, EMPTY_WINDOW)
            peers.callback(peer.close)
            one = calls(message)
            for _ in range(99):
                peer.socket.sendall(next(one))
            time.sleep(0.5)
        with neighbour(service):
            time.sleep(0.5)


@pytest.mark.parametrize(
    "greeting", [b"", b"PRI * HT", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\0" * 100]
)
def test_many_connections_without_a_valid_request(greeting: bytes, service: Service) -> None:
    """Connections that stay half open or speak another protocol do not block other callers."""
    host, _, port = service.address.rpartition(":")
    with neighbour(service), ExitStack() as open_ones:
        for _ in range(CROWD):
            one = open_ones.enter_context(socket.create_connection((host, int(port)), timeout=5))
            one.sendall(greeting)


def test_connections_leave_files_to_the_worker(tmp_path: Path) -> None:
    """Clients that open more connections than the worker may have files neither fail a reload nor open calls; later
    clients can connect once they are gone."""
    usual, hard = getrlimit(RLIMIT_NOFILE)
    with ExitStack() as open_ones:
        open_ones.callback(setrlimit, RLIMIT_NOFILE, (usual, hard))
        setrlimit(RLIMIT_NOFILE, (600, hard))
        service = open_ones.enter_context(serving(tmp_path))
        setrlimit(RLIMIT_NOFILE, (usual, hard))
        stub = open_ones.enter_context(service.stub())
        stub.Assess(attempt(), timeout=5)
        with ExitStack() as crowd:
            for _ in range(800):
                host, _, port = service.address.rpartition(":")
                crowd.enter_context(socket.create_connection((host, int(port)), timeout=5))
            assert reload(service, "reloaded")
            assert stub.Assess(attempt(), timeout=5).assessment_id
        eventually(lambda: assessed(service))
        assert not [event for event in service.events() if event["level"] == "error"]


def assessed(service: Service) -> bool:
    """Whether a call over a new connection is answered."""
    with suppress(grpc.RpcError):
        return bool(service.assess(attempt()).assessment_id)
    return False


def test_clients_that_disconnect_during_calls(service: Service) -> None:
    """Clients that reset the connection in the middle of a call do not affect others."""
    begin = calls(attempt(subject="gone").SerializeToString(), flags=0)
    with neighbour(service):
        for _ in range(CROWD):
            peer = Peer(service.address)
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.socket.sendall(next(begin) + frame(SETTINGS, 0, 0))
            peer.close()


def oversized() -> risk_pb2.AssessRequest:
    return attempt(subject="s" * (200 << 10))


def beyond() -> risk_pb2.AssessRequest:
    return attempt(subject="s" * (3 << 20))


@pytest.mark.parametrize(
    ("request_of", "code"),
    [(oversized, grpc.StatusCode.INVALID_ARGUMENT), (beyond, grpc.StatusCode.RESOURCE_EXHAUSTED)],
    ids=["above the method's limit", "above the global limit"],
)
def test_messages_that_are_too_large(
    request_of: Callable[[], risk_pb2.AssessRequest], code: grpc.StatusCode, service: Service
) -> None:
    """A message above a size limit is refused by its length, before it is parsed."""
    with neighbour(service), service.channel() as channel:
        stub = risk_pb2_grpc.RiskServiceStub(channel)
        for _ in range(20):
            with pytest.raises(grpc.RpcError) as refused:
                stub.Assess(request_of(), timeout=5)
            assert refused.value.code() is code


def test_http_clients_that_send_byte_by_byte(service: Service) -> None:
    """However many clients send a request byte by byte, probes and Prometheus are answered within seconds."""
    address = service.metrics.removeprefix("http://").removesuffix("/metrics")
    host, _, port = address.rpartition(":")
    stop = threading.Event()

    def drip(one: socket.socket) -> None:
        while not stop.wait(0.2):
            try:
                one.sendall(b"G")
            except OSError:
                return

    with ExitStack() as open_ones:
        threads = []
        for _ in range(5 * CONNECTIONS):
            one = open_ones.enter_context(socket.create_connection((host, int(port)), timeout=5))
            threads.append(threading.Thread(target=drip, args=(one,)))
            threads[-1].start()
        begun = time.monotonic()
        eventually(lambda: answers(service))
        assert time.monotonic() - begun < SECONDS
        stop.set()
        for thread in threads:
            thread.join()


def answers(service: Service) -> bool:
    """Whether `/readyz` is answered."""
    try:
        return service.get("/readyz")[0] == 200
    except OSError:
        return False


def test_stderr_stays_json_lines(service: Service) -> None:
    """Nothing that a client sends makes a library write to the log; every line stays valid JSON."""
    assert (service.state / "events.jsonl").stat().st_size < MIB
    assert "library" not in {event["event"] for event in service.events()}
