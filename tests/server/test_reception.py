"""A call without its message blocks nobody; a complete one is handled and ends as gRPC would."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from google.rpc.status_pb2 import Status
from grpc_status.rpc_status import to_status
from msgspec.structs import replace

from riskd.server.calls.admission import Pooled
from riskd.server.calls.reception import Arrivals, Reception
from tests.e2e.service import eventually
from tests.faults.floods import DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Peer, call, frame
from tests.server.world import ANYWHERE, served

METHOD = "/laws/Echo"
CALL = call(METHOD)
MOST = 64
"""Most calls whose message has not arrived."""
MESSAGE = b"\0" + struct.pack(">I", 5) + b"hello"


class Counted(ThreadPoolExecutor):
    """A pool of one thread that counts the calls it is given."""

    def __init__(self) -> None:
        super().__init__(1)
        self.given = 0
        self.arrivals = Arrivals(self, MOST, lambda: to_status(Status(code=8, message="too many")))

    def await_arrivals(self, many: int) -> None:
        """Wait until the server has heard of this many calls without their message."""
        eventually(lambda: len(self.arrivals._pending) == many)

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]  # as the base
        self.given += 1
        return super().submit(fn, *args, **kwargs)


@contextmanager
def serving() -> Iterator[tuple[str, Counted]]:
    """A server with one echo method, and one thread for it."""
    pool = Counted()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
        Pooled(Reception(pool.arrivals.take, lambda *_: None), lambda request, _: request)
    )
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("laws", {"Echo": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", pool
    finally:
        server.stop(0).wait()
        pool.shutdown()


def echo(channel: grpc.Channel, message: bytes = b"m") -> bytes:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
    return call(message, timeout=10)


def test_whole_calls_are_answered() -> None:
    """Calls are answered one after another and many at once, with empty and large messages."""
    with serving() as (address, pool), grpc.insecure_channel(address) as channel, ThreadPoolExecutor(8) as crowd:
        messages = [b"", b"m", b"x" * 1_000_000, *(b"%d" % number for number in range(200))]
        assert list(crowd.map(lambda message: echo(channel, message), messages)) == messages
        assert pool.given == len(messages)


def test_calls_without_their_message_do_not_block_others() -> None:
    """However many calls wait for their message, others are answered, and take the place of none; when a message comes,
    its call is answered."""
    with serving() as (address, pool), grpc.insecure_channel(address) as channel:
        peer = Peer(address)
        for stream in range(1, 2 * MOST - 1, 2):
            peer.socket.sendall(frame(HEADERS, END_HEADERS, stream, CALL))
        pool.await_arrivals(MOST - 1)
        assert [echo(channel) for _ in range(5)] == [b"m"] * 5
        assert pool.given == 5
        peer.socket.sendall(frame(DATA, END_STREAM, 1, MESSAGE))
        assert peer.hears(b"hello")
        assert pool.given == 6
        peer.close()


def test_a_call_that_ends_without_a_message_is_an_error() -> None:
    """A call that ends without a message gets gRPC's error, and uses no thread of the pool."""
    with serving() as (address, pool), grpc.insecure_channel(address) as channel:
        peer = Peer(address)
        peer.socket.sendall(frame(HEADERS, END_HEADERS | END_STREAM, 1, CALL))
        assert peer.hears(b"exactly one request message")
        assert pool.given == 0
        assert echo(channel) == b"m"
        peer.close()


def test_too_many_unfinished_calls_evict_the_oldest() -> None:
    """If too many calls wait for their message, the oldest is refused; younger ones wait on, and complete calls are
    answered."""
    with serving() as (address, pool), grpc.insecure_channel(address) as channel:
        peer = Peer(address)
        for stream in range(1, 2 * MOST + 3, 2):
            peer.socket.sendall(frame(HEADERS, END_HEADERS, stream, CALL))
        assert peer.hears(b"too many")
        assert echo(channel) == b"m"
        peer.socket.sendall(frame(DATA, END_STREAM, 2 * MOST + 1, MESSAGE))
        assert peer.hears(b"hello")
        peer.socket.sendall(frame(DATA, END_STREAM, 1, MESSAGE))
        assert [echo(channel) for _ in range(3)] == [b"m"] * 3
        assert pool.given == 5
        peer.close()


@pytest.mark.parametrize("cut", ["reset", "connection"])
def test_cancelled_calls_do_not_block_others(cut: str) -> None:
    """Calls that are reset or cut off block neither others nor the server's stop."""
    with serving() as (address, _), grpc.insecure_channel(address) as channel:
        for _ in range(20):
            peer = Peer(address)
            for stream in range(1, 41, 2):
                peer.socket.sendall(frame(HEADERS, END_HEADERS, stream, CALL))
                if cut == "reset":
                    peer.socket.sendall(frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))
            peer.close()
        assert echo(channel) == b"m"


def test_a_connection_that_does_not_begin_is_closed() -> None:
    """A connection whose client never sends HTTP/2's first frame is closed after a while."""
    with served(replace(ANYWHERE, handshake_s=1)) as running:
        address = ("127.0.0.1", running.service.port)
        for begin in (b"", b"PRI * HT"):
            with socket.create_connection(address, timeout=10) as one:
                one.sendall(begin)
                while one.recv(100):  # the server's settings, then the end
                    pass


def test_a_stop_does_not_wait_for_half_sent_calls() -> None:
    """A call without its message is cancelled at the end of the grace period."""
    with serving() as (address, _):
        peer = Peer(address)
        peer.socket.sendall(frame(HEADERS, END_HEADERS, 1, CALL))
        stopper = threading.Event()
        assert not stopper.wait(0.2)
    peer.close()
