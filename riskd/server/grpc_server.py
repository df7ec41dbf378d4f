"""Builds the gRPC server of one worker. Processes, signals and draining are the supervisor's."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

import grpc
from msgspec import Struct
from msgspec.structs import replace

from riskd._proto.riskd.v1 import release_pb2, risk_pb2, subject_pb2
from riskd.background import missed
from riskd.metrics import METHODS
from riskd.server.calls import health, loop
from riskd.server.calls.admission import method, stream_method
from riskd.server.calls.boundary import RpcMeter, Tracer, unary
from riskd.server.calls.handlers import Handlers, Limits, Turns
from riskd.server.calls.reflection import reflection_of
from riskd.server.calls.streaming import streaming
from riskd.server.calls.streams import Streams
from riskd.server.identity.guard import Guard
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
ASIDE: Final = 16
"""Calls of a batch or an administrative method that may wait for the one before, `ASIDE_SECONDS` each."""
ASIDE_SECONDS: Final = 60.0
WAY_SECONDS: Final = 0.02
"""Longest that each attempt of a batch waits for sign-ins and outcomes, so that it comes to its end, too."""


QUIET_SECONDS: Final = 2.0
"""For clients to hear that a service stops, when it has answered all that they asked."""
LOOK_SECONDS: Final = 0.02


class Options(Struct, frozen=True, kw_only=True):
    """How a worker serves."""

    address: str = "127.0.0.1:50551"
    """Host and port; port 0 takes a free one."""
    threads: int = 1
    """Calls handled at a time, batches apart. Two that compute only take the interpreter lock from each other."""
    timeout_s: float = 0.1
    """For one attempt or outcome, where the caller's deadline leaves that much."""
    max_concurrent_rpcs: int = 256
    """Calls of one method that may wait; beyond it they are refused at once."""
    max_streams: int = 32
    """Streams of attempts that are open at a time; beyond it they are refused at once."""
    stream_silent_s: float = 30.0
    """Longest wait for the next attempt of a stream."""
    stream_age_s: float = 60.0
    """Time after which a stream takes no more."""
    queue_s: float = 0.1
    """Longest wait of a sign-in or an outcome for its turn."""
    standing_queue_s: float = 0.005
    """The same for a sign-in, where more came than could be done in `queue_s`, and until that is made up for."""
    max_message_bytes: int = 256 * 1024
    """Largest request of all: a batch of 500 attempts with every usual signal, at 2 KiB each."""
    reuse_port: bool = False
    """Share the port with other workers (SO_REUSEPORT)."""
    max_connection_age_s: int = 300
    """Connections are closed kindly after this time (gRPC varies it by a tenth), so that clients spread."""
    max_connection_idle_s: int = 600
    """Idle connections are closed after this time."""
    max_connection_streams: int = 100
    """Calls under way on one connection, those that were taken back and are not yet over included."""
    connection_grace_s: int = 70
    """Time for the calls on a connection that is closed for its age: more than a stream takes."""
    min_ping_interval_s: int = 30
    """Shortest interval of clients' keepalive pings that is tolerated."""


