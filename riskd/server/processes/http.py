"""The HTTP endpoint of the monitor: `/metrics`, `/healthz`, `/readyz`. GET and HEAD, nothing else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final

from riskd.listener import TEXT, Listener, Reply, Request
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
Answer = tuple[HTTPStatus, str, bytes]


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


class Server(Listener):
    """A bounded number of connections, each for a bounded time."""

    def __init__(self, host: str, port: int, endpoint: Endpoint) -> None:
        """Binds and listens. Raises InvalidSettings when the address is taken or not ours."""

        def reply(request: Request) -> Reply:
            status, content_type, body = endpoint.answer(request.path, request.headers.get("accept", ""))
            return Reply(status, body, content_type)

        super().__init__(host, port, reply, setting="metrics.port", places=CONNECTIONS, seconds=SECONDS)


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
