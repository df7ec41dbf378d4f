"""A connection to a server, on which every wait ends at the caller's deadline."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Sequence
from contextlib import ExitStack
from time import monotonic
from typing import Final

import hiredis
from msgspec import Struct

Reply = bytes | int | None | hiredis.ReplyError | list["Reply"]
_MISSING: Final = object()
_CHUNK: Final = 65_536
_NOT_YET: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_LATE: Final = "no answer in time"


class Address(Struct, frozen=True, order=True):
    """Where a server listens: host and port, or the path of a Unix socket."""

    host: str = ""
    port: int = 6379
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def pack(*words: bytes) -> bytes:
    """A command as it is sent."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # of any length; its stub says one
    return packed


class Link:
    """A connection, for one thread at a time. Deadlines are times of `time.monotonic`.

    Methods raise OSError (TimeoutError at the deadline) and hiredis.ProtocolError. After either the link must be
    closed, because replies to the failed call may still arrive.
    """

    clustered = False
    """Whether the server belongs to a cluster. Set by `greeting.connect`."""
    begun = 0.0
    """When something was last sent."""

    def __init__(self, address: Address, tls: ssl.SSLContext | None, deadline: float) -> None:
        """Connect. The deadline does not apply to looking up the host's name, which the system does."""
        with ExitStack() as failed:
            plain = _connected(address, deadline)
            failed.callback(plain.close)
            self._socket = plain
            if tls is not None:
                plain.settimeout(_left(deadline))
                self._socket = tls.wrap_socket(plain, server_hostname=address.host, do_handshake_on_connect=False)
                failed.callback(self._socket.close)
                self._socket.do_handshake()
            failed.pop_all()
        self._socket.setblocking(False)  # `poll` does the waiting; a socket timeout would cost a system call each time
        self._reader = hiredis.Reader(notEnoughData=_MISSING)
        self._buffer = bytearray(_CHUNK)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def idle(self) -> bool:
        """Whether it is still connected and has received nothing unexpected."""
        return not self._poll.poll(0)

    def send(self, packed: bytes, deadline: float) -> None:
        """Pass all bytes to the operating system."""
        self.begun = monotonic()
        if self.begun >= deadline:
            raise TimeoutError(_LATE)
        try:
            sent = self._socket.send(packed)
        except _NOT_YET:
            sent = 0
        if sent < len(packed):
            self._socket.settimeout(_left(deadline))
            self._socket.sendall(memoryview(packed)[sent:])
            self._socket.setblocking(False)

    def receive(self, number: int, deadline: float) -> list[Reply]:
        """The next `number` replies, in order. Errors of the server are returned as values. Replies that have arrived
        by the deadline are accepted."""
        replies: list[Reply] = []
        reader, buffer = self._reader, self._buffer
        while len(replies) < number:
            if not self._poll.poll(max(deadline - monotonic(), 0) * 1000):
                raise TimeoutError(_LATE)
            try:
                received = self._socket.recv_into(buffer)
            except _NOT_YET:
                continue
            except ConnectionResetError:
                received = 0
            if not received:
                refusals = [str(reply) for reply in replies if isinstance(reply, hiredis.ReplyError)]
                raise ConnectionResetError(*(refusals or ["the server closed the connection"])[:1])
            reader.feed(buffer, 0, received)  # type: ignore[arg-type]  # any buffer; its stub says bytes
            replies += iter(reader.gets, _MISSING)
        if len(replies) > number:
            raise hiredis.ProtocolError("more replies than commands")
        return replies

    def ask(self, commands: Sequence[tuple[bytes, ...]], deadline: float) -> list[Reply]:
        """Send the commands together and return their replies."""
        self.send(b"".join([pack(*command) for command in commands]), deadline)
        return self.receive(len(commands), deadline)

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._socket.close()


def _connected(address: Address, deadline: float) -> socket.socket:
    if not address.path:
        connected = socket.create_connection((address.host, address.port), _left(deadline))
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connected
    with ExitStack() as failed:
        connected = failed.enter_context(socket.socket(socket.AF_UNIX))
        connected.settimeout(_left(deadline))
        connected.connect(address.path)
        failed.pop_all()
    return connected


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError(_LATE)
    return left
