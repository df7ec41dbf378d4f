"""Builds the gRPC server of one worker. Processes, signals and draining are the supervisor's."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, Generic, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from msgspec import Struct

from riskd._proto.riskd.v1 import release_pb2, risk_pb2, subject_pb2
from riskd.server.guard import Guard
from riskd.server.handlers import Handlers
from riskd.server.interceptors import RpcMeter, unary
from riskd.server.release_servicer import Releases, ReleaseServicer
from riskd.server.servicer import Engine, RiskServicer
from riskd.server.subject_servicer import Subjects, SubjectServicer

SERVICE: Final = risk_pb2.DESCRIPTOR.services_by_name["RiskService"].full_name
SUBJECTS: Final = subject_pb2.DESCRIPTOR.services_by_name["SubjectService"].full_name
RELEASES: Final = release_pb2.DESCRIPTOR.services_by_name["ReleaseService"].full_name
ADMINISTRATION_BYTES: Final = 8 * 1024
"""Largest request to an administrative service: two identifiers and a page token, or a reason."""
ATTEMPT_BYTES: Final = 128 * 1024
"""Largest request about one attempt: with every field at its bound it has 73 KiB, usually 250 bytes."""
HELD_UP: Final = 1.5
"""Times its timeout that a call may take before its handler counts as held up."""
Request = TypeVar("Request")
Response = TypeVar("Response")


class Options(Struct, frozen=True, kw_only=True):
    """How a worker serves."""

    address: str = "127.0.0.1:50551"
    """Host and port; port 0 takes a free one."""
    threads: int = 1
    """Calls handled at a time, batches apart. Two that compute only take the interpreter lock from each other."""
    timeout_s: float = 0.1
    """For one attempt or outcome, where the caller's deadline leaves that much."""
    max_concurrent_rpcs: int = 256
    """Under way and queued; beyond it calls get RESOURCE_EXHAUSTED at once. 256 queue for some 60 ms."""
    max_message_bytes: int = 1024 * 1024
    """Largest request of all: a batch of 500 attempts with every usual signal, at 2 KiB each."""
    reuse_port: bool = False
    """Share the port with other workers (SO_REUSEPORT)."""
    max_connection_age_s: int = 300
    """Connections are closed kindly after this time (gRPC varies it by a tenth), so that clients spread."""
    max_connection_idle_s: int = 600
    """Idle connections are closed after this time."""
    connection_grace_s: int = 30
    """Time for the calls on a connection that is closed for its age."""
    min_ping_interval_s: int = 30
    """Shortest interval of clients' keepalive pings that is tolerated."""


class Service(Struct, frozen=True):
    """A server, not yet started, its health, and the port that it has bound."""

    server: grpc.Server
    health: health.HealthServicer
    port: int


class Administration(Struct, frozen=True):
    """An administrative service: who may assess may not thereby use it. Served on a socket of its own, or beside."""

    service: str
    handler: grpc.GenericRpcHandler


def build_server(
    engine: Engine,
    meter: RpcMeter,
    options: Options,
    credentials: grpc.ServerCredentials | None = None,
    beside: Sequence[Administration] = (),
    *,
    guard: Guard | None = None,
) -> Service:
    """A bound server with RiskService, health (NOT_SERVING until told) and reflection; and what is served `beside`.

    Without `credentials` the port is plaintext, for loopback and meshes; without a `guard`, whoever reaches it may
    call. Health and reflection, which tell nothing of anybody, are open to all. Raises RuntimeError when the address
    cannot be bound.
    """
    server = grpc.server(
        Handlers(options.threads, "rpc", held_up_s=HELD_UP * options.timeout_s),
        options=channel_arguments(options),
        maximum_concurrent_rpcs=options.max_concurrent_rpcs,
    )
    server.add_generic_rpc_handlers([_risk_service(engine, meter, options, guard)])
    states = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(states, server)
    server.add_generic_rpc_handlers([each.handler for each in beside])
    _add_reflection(server, (SERVICE, *(each.service for each in beside)))
    set_serving(states, False)
    if credentials is None:
        port = server.add_insecure_port(options.address)
    else:
        port = server.add_secure_port(options.address, credentials)
    return Service(server, states, port)


def build_administrative_server(administration: Administration, path: Path) -> grpc.Server:
    """A server, not yet started, with it and reflection on a Unix socket that only this user can open.

    Raises RuntimeError when the socket cannot be bound.
    """
    server = grpc.server(ThreadPoolExecutor(1, thread_name_prefix="apart"), maximum_concurrent_rpcs=16)
    server.add_generic_rpc_handlers([administration.handler])
    _add_reflection(server, (administration.service,))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mask = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    finally:
        os.umask(mask)
    return server


def set_serving(states: health.HealthServicer, serving: bool) -> None:
    """What health checks answer from now on, for the server as a whole and for RiskService."""
    state = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
    for service in ("", SERVICE):
        states.set(service, state)


