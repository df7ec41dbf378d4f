"""The parent process of the service: reserves the port, then runs N workers that share it, and a monitor.

Does not import grpc, protobuf or numpy, because a process that has loaded grpc must not fork. Each child imports what
it needs after the fork.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import filterfalse
from pathlib import Path
from typing import Final

from riskd.config import Settings, obtain_peppers
from riskd.core.errors import InvalidSettings, Problem
from riskd.host.file_changes import FileChanges
from riskd.host.locks import exclusive
from riskd.metrics.memory import MeterMemory
from riskd.server.processes.board import Board
from riskd.server.processes.link import Link, Serving
from riskd.server.processes.tree import ProcessTree, Task

MONITOR: Final = "monitor"
PATIENCE_S: Final = 1.0
"""Time for the processes of a killed service to disappear, before its sockets count as another service's."""
PORT_TRIES: Final = 5
PORT_PAUSE_S: Final = 0.1
"""Longest pause between two tries."""


def supervise(settings: Settings, version: str, ready: Callable[[Mapping[str, str]], None]) -> int:
    """Serve until told to stop. Returns the exit code, see `ProcessTree.run`.

    `ready` is called once, when every worker serves, with `address`, `release` and `metrics`. Raises InvalidSettings
    if the settings, policies, models or geo files are refused at the start, with every problem.
    """
    obtain_peppers(settings)
    with reserved_addresses(settings) as port:
        memory = MeterMemory(settings.server.workers + 1)
        names = [f"worker-{index}" for index in range(settings.server.workers)]
        board = Board([*names, MONITOR])
        tasks = [
            *(Task(name, partial(_work, settings, index, port, memory)) for index, name in enumerate(names)),
            Task(MONITOR, partial(_monitor, settings, version, memory, board), last=True),
        ]
        grace = settings.server.lame_duck_s + settings.server.grace_s
        tree = ProcessTree(tasks, board, grace, ready, _watch(settings))
        code = tree.run()
    if tree.problems:
        raise InvalidSettings(tree.problems)
    return code


@contextlib.contextmanager
def reserved_addresses(settings: Settings) -> Iterator[int]:
    """Reserve the port and the administrative sockets for this service, and yield the port.

    Raises InvalidSettings with every address that cannot be reserved.
    """
    server, problems, port = settings.server, list[Problem](), 0
    with contextlib.ExitStack() as held:
        try:
            port = held.enter_context(reserved(server.host, server.port))
        except InvalidSettings as error:
            problems += error.problems
        for section, chosen in (("subjects", settings.subjects), ("release", settings.release)):
            if chosen.serve == "socket":
                problems += _reserve_socket(f"{section}.socket", Path(chosen.socket), held)
        if problems:
            raise InvalidSettings(problems)
        yield port


def _reserve_socket(key: str, path: Path, held: contextlib.ExitStack) -> Iterator[Problem]:
    """Lock a file next to the socket, or yield the problem.

    gRPC replaces a Unix socket that another process listens on, so the lock decides who may listen.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if held.enter_context(exclusive(path.with_name(f"{path.name}.lock"), PATIENCE_S)):
            return
    except OSError as error:
        yield Problem(
            key, f"cannot listen on {path}: {error.strerror}", "let riskd write there, or choose another path"
        )
    else:
        remedy = f"give each service its own state.dir; if two share one, set another {key} for the second"
        yield Problem(key, f"another riskd serve listens on {path}", remedy)


@contextlib.contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Reserve a port by binding it without listening, so that only this service's workers can share it; yield it.

    Port 0 takes a free port. Raises InvalidSettings when the address is in use, also by another riskd.
    """
    for tries_left in reversed(range(PORT_TRIES)):
        try:
            holder = _bound(host, port)
            break
        except OSError as error:
            if error.errno == errno.EADDRINUSE and tries_left:  # perhaps only by the probe of another start
                time.sleep(random.uniform(0.2, 1.0) * PORT_PAUSE_S)  # noqa: S311 (to avoid another collision)
                continue
            what = f"cannot listen on {host}:{port}: {error.strerror or error}"
            remedy = "choose another address or port, or stop the process that uses it"
            raise InvalidSettings([Problem("server.port", what, remedy)]) from error
    with holder:
        yield holder.getsockname()[1]


def _bound(host: str, port: int) -> socket.socket:
    """A socket bound to the port with SO_REUSEPORT. Raises OSError if the port is in use.

    SO_REUSEPORT alone would let two services share the port by mistake. So a probe without it binds and listens first.
    If several services probe at the same moment, at most one can listen, and perhaps none.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as failed, socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        probe.listen()
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder = failed.enter_context(socket.socket(family))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(probe.getsockname()[:2])
        failed.pop_all()
        return holder


def _watch(settings: Settings) -> FileChanges | None:
    """Watches the files that workers reload; None if switched off. Files shipped with riskd do not change."""
    geo, release, seconds = settings.geo, settings.release, settings.server.watch_s
    named = (release.policies, release.models, geo.dir, geo.city, geo.asn, geo.anonymous)
    return FileChanges([Path(path) for path in named if path], seconds, time.monotonic()) if seconds else None


def _work(settings: Settings, index: int, port: int, memory: MeterMemory, link: Link) -> None:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # clients can make gRPC log, and its lines are not JSON
    from riskd.server.processes.worker import work

    work(settings, index, port, memory, link)


def _monitor(settings: Settings, version: str, memory: MeterMemory, board: Board, link: Link) -> None:
    from riskd.adapters.prometheus_meter import PrometheusMeter
    from riskd.adapters.prometheus_page import PrometheusPage
    from riskd.drift_watch import watching
    from riskd.host.background import counting
    from riskd.host.listener import Listener, Reply, monitoring
    from riskd.rebuild.watch import rebuilding
    from riskd.server.processes.http import CONNECTIONS, SECONDS, failing, readiness, readings

    page = PrometheusPage(memory, version)
    workers = [name for name in board.names if name != MONITOR]
    with contextlib.ExitStack() as running:
        running.enter_context(counting(PrometheusMeter(memory, settings.server.workers).failed))
        watch = running.enter_context(watching(settings))
        rebuild = running.enter_context(rebuilding(settings))

        def ready() -> Reply:
            takes_calls = board.opened and any(map(board.serving, workers))
            return readiness([*failing(memory), *filterfalse(board.serving, workers)], takes_calls=takes_calls)

        reply = monitoring(
            lambda accept: page.render(accept, {**readings(board), **watch.readings, **rebuild.readings}), ready
        )
        host, port = settings.metrics.host, settings.metrics.port
        server = running.enter_context(
            Listener(host, port, reply, setting="metrics.port", connections=CONNECTIONS, seconds=SECONDS)
        )
        threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
        host = f"[{server.server_name}]" if ":" in server.server_name else server.server_name
        link.send(Serving({"metrics": f"http://{host}:{server.server_port}/metrics"}))
        for _ in link.reloads():
            pass
        server.shutdown()
