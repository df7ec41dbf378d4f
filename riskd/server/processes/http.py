"""The HTTP endpoint of the monitor: `/metrics`, `/healthz`, `/readyz`. GET and HEAD, nothing else."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Final

from riskd.core.errors import InvalidSettings, Problem
from riskd.meter_memory import MeterMemory, Readings
from riskd.metrics import METRICS, NEEDED
from riskd.server.processes.tree import Board

CONNECTIONS: Final = 16
"""Served at a time; more wait in the kernel's queue."""
SECONDS: Final = 5.0
"""For a client to send its request and take the answer."""
LATELY_SECONDS: Final = 30.0
"""After a part's last failure `/readyz` names it for so long."""
_FAILED_AT: Final = next(metric for metric in METRICS if metric.name == "riskd_failure_timestamp_seconds")
_LOG: Final = logging.getLogger("riskd.http")
Answer = tuple[HTTPStatus, str, bytes]
TEXT: Final = "text/plain; charset=utf-8"


class Endpoint:
    """What each path answers. `page` renders the metrics for an Accept header; `ready` says whether calls are to come,
    and `failing` which parts failed lately, or are missing.

    Parts that fail leave it ready: it still answers, by the policy's postures, and says what it lacks. Were it taken
    out of the balancer, so would all others that share the store, and sign-ins would have no answer at all. So does a
    worker that is missing: the others take its calls, and what kills workers here may kill them everywhere.
    """

    def __init__(
        self, page: Callable[[str], tuple[str, bytes]], ready: Callable[[], bool], failing: Callable[[], Sequence[str]]
    ) -> None:
        self._page = page
        self._ready = ready
        self._failing = failing
        self._lock = threading.Lock()

    def answer(self, path: str, accept: str) -> Answer:
        """Status, content type and body."""
        path = path.partition("?")[0]
        if path == "/metrics":
            with self._lock:
                return HTTPStatus.OK, *self._page(accept)
        if path == "/healthz":
            return HTTPStatus.OK, TEXT, b"ok\n"
        if path == "/readyz":
            if self._ready():
                failing = ", ".join(self._failing())
                return HTTPStatus.OK, TEXT, f"ready, without: {failing}\n".encode() if failing else b"ready\n"
            return HTTPStatus.SERVICE_UNAVAILABLE, TEXT, b"no worker serves, or some begin, or it stops\n"
        return HTTPStatus.NOT_FOUND, TEXT, b"there is /metrics, /healthz and /readyz\n"


class Server(ThreadingMixIn, HTTPServer):
    """A bounded number of connections, each for a bounded time. The line of a request is bounded by http.server."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, host: str, port: int, endpoint: Endpoint) -> None:
        """Binds and listens. Raises InvalidSettings when the address is taken or not ours."""
        self.endpoint = endpoint
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        self._begun: dict[object, float] = {}
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            what = f"cannot listen on {host}:{port}: {os.strerror(error.errno) if error.errno else error}"
            raise InvalidSettings(
                [Problem("metrics.port", what, "choose another port, or stop who holds it")]
            ) from error

    def server_bind(self) -> None:
        """As TCPServer does; HTTPServer would look the host's name up."""
        super(HTTPServer, self).server_bind()
        host, self.server_port = self.socket.getsockname()[:2]
        self.server_name = str(host)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """A thread a connection, once there is a place for it."""
        while not self._places.acquire(timeout=SECONDS / 10):
            self._hang_up()
        self._begun[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system has no thread to give
            self._leave(request)
            raise

    def _hang_up(self) -> None:
        """On whoever drips: each byte would have its own time."""
        late = time.monotonic() - SECONDS
        for request, begun in list(self._begun.items()):
            if begun < late and isinstance(request, socket.socket):
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """One connection, to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave(request)

    def _leave(self, request: object) -> None:
        self._begun.pop(request, None)
        self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news; all else is."""
        if not isinstance(sys.exception(), OSError):
            _LOG.error("page_failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = SECONDS
    server: Server

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        status, content_type, body = self.server.endpoint.answer(self.path, self.headers.get("Accept", ""))
        self.send_response_only(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Scrapes and probes are not logged."""


def failing(memory: MeterMemory) -> list[str]:
    """The parts of an answer that failed lately."""
    since, first = time.time() - LATELY_SECONDS, memory.first[_FAILED_AT.name]
    return [
        part
        for place, (part,) in enumerate(_FAILED_AT.rows, first)
        if part in NEEDED and any(memory.slots(worker)[place] > since for worker in range(memory.workers))
    ]


def readings(board: Board) -> Readings:
    """The metrics that the processes themselves are."""
    workers = [name for name in board.names if name.startswith("worker")]
    tick, page_size = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    resident: dict[tuple[str, ...], float] = {}
    cpu: dict[tuple[str, ...], float] = {}
    for name, pid in board.pids().items():
        with suppress(OSError):
            # The command's name may hold spaces; what follows its last parenthesis does not: proc_pid_stat(5).
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu[name,] = (int(fields[11]) + int(fields[12])) / tick
            resident[name,] = float(int(fields[21]) * page_size)
    return {
        "riskd_workers": {(): float(len(workers))},
        "riskd_workers_serving": {(): float(sum(board.serving(name) for name in workers))},
        "riskd_worker_restarts_total": {(): float(board.restarts)},
        "riskd_process_resident_bytes": resident,
        "riskd_process_cpu_seconds_total": cpu,
    }