def _risk_service(engine: Engine, meter: RpcMeter, options: Options, guard: Guard | None) -> grpc.GenericRpcHandler:
    servicer = RiskServicer(engine, options.timeout_s)
    several = options.max_message_bytes
    one = min(ATTEMPT_BYTES, several)
    rpc = partial(unary, meter=meter, guard=guard)
    assess = rpc(f"{SERVICE}/Assess", risk_pb2.AssessRequest, servicer.assess, max_bytes=one)
    batch = rpc(f"{SERVICE}/BatchAssess", risk_pb2.BatchAssessRequest, servicer.batch_assess, max_bytes=several)
    record = rpc(f"{SERVICE}/RecordOutcome", risk_pb2.RecordOutcomeRequest, servicer.record_outcome, max_bytes=one)
    methods = {"Assess": assess, "BatchAssess": _aside(batch, "batch"), "RecordOutcome": record}
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def subject_service(subjects: Subjects, meter: RpcMeter, guard: Guard | None = None) -> Administration:
    """Off the threads of sign-ins: an export reads for up to a second, an erasure as long as it must."""
    servicer = SubjectServicer(subjects)
    rpc = partial(unary, meter=meter, max_bytes=ADMINISTRATION_BYTES, guard=guard)
    show, export, erase = servicer.get_subject_summary, servicer.export_subject, servicer.erase_subject
    methods = {
        "GetSubjectSummary": rpc(f"{SUBJECTS}/GetSubjectSummary", subject_pb2.GetSubjectSummaryRequest, show),
        "ExportSubject": rpc(f"{SUBJECTS}/ExportSubject", subject_pb2.ExportSubjectRequest, export),
        "EraseSubject": rpc(f"{SUBJECTS}/EraseSubject", subject_pb2.EraseSubjectRequest, erase),
    }
    return _administration(SUBJECTS, methods)


def release_service(releases: Releases, meter: RpcMeter, guard: Guard | None = None) -> Administration:
    """Off the threads of sign-ins: an activation waits for all processes."""
    servicer = ReleaseServicer(releases)
    rpc = partial(unary, meter=meter, max_bytes=ADMINISTRATION_BYTES, guard=guard)
    find, all_ = servicer.get_release, servicer.list_releases
    activate, rollback = servicer.activate_release, servicer.rollback_release
    methods = {
        "GetRelease": rpc(f"{RELEASES}/GetRelease", release_pb2.GetReleaseRequest, find),
        "ListReleases": rpc(f"{RELEASES}/ListReleases", release_pb2.ListReleasesRequest, all_),
        "ActivateRelease": rpc(f"{RELEASES}/ActivateRelease", release_pb2.ActivateReleaseRequest, activate),
        "RollbackRelease": rpc(f"{RELEASES}/RollbackRelease", release_pb2.RollbackReleaseRequest, rollback),
    }
    return _administration(RELEASES, methods)


def _administration(service: str, methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]]) -> Administration:
    name = service.rpartition(".")[2]
    apart = {method: _aside(handler, name) for method, handler in methods.items()}
    return Administration(service, grpc.method_handlers_generic_handler(service, apart))


class _Aside(Generic[Request, Response]):
    """A behaviour on a thread of its own, by the attribute that grpcio looks for.

    A batch takes up to 0.2 s, a reflection stream as long as its client likes: sign-ins do not
    wait behind them.
    """

    def __init__(self, behaviour: Callable[[Request, grpc.ServicerContext], Response], name: str) -> None:
        self._behaviour = behaviour
        self.experimental_thread_pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    def __call__(self, request: Request, context: grpc.ServicerContext) -> Response:
        return self._behaviour(request, context)


def _aside(handler: grpc.RpcMethodHandler[Request, Response], name: str) -> grpc.RpcMethodHandler[Request, Response]:
    assert handler.unary_unary is not None
    return grpc.unary_unary_rpc_method_handler(_Aside(handler.unary_unary, name))


def _add_reflection(server: grpc.Server, services: tuple[str, ...]) -> None:
    servicer = reflection.ReflectionServicer((*services, health.SERVICE_NAME, reflection.SERVICE_NAME))
    servicer.ServerReflectionInfo = _Aside(servicer.ServerReflectionInfo, "reflection")
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)


def channel_arguments(options: Options) -> list[tuple[str, int]]:
    """The server's channel arguments, as grpc names them."""
    return [
        ("grpc.so_reuseport", int(options.reuse_port)),
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_connection_age_ms", options.max_connection_age_s * 1000),
        ("grpc.max_connection_age_grace_ms", options.connection_grace_s * 1000),
        ("grpc.max_connection_idle_ms", options.max_connection_idle_s * 1000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", options.min_ping_interval_s * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
