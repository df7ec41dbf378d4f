"""One worker: an engine behind a gRPC server, from its start to its drain."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from msgspec import Struct

from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.background import counting
from riskd.config import Settings
from riskd.core.errors import InvalidSettings, Problem
from riskd.engine import Engine
from riskd.meter_memory import MeterMemory
from riskd.server.calls.boundary import Tracer
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
from riskd.server.processes.reloading import load, reload
from riskd.server.processes.tree import Report, Serving, Stopping
from riskd.server.watch import Watched, watching
from riskd.wiring import open_engine, open_releases, open_subjects

if TYPE_CHECKING:
    from riskd.server import tracing


def work(settings: Settings, index: int, port: int, memory: MeterMemory, report: Report) -> None:
    """Serve until told to stop, then drain. Raises RiskdError when the configuration is refused."""
    meter, tracer = _metered(settings, memory, index)
    releases, geo = load(settings, meter, again=report.again)
    with counting(meter.failed), open_engine(settings, meter, index, releases, geo) as engine:
        watched: list[Watched] = []
        guard, tls = guarded(settings, meter, watched), _secured(settings, meter, watched)
        offered = _offered(settings, engine, meter, guard, tracer)
        beside = [each.administration for each in offered if each.serve == "port"]
        credentials = tls.credentials() if tls else None
        service = build_server(engine, meter, _options(settings, port), credentials, beside, guard=guard, tracer=tracer)
        # A path has one listener: the first worker is it.
        apart = [_apart(each) for each in offered if each.serve == "socket" and not index]
        service.server.start()
        service.health.tell(serving=True)
        # What was loaded lives as long as the process: collections need not walk it again.
        gc.collect()
        gc.freeze()
        report.send(Serving(_facts(settings, engine, service)))
        with watching(watched, guard.tell if guard else _nothing):
            for _ in report.reloads():
                reload(settings, engine, releases, meter, speaks=not index)
                for each in watched:
                    each.take()
        report.send(Stopping())
        _drain(settings, service)
        for stopped in [server.stop(settings.server.grace_s) for server in apart]:
            stopped.wait()
        if tracer is not None:
            tracer.close()


def _metered(settings: Settings, memory: MeterMemory, index: int) -> tuple[PrometheusMeter, tracing.Tracer | None]:
    """The meter of a worker, and its tracer where the settings ask for one. Raises InvalidSettings."""
    chosen = settings.tracing
    if not chosen.endpoint:
        return PrometheusMeter(memory, index), None
    try:
        from riskd.server import tracing  # noqa: PLC0415 - an extra, and 0.3 s
    except ImportError as error:
        what = f"spans need what is not installed: {error.name}"
        raise InvalidSettings([Problem("tracing.endpoint", what, "install riskd[trace]")]) from error
    meter = tracing.TracedMeter(memory, index)
    meter.tracer = tracing.Tracer(tracing.to(chosen.endpoint), chosen.ratio, meter)
    return meter, meter.tracer


class _Offered(Struct, frozen=True):
    """An administrative service, and what the settings say of where it is served."""

    section: str
    serve: str
    socket: str
    administration: Administration


def _offered(
    settings: Settings, engine: Engine, meter: PrometheusMeter, guard: Guard | None, tracer: Tracer | None
) -> tuple[_Offered, ...]:
    """On a socket the file system says who may call, so there is no guard."""
    subjects, release = settings.subjects, settings.release
    of_subjects, of_releases = (guard if serve == "port" else None for serve in (subjects.serve, release.serve))
    about_subjects = subject_service(open_subjects(settings, engine), meter, of_subjects, tracer)
    about_releases = release_service(open_releases(settings), meter, of_releases, tracer)
    return (
        _Offered("subjects", subjects.serve, subjects.socket, about_subjects),
        _Offered("release", release.serve, release.socket, about_releases),
    )


def _apart(offered: _Offered) -> grpc.Server:
    """The server on a Unix socket, started. Raises InvalidSettings when it cannot listen there."""
    try:
        server = build_administrative_server(offered.administration, Path(offered.socket))
    except (OSError, RuntimeError) as error:
        what = f"cannot listen on {offered.socket}: {error}"
        raise InvalidSettings([Problem(f"{offered.section}.socket", what, "choose another path")]) from error
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
        reuse_port=True,
        max_connection_age_s=server.max_connection_age_s,
    )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def guarded(settings: Settings, meter: PrometheusMeter, watched: list[Watched]) -> Guard | None:
    """Whoever lets calls in, and one more that is `watched`: from before it is read for the first time, so that no
    change is missed. None where the settings name no callers: then all who reach the port may call.

    Raises InvalidCallers.
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


def _secured(settings: Settings, meter: PrometheusMeter, watched: list[Watched]) -> Tls | None:
    """The certificate, `watched` likewise; another `server.tls_client_ca` holds for new connections. None where there
    is none. Raises InvalidSettings."""
    server = settings.server
    if not server.tls_cert:
        return None

    def renew() -> None:
        tls.reload()
        meter.certificate_expires(tls.identity.expires)

    watched.append(Watched("tls", [server.tls_cert, server.tls_key, server.tls_client_ca], renew, meter))
    tls = Tls(settings)
    meter.certificate_expires(tls.identity.expires)
    return tls


def _nothing() -> None:
    """Nobody is turned away where everybody may call."""


def _facts(settings: Settings, engine: Engine, service: Service) -> dict[str, str]:
    return {"address": _address(settings.server.host, service.port), "release": engine.release.id}


def _drain(settings: Settings, service: Service) -> None:
    """Say NOT_SERVING, give balancers time to notice, refuse new calls, finish those under way."""
    service.health.tell(serving=False)
    time.sleep(settings.server.lame_duck_s)
    begun, grace_s = time.monotonic(), settings.server.grace_s
    service.streams.end(grace_s / 2)
    service.stop(max(grace_s - (time.monotonic() - begun), 0.0))
