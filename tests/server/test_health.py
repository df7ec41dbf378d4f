"""Health checks and watches report whether riskd serves, and no client can block another."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from msgspec.structs import replace

from riskd._proto.riskd.v1 import risk_pb2
from riskd.server.calls import reflection
from tests.faults.floods import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    RST_STREAM,
    WINDOW_UPDATE,
    Peer,
    call,
    frame,
)
from tests.server.world import ANYWHERE, ASSESSMENT, Running, served

States = health_pb2.HealthCheckResponse
RISK = "riskd.v1.RiskService"
NO_WINDOW = struct.pack(">HI", 4, 0)
"""HTTP/2 settings of a client to which no message can be sent."""
NOTHING = b"\0" + struct.pack(">I", 0)
"""An empty message."""
CROWD = 5
"""Connections, each with as many calls as it may have."""


@pytest.fixture
def running() -> Iterator[Running]:
    with served(replace(ANYWHERE, timeout_s=0.1)) as running:
        yield running


CHECK, WATCH, REFLECT = (
    call(path)
    for path in (
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    )
)


@contextmanager
def crowd(running: Running, sent: bytes, settings: bytes = b"") -> Iterator[list[Peer]]:
    """Connections that have sent a frame on each of a hundred streams; `sent` is written for stream 1."""
    peers = [Peer(f"127.0.0.1:{running.service.port}", settings) for _ in range(CROWD)]
    try:
        for peer in peers:
            for stream in range(1, 201, 2):
                peer.socket.sendall(sent.replace(struct.pack(">I", 1), struct.pack(">I", stream)))
        yield peers
    finally:
        for peer in peers:
            peer.close()


def is_told(running: Running, state: int) -> None:
    """Another client gets its health check and its sign-in answered."""
    with grpc.insecure_channel(f"127.0.0.1:{running.service.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        for service in ("", RISK):
            asked = health_pb2.HealthCheckRequest(service=service)
            assert health_pb2_grpc.HealthStub(channel).Check(asked, timeout=5).status == state
    assert running.stub.Assess(risk_pb2.AssessRequest(subject="other"), timeout=5).assessment_id == ASSESSMENT.id


def test_a_watch_reports_each_change(running: Running) -> None:
    """A watch reports the current state and then each change; for an unknown service it reports SERVICE_UNKNOWN and
    stays open."""
    stub = health_pb2_grpc.HealthStub(running.channel)
    streams = [stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=20) for name in ("", RISK, "", RISK)]
    unknown = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=20)
    assert next(unknown).status == States.SERVICE_UNKNOWN
    for serving, expected in ((None, States.NOT_SERVING), (True, States.SERVING), (False, States.NOT_SERVING)):
        if serving is not None:
            running.service.health.set(serving=serving)
        assert [next(stream).status for stream in streams] == [expected] * 4
    assert not any(stream.done() for stream in (*streams, unknown))


def test_watchers_that_go_are_forgotten(running: Running) -> None:
    """Watches that end are forgotten, including those of unknown services."""
    stub = health_pb2_grpc.HealthStub(running.channel)
    kept = running.service.health._watchers
    streams = [stub.Watch(health_pb2.HealthCheckRequest(service=f"{RISK}{number or ''}")) for number in range(8)]
    assert all(next(stream).status for stream in streams)
    assert len(kept) == len(streams)
    for stream in streams:
        stream.cancel()
    until = time.monotonic() + 20
    while kept:
        assert time.monotonic() < until
        is_told(running, States.NOT_SERVING)


def test_a_stop_does_not_wait_for_those_who_watch(running: Running) -> None:
    """At a stop, watches get an error; a watcher that does not read is cut off."""
    stub = health_pb2_grpc.HealthStub(running.channel)
    streams = [stub.Watch(health_pb2.HealthCheckRequest(service=name)) for name in ("", "nobody")]
    assert all(next(stream).status for stream in streams)
    deaf = Peer(f"127.0.0.1:{running.service.port}", NO_WINDOW)
    deaf.socket.sendall(frame(HEADERS, END_HEADERS, 1, WATCH) + frame(DATA, END_STREAM, 1, NOTHING))
    while len(running.service.health._watchers) < len(streams) + 1:
        is_told(running, States.NOT_SERVING)
    living = threading.Thread(target=lives, args=(deaf,))
    living.start()
    stopped = running.service.server.stop(20)
    running.service.health.end()
    assert stopped.wait(10)
    for stream in streams:
        with pytest.raises(grpc.RpcError) as told:
            next(stream)
        assert told.value.details() == "the service is stopping"
    living.join()


def lives(peer: Peer) -> None:
    """Answer pings, and nothing else, until the connection is closed."""
    peer.socket.settimeout(20)
    with peer.socket.makefile("rb") as heard:
        while len(head := heard.read(9)) == 9:
            payload = heard.read(int.from_bytes(head[:3]))
            if head[3] == PING and not head[4]:
                peer.socket.sendall(frame(PING, 1, 0, payload))
    peer.close()


def test_an_unknown_service_is_not_found(running: Running) -> None:
    """Checking an unknown service gives NOT_FOUND; bytes that are no request give INVALID_ARGUMENT."""
    raw: grpc.UnaryUnaryMultiCallable[bytes, bytes] = running.channel.unary_unary("/grpc.health.v1.Health/Check")
    for message, code in ((b"\n\x06nobody", grpc.StatusCode.NOT_FOUND), (b"\n\xff", grpc.StatusCode.INVALID_ARGUMENT)):
        with pytest.raises(grpc.RpcError) as told:
            raw(message, timeout=5)
        assert told.value.code() is code


@pytest.mark.parametrize("method", [CHECK, WATCH, REFLECT], ids=["check", "watch", "reflection"])
def test_unfinished_health_checks_delay_nobody(running: Running, method: bytes) -> None:
    """Calls whose message never comes block neither probes nor sign-ins."""
    with crowd(running, frame(HEADERS, END_HEADERS, 1, method)):
        is_told(running, States.NOT_SERVING)


def test_health_watchers_that_do_not_read_delay_nobody(running: Running) -> None:
    """Watchers that do not read block nobody, can be cancelled, and get the current state once they read."""
    sent = frame(HEADERS, END_HEADERS, 1, WATCH) + frame(DATA, END_STREAM, 1, NOTHING)
    with crowd(running, sent, NO_WINDOW) as peers:
        is_told(running, States.NOT_SERVING)
        running.service.health.set(serving=True)
        is_told(running, States.SERVING)
        for stream in range(1, 201, 2):  # those that came first may have been refused, as too many at once
            peers[-1].socket.sendall(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 100)))
        assert peers[-1].hears(b"\0\0\0\0\2\x08\1")
        for peer in peers:
            peer.socket.sendall(frame(RST_STREAM, 0, 1, struct.pack(">I", 8)))
        is_told(running, States.SERVING)


def test_a_watcher_that_does_not_read_skips_states(running: Running) -> None:
    """Once such a watcher reads, it gets the state whose sending had begun, and then the latest one."""
    peer = Peer(f"127.0.0.1:{running.service.port}", NO_WINDOW)
    peer.socket.sendall(frame(HEADERS, END_HEADERS, 1, WATCH) + frame(DATA, END_STREAM, 1, NOTHING))
    while not running.service.health._watchers:
        is_told(running, States.NOT_SERVING)
    for serving in (True, False, True):
        running.service.health.set(serving=serving)
    peer.socket.sendall(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 100)))
    heard = b""
    while len(states := heard.split(b"\0\0\0\0\2\x08")[1:]) < 2:
        heard += peer.socket.recv(65_536)
    peer.close()
    assert [state[0] for state in states] == [States.NOT_SERVING, States.SERVING]


def test_a_watch_after_the_end_is_ended(running: Running) -> None:
    """A watch that arrives once the watches were ended is ended as well: the server's stop would wait for it."""
    running.service.health.end()
    stream = health_pb2_grpc.HealthStub(running.channel).Watch(health_pb2.HealthCheckRequest(), timeout=5)
    with pytest.raises(grpc.RpcError) as told:
        next(stream)
    assert told.value.details() == "the service is stopping"
    assert not running.service.health._watchers