class Service(Struct, frozen=True):
    """A server, not yet started, its health, the port that it has bound, and the streams that will be open."""

    server: grpc.Server
    health: health.Health
    port: int
    streams: Streams

    def stop(self, grace_s: float) -> None:
        """Take no new calls, and return once those under way are over, `grace_s` seconds later at most.

        gRPC waits as long for each connection whose client has not said that it heard of the end; one that is gone
        without a word never will. Once nothing has been under way for `QUIET_SECONDS`, they are closed.
        """
        until = monotonic() + grace_s
        try:
            stopped = self.server.stop(grace_s)
        except RuntimeError:  # gRPC could have no thread to keep the time: it is kept here
            missed("stop")
            stopped = Event()
        self.health.end()
        quiet_at = monotonic() + QUIET_SECONDS
        while not stopped.wait(LOOK_SECONDS) and monotonic() < min(quiet_at, until):
            if loop.busy(self.server):
                quiet_at = monotonic() + QUIET_SECONDS
        self.server.stop(None)


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
    tracer: Tracer | None = None,
) -> Service:
    """A bound server with RiskService, health (NOT_SERVING until told) and reflection; and what is served `beside`.

    Without `credentials` the port is plaintext, for loopback and meshes; without a `guard`, whoever reaches it may
    call. Health and reflection, which tell nothing of anybody, are open to all. Raises RuntimeError when the address
    cannot be bound.
    """
    server = grpc.server(_nobody(), options=channel_arguments(options))
    held_up_s = HELD_UP * options.timeout_s
    turns = Turns() if options.threads == 1 else Handlers(options.threads, "rpc", held_up_s=held_up_s)
    if options.threads == 1:
        loop.install(server, turns, held_up_s)
    streams = Streams(options.max_streams, silent_s=options.stream_silent_s, age_s=options.stream_age_s)
    handler = _risk_service(engine, options, meter, turns, streams, guard=guard, tracer=tracer)
    server.add_generic_rpc_handlers([handler])
    states = health.Health([SERVICE], turns)
    described = (SERVICE, *(each.service for each in beside), health.SERVICE)
    server.add_generic_rpc_handlers([states.handler(), reflection_of(described), *(each.handler for each in beside)])
    if credentials is None:
        port = server.add_insecure_port(options.address)
    else:
        port = server.add_secure_port(options.address, credentials)
    return Service(server, states, port, streams)


def build_administrative_server(administration: Administration, path: Path) -> grpc.Server:
    """A server, not yet started, with it and reflection on a Unix socket that only this user can open.

    Raises RuntimeError when the socket cannot be bound.
    """
    server = grpc.server(_nobody())
    server.add_generic_rpc_handlers([administration.handler, reflection_of([administration.service])])
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mask = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    finally:
        os.umask(mask)
    return server


