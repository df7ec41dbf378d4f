"""What the monitor serves over HTTP: the metrics about the processes, and whether the service is ready."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final

from riskd.host.listener import Reply
from riskd.metrics.labels import NEEDED
from riskd.metrics.memory import MeterMemory, Readings
from riskd.metrics.table import METRICS
from riskd.server.processes.board import Board

CONNECTIONS: Final = 16
"""Connections served at the same time. Further ones wait in the kernel's backlog."""
SECONDS: Final = 5.0
"""Time for a client to send its request and read the answer."""
RECENT_SECONDS: Final = 30.0
"""`/readyz` names a part for this long after its last failure."""
_FAILED_AT: Final = next(metric for metric in METRICS if metric.name == "riskd_failure_timestamp_seconds")


def readiness(failing: Sequence[str], *, takes_calls: bool) -> Reply:
    """The reply at `/readyz`. `failing`: the parts that failed recently, and the workers that are missing.

    It stays ready when a part fails, because riskd still answers, by the policy's postures, and reports the gaps.
    Otherwise a balancer would remove every service that shares a failed store, and sign-ins would get no answer at all.
    It also stays ready while a worker is missing: the others take its calls, and what kills a worker here may kill
    workers everywhere.
    """
    if not takes_calls:
        return Reply(HTTPStatus.SERVICE_UNAVAILABLE, b"not ready: starting, stopping, or no worker serves\n")
    return Reply(HTTPStatus.OK, f"ready, without: {', '.join(failing)}\n".encode() if failing else b"ready\n")


def failing(memory: MeterMemory) -> list[str]:
    """The parts that assessments need and that failed within `RECENT_SECONDS`."""
    since, first = time.time() - RECENT_SECONDS, memory.first[_FAILED_AT.name]
    return [
        part
        for place, (part,) in enumerate(_FAILED_AT.rows, first)
        if part in NEEDED and any(memory.slots(worker)[place] > since for worker in range(memory.workers))
    ]


def readings(board: Board) -> Readings:
    """The metrics about the processes, read from the board and from `/proc`."""
    workers = [name for name in board.names if name.startswith("worker")]
    tick, page_size = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    resident: dict[tuple[str, ...], float] = {}
    cpu: dict[tuple[str, ...], float] = {}
    for name, pid in board.pids().items():
        with suppress(OSError):
            # The command's name may contain spaces and ends at the last parenthesis: proc_pid_stat(5).
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