def test_reflection_is_for_a_few_at_a_time(running: Running) -> None:
    """Beyond a few concurrent reflection calls, one more is refused; when those end, the next is answered."""
    with crowd(running, frame(HEADERS, END_HEADERS, 1, REFLECT)):
        described(running, grpc.StatusCode.RESOURCE_EXHAUSTED)
    named = described(running, grpc.StatusCode.OK)
    assert named == {RISK, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


@pytest.mark.parametrize(
    ("messages", "code", "told"),
    [
        ([b"\x0a\xff"], grpc.StatusCode.INVALID_ARGUMENT, "not a ServerReflectionRequest"),
        ([], grpc.StatusCode.ABORTED, "STREAM_OVER"),
    ],
    ids=["no request", "silence"],
)
def test_a_reflection_stream_ends_with_its_reason(
    messages: list[bytes], code: grpc.StatusCode, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reflection stream ends with an error for bytes that are no request, and for silence."""
    monkeypatch.setattr(reflection, "SILENT_SECONDS", 0.05)
    silent = threading.Event()

    def asked() -> Iterator[bytes]:
        yield from messages
        silent.wait(10)

    with served(ANYWHERE) as running:
        raw: grpc.StreamStreamMultiCallable[bytes, bytes] = running.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        )
        stream = raw(asked(), timeout=10)
        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
        silent.set()
        assert ended.value.code() is code
        assert told in str((ended.value.details(), stream.trailing_metadata()))


def described(running: Running, code: grpc.StatusCode) -> set[str]:
    """The services that reflection lists, once the call ends with this code."""
    stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    until = time.monotonic() + 20
    while True:
        stream = stub.ServerReflectionInfo(iter([asked]), timeout=5)
        named: set[str] = set()
        with suppress(grpc.RpcError):
            named = {service.name for answer in stream for service in answer.list_services_response.service}
        if stream.code() is code:
            return named
        assert time.monotonic() < until