def _risk_service(
    engine: Engine,
    options: Options,
    meter: RpcMeter,
    turns: Turns,
    streams: Streams,
    *,
    guard: Guard | None,
    tracer: Tracer | None,
) -> grpc.GenericRpcHandler:
    rpc = partial(unary, meter=meter, guard=guard, tracer=tracer)
    servicer = RiskServicer(engine, options.timeout_s, partial(turns.give_way, WAY_SECONDS))
    several = options.max_message_bytes
    one = min(ATTEMPT_BYTES, several)
    names = {name: f"{SERVICE}/{name}" for _, service, name in METHODS if service == SERVICE}
    assess = rpc(names["Assess"], risk_pb2.AssessRequest, servicer.assess, max_bytes=one)
    record = rpc(names["RecordOutcome"], risk_pb2.RecordOutcomeRequest, servicer.record_outcome, max_bytes=one)
    name = names["RecordSecurityEvent"]
    tell = servicer.record_security_event if guard is None else _signed(servicer, guard)
    told = rpc(name, risk_pb2.RecordSecurityEventRequest, tell, max_bytes=one)
    batch = rpc(names["BatchAssess"], risk_pb2.BatchAssessRequest, servicer.batch_assess, max_bytes=several)
    name = names["StreamAssess"]
    stream = streaming(name, servicer.assess_aside, streams, meter, one, guard=guard, tracer=tracer)
    most = options.max_concurrent_rpcs
    brisk = Limits(calls=most, burst_s=options.queue_s, standing_s=options.standing_queue_s)
    patient = replace(brisk, standing_s=options.queue_s)
    # The order of the lanes is the order of the turns: somebody waits for a sign-in, nobody for what came of it, and
    # what others tell may come by the thousand.
    sign_ins = turns.lane(names["Assess"], brisk, meter)
    outcomes = turns.lane(names["RecordOutcome"], patient, meter)
    events = turns.lane(names["RecordSecurityEvent"], patient, meter)
    methods = {
        "Assess": method(names["Assess"], sign_ins, assess, meter, most),
        "RecordOutcome": method(names["RecordOutcome"], outcomes, record, meter, most),
        "RecordSecurityEvent": method(names["RecordSecurityEvent"], events, told, meter, most),
        "BatchAssess": _aside(names["BatchAssess"], batch, meter, most),
        "StreamAssess": stream_method(name, streams, stream, meter),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def _signed(
    servicer: RiskServicer, guard: Guard
) -> Callable[[risk_pb2.RecordSecurityEventRequest, grpc.ServicerContext], risk_pb2.RecordSecurityEventResponse]:
    """Tells events with the name of who tells them: it is looked up for these alone, sign-ins do not pay for it."""
    return lambda request, context: servicer.record_security_event(request, context, guard.name(context))


def subject_service(
    subjects: Subjects, meter: RpcMeter, guard: Guard | None = None, tracer: Tracer | None = None
) -> Administration:
    """Off the threads of sign-ins: an export reads for up to a second, an erasure as long as it must."""
    servicer = SubjectServicer(subjects)
    rpc = partial(unary, meter=meter, max_bytes=ADMINISTRATION_BYTES, guard=guard, tracer=tracer)
    show, export, erase = servicer.get_subject_summary, servicer.export_subject, servicer.erase_subject
    methods = {
        "GetSubjectSummary": rpc(f"{SUBJECTS}/GetSubjectSummary", subject_pb2.GetSubjectSummaryRequest, show),
        "ExportSubject": rpc(f"{SUBJECTS}/ExportSubject", subject_pb2.ExportSubjectRequest, export),
        "EraseSubject": rpc(f"{SUBJECTS}/EraseSubject", subject_pb2.EraseSubjectRequest, erase),
    }
    return _administration(SUBJECTS, methods, meter)


def release_service(
    releases: Releases, meter: RpcMeter, guard: Guard | None = None, tracer: Tracer | None = None
) -> Administration:
    """Off the threads of sign-ins: an activation waits for all processes."""
    servicer = ReleaseServicer(releases)
    rpc = partial(unary, meter=meter, max_bytes=ADMINISTRATION_BYTES, guard=guard, tracer=tracer)
    find, all_ = servicer.get_release, servicer.list_releases
    activate, rollback = servicer.activate_release, servicer.rollback_release
    methods = {
        "GetRelease": rpc(f"{RELEASES}/GetRelease", release_pb2.GetReleaseRequest, find),
        "ListReleases": rpc(f"{RELEASES}/ListReleases", release_pb2.ListReleasesRequest, all_),
        "ActivateRelease": rpc(f"{RELEASES}/ActivateRelease", release_pb2.ActivateReleaseRequest, activate),
        "RollbackRelease": rpc(f"{RELEASES}/RollbackRelease", release_pb2.RollbackReleaseRequest, rollback),
    }
    return _administration(RELEASES, methods, meter)


def _administration(
    service: str, methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]], meter: RpcMeter
) -> Administration:
    apart = {name: _aside(f"{service}/{name}", handler, meter, ASIDE) for name, handler in methods.items()}
    return Administration(service, grpc.method_handlers_generic_handler(service, apart))


def _aside(
    name: str, handler: grpc.RpcMethodHandler[bytes, bytes], meter: RpcMeter, most: int
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """On a thread of its own: a batch takes up to 0.2 s, an erasure longer, and sign-ins do not wait behind them."""
    handlers = Handlers(1, name.rpartition("/")[2], held_up_s=ASIDE_SECONDS)
    limits = Limits(calls=ASIDE, burst_s=ASIDE_SECONDS, standing_s=ASIDE_SECONDS)
    return method(name, handlers.lane(name, limits, meter), handler, meter, most)


def _nobody() -> ThreadPoolExecutor:
    """The pool that gRPC wants for methods without one. There are none: no thread of it is ever started."""
    return ThreadPoolExecutor(1)


def channel_arguments(options: Options) -> list[tuple[str, int]]:
    """The server's channel arguments, as grpc names them."""
    return [
        ("grpc.so_reuseport", int(options.reuse_port)),
        ("grpc.max_concurrent_streams", options.max_connection_streams),
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_connection_age_ms", options.max_connection_age_s * 1000),
        ("grpc.max_connection_age_grace_ms", options.connection_grace_s * 1000),
        ("grpc.max_connection_idle_ms", options.max_connection_idle_s * 1000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", options.min_ping_interval_s * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
