"""A small HTTP server for few clients, with limits on connections, body size and time. One request per connection."""

from __future__ import annotations

import logging
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Final

from msgspec import Struct

from riskd.core.errors import InvalidSettings, Problem

TEXT: Final = "text/plain; charset=utf-8"
PROMPT: Final = 25
"""While others wait, a connection has this fraction of its time to send a complete request."""
_FULL: Final = (EMFILE, ENFILE, ENOBUFS, ENOMEM)
_REST: Final = 0.1
"""Seconds until a connection that could not be accepted is tried again; it stays in the kernel's queue."""
_LOG: Final = logging.getLogger("riskd.http")


class Request(Struct, frozen=True):
    """A client's request. `path` has no query; names of `headers` are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


class Reply(Struct, frozen=True):
    """The response. `headers` are in addition to Content-Type and Content-Length."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = TEXT
    headers: Mapping[str, str] = {}


class Listener(ThreadingMixIn, HTTPServer):
    """Serves up to `connections` at a time; others wait in the kernel's queue.

    While others wait, a connection may last `seconds`, and a `PROMPT`-th of that without a complete request.
    Otherwise it may last longer. The request line and headers are limited by http.server.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(
        self,
        host: str,
        port: int,
        reply: Callable[[Request], Reply],
        *,
        setting: str,
        connections: int,
        seconds: float,
        body_bytes: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Bind and listen. `body_bytes` limits the body of a POST; 0 refuses POST.

        Raises InvalidSettings, naming `setting`, if the address is in use or not one of this host.
        """
        self.reply = reply
        self.seconds = seconds
        self.body_bytes = body_bytes
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._connections = connections
        self._free = threading.BoundedSemaphore(connections)
        self._begun: dict[object, float] = {}
        self._asked: set[object] = set()
        self._ending = False
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            what = f"cannot listen on {host}:{port}: {error.strerror or error}"
            raise InvalidSettings(
                [Problem(setting, what, "choose another address or port, or stop the process that uses it")]
            ) from error
        if tls is not None:
            # The handshake happens at the first read, in the connection's thread, so it cannot block `accept`.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        """Bind as TCPServer does. HTTPServer would resolve the host's name, which can block."""
        super(HTTPServer, self).server_bind()
        host, self.server_port = self.socket.getsockname()[:2]
        self.server_name = str(host)

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a connection. While the process has no free file, rest: the next try would fail at once, too."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in _FULL:
                time.sleep(_REST)
            raise

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Start a thread for a connection, once there is room. Until then, close connections that overstay."""
        prompt = self.seconds / PROMPT
        while not self._free.acquire(timeout=prompt):
            if self._ending:
                return self.shutdown_request(request)
            now = time.monotonic()
            self._hang_up(now - prompt, self._asked.copy())
            self._hang_up(now - self.seconds)
        self._begun[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # cannot start a thread
            self._leave(request)
            raise

    def _hang_up(self, before: float, spared: Collection[object] = ()) -> None:
        """Close connections that began before `before` (monotonic), except those in `spared`.

        The socket timeout alone would not: a client that sends a byte now and then resets it.
        """
        for request, begun in list(self._begun.items()):
            if begun < before and request not in spared and isinstance(request, socket.socket):
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Serve one connection, then make room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave(request)

    def _leave(self, request: object) -> None:
        self._begun.pop(request, None)
        self._asked.discard(request)
        self._free.release()

    def asked(self, request: object) -> None:
        """Note that a complete request has arrived, which is still answered during shutdown."""
        self._asked.add(request)

    def shutdown(self) -> None:
        """Stop accepting connections. Returns once that is done."""
        self._ending = True
        super().shutdown()

    def finish(self) -> None:
        """Graceful shutdown, to be called after `shutdown`: close connections without a complete request, and wait up
        to `seconds` until the others are answered.
        """
        until = time.monotonic() + self.seconds
        self._hang_up(until, self._asked.copy())
        for _ in range(self._connections):
            if not self._free.acquire(timeout=max(0.0, until - time.monotonic())):
                return

    def handle_error(self, request: object, client_address: object) -> None:
        """Log an unexpected exception. A client that disconnected is not one."""
        if not isinstance(sys.exception(), OSError):
            _LOG.error("page_failed", exc_info=True)


def monitoring(page: Callable[[str], tuple[str, bytes]], ready: Callable[[], Reply]) -> Callable[[Request], Reply]:
    """Replies at `/metrics`, `/healthz` and `/readyz`, for a `Listener`.

    `page` renders the metrics for an Accept header, as content type and body; it is called by one thread at a time.
    `ready`: the reply at `/readyz`.
    """
    lock = threading.Lock()

    def reply(request: Request) -> Reply:
        if request.path == "/metrics":
            with lock:
                content_type, body = page(request.headers.get("accept", ""))
            return Reply(HTTPStatus.OK, body, content_type)
        if request.path == "/healthz":
            return Reply(HTTPStatus.OK, b"ok\n")
        if request.path == "/readyz":
            return ready()
        return Reply(HTTPStatus.NOT_FOUND, b"not found; try /metrics, /healthz or /readyz\n")

    return reply


class _Handler(BaseHTTPRequestHandler):
    server: Listener
    default_request_version = "HTTP/1.0"
    """The version of an answer to a request whose own cannot be read; HTTP/0.9 has no status."""

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.seconds)

    def do_GET(self) -> None:
        self._answer(self._asked("GET", b""))

    def do_HEAD(self) -> None:
        self._answer(self._asked("GET", b""), with_body=False)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not self.server.body_bytes:
            self._answer(Reply(HTTPStatus.METHOD_NOT_ALLOWED, b"GET and HEAD, nothing else\n"))
        elif not (length.isascii() and length.isdecimal()):
            self._answer(Reply(HTTPStatus.LENGTH_REQUIRED, b"say Content-Length\n"))
        elif len(length) > 10 or int(length) > self.server.body_bytes:
            self._answer(Reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"the body is too long\n"))
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                self._answer(self._asked("POST", body))

    def _asked(self, method: str, body: bytes) -> Reply:
        self.server.asked(self.connection)
        headers = {name.lower(): value for name, value in self.headers.items()}
        return self.server.reply(Request(method, self.path.partition("?")[0], headers, body))

    def _answer(self, reply: Reply, *, with_body: bool = True) -> None:
        self.send_response_only(reply.status)
        if reply.body:
            self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(reply.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a malformed request with its status. http.server's page repeats the request and names Python's
        version."""
        self._answer(Reply(HTTPStatus(code)))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: requests are scrapes and probes."""
