"""A worker process: an engine behind a gRPC server, from start to graceful shutdown."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import TYPE_CHECKING, Final

import grpc
from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.config import Settings
from riskd.core.errors import InvalidSettings, Problem
from riskd.engine import Engine
from riskd.host.background import counting, surviving
from riskd.metrics.memory import MeterMemory
from riskd.server.calls.boundary import Boundary
from riskd.server.grpc_server import (
    Administration,
    Options,
    Service,
    build_administrative_server,
    build_server,
    release_service,
    subject_service,
)
from riskd.server.identity.callers import Callers
from riskd.server.identity.callers_file import read_callers
from riskd.server.identity.guard import Guard
from riskd.server.identity.tls import Tls
from riskd.server.identity.watch import Watched, watching
from riskd.server.processes.link import Link, Serving, Stopping
from riskd.server.processes.reloading import load, reload
from riskd.wiring import open_engine, open_releases, open_subjects

if TYPE_CHECKING:
    from riskd.server import tracing


FILES: Final = 256
"""Open files that connections leave to the rest of a worker: its store, log, geo databases, and reloads."""


def work(settings: Settings, index: int, port: int, memory: MeterMemory, link: Link) -> None:
    """Serve until told to stop, then drain. Raises RiskdError when the configuration is refused."""
    meter, tracer = _open_meter(settings, memory, index)
    releases, geo = load(settings, meter, restarted=link.restarted)
    with counting(meter.failed), open_engine(settings, meter, index, releases, geo) as engine:
        watched: list[Watched] = []
        guard, tls = open_guard(settings, meter, watched), _open_tls(settings, meter, watched)
        boundary = Boundary(meter, guard, tracer)
        administrations = _administrations(settings, engine, boundary)
        on_port = [each.administration for each in administrations if each.serve == "port"]
        credentials, options = tls.credentials() if tls else None, _options(settings, port)
        service = build_server(engine, boundary, options, credentials, on_port)
        # Only one process can listen on a Unix socket: the first worker does.
        on_sockets = [_listen(each) for each in administrations if each.serve == "socket" and not index]
        service.server.start()
        service.health.set(serving=True)
        # What was loaded lives as long as the process, so the garbage collector need not visit it again.
        gc.collect()
        gc.freeze()
        address = _address(settings.server.host, service.port)
        link.send(Serving({"address": address, "release": engine.release.id}))
        with watching(watched, guard.log_refused if guard else _nothing):
            for _ in link.reloads():
                reload(settings, engine, releases, meter, leads=not index)
                for each in watched:
                    with surviving("watch"):
                        each.reload()
        link.send(Stopping())
        _drain(settings, service)
        for stopped in [server.stop(settings.server.grace_s) for server in on_sockets]:
            stopped.wait()
        if tracer is not None:
            tracer.close()


def _open_meter(settings: Settings, memory: MeterMemory, index: int) -> tuple[PrometheusMeter, tracing.Tracer | None]:
    """The meter of a worker, and its tracer if a tracing endpoint is set. Raises InvalidSettings."""
    chosen = settings.tracing
    if not chosen.endpoint:
        return PrometheusMeter(memory, index), None
    try:
        from riskd.server import tracing  # noqa: PLC0415 - an extra, and 0.3 s
    except ImportError as error:
        what = f"tracing needs a package that is not installed: {error.name}"
        remedy = "in riskd's repository: pip install '.[trace]'"
        raise InvalidSettings([Problem("tracing.endpoint", what, remedy)]) from error
    meter = tracing.TracedMeter(memory, index)
    meter.tracer = tracing.Tracer(tracing.otlp_exporter(chosen.endpoint), chosen.ratio, meter)
    return meter, meter.tracer


class _Placed(Struct, frozen=True):
    """An administrative service, the settings section that places it, and where that serves it."""

    section: str
    serve: str
    socket: str
    administration: Administration


def _administrations(settings: Settings, engine: Engine, boundary: Boundary) -> tuple[_Placed, ...]:
    """The administrative services. Those on a Unix socket have no guard: its file permissions say who may call."""
    subjects, release, unguarded = settings.subjects, settings.release, replace(boundary, guard=None)
    of_subjects, of_releases = (boundary if each.serve == "port" else unguarded for each in (subjects, release))
    about_subjects = subject_service(open_subjects(settings, engine), of_subjects)
    about_releases = release_service(open_releases(settings), of_releases)
    return (
        _Placed("subjects", subjects.serve, subjects.socket, about_subjects),
        _Placed("release", release.serve, release.socket, about_releases),
    )


def _listen(placed: _Placed) -> grpc.Server:
    """A started server on a Unix socket. Raises InvalidSettings when it cannot listen there."""
    try:
        server = build_administrative_server(placed.administration, Path(placed.socket))
    except (OSError, RuntimeError) as error:
        what = f"cannot listen on {placed.socket}: {error}"
        raise InvalidSettings([Problem(f"{placed.section}.socket", what, "choose another path")]) from error
    server.start()
    return server


def _options(settings: Settings, port: int) -> Options:
    server = settings.server
    return Options(
        address=_address(server.host, port),
        threads=server.threads,
        timeout_s=server.default_timeout_ms / 1000,
        max_concurrent_rpcs=server.max_concurrent_rpcs,
        max_streams=server.max_streams,
        queue_s=server.queue_ms / 1000,
        standing_queue_s=server.standing_queue_ms / 1000,
        max_message_bytes=server.max_message_kb * 1024,
        max_connections=_most_connections(),
        reuse_port=True,
        max_connection_age_s=server.max_connection_age_s,
    )


def _most_connections() -> int:
    """The default, or fewer where the limit on open files is low (`ulimit -n`)."""
    files, _ = getrlimit(RLIMIT_NOFILE)
    most = Options().max_connections
    return most if files == RLIM_INFINITY else min(most, max(files - FILES, files // 2))


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_guard(settings: Settings, meter: PrometheusMeter, watched: list[Watched]) -> Guard | None:
    """The guard, or None if the settings have no callers file: then every client that reaches the port may call.

    Adds the file to `watched` before reading it, so that no change is missed. Raises InvalidCallers.
    """
    server = settings.server
    if not server.callers:
        return None
    guard = Guard(Callers(()))

    def install() -> None:
        guard.install(read_callers(Path(server.callers), mutual=bool(server.tls_client_ca)))

    watched.append(Watched("callers", [server.callers], install, meter))
    install()
    return guard


def _open_tls(settings: Settings, meter: PrometheusMeter, watched: list[Watched]) -> Tls | None:
    """The server's certificate and its authorities, or None if the settings have none. Adds the files to `watched`
    likewise; new ones apply to new connections. Raises InvalidSettings."""
    server = settings.server
    if not server.tls_cert:
        return None

    def renew() -> None:
        tls.reload()
        meter.certified(tls.identity.begins, tls.identity.expires)

    watched.append(Watched("tls", [server.tls_cert, server.tls_key, server.tls_client_ca], renew, meter))
    tls = Tls(settings)
    meter.certified(tls.identity.begins, tls.identity.expires)
    return tls


def _nothing() -> None:
    """Without a guard there are no refused calls to log."""


def _drain(settings: Settings, service: Service) -> None:
    """Report NOT_SERVING, give balancers time to notice, refuse new calls, and finish those under way."""
    service.health.set(serving=False)
    time.sleep(settings.server.lame_duck_s)
    started, grace_s = time.monotonic(), settings.server.grace_s
    service.streams.end(grace_s / 2)
    service.stop(max(grace_s - (time.monotonic() - started), 0.0))
