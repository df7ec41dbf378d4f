"""Builds the gRPC server of one worker: its services, methods, queues and channel arguments.

`riskd.server.processes` starts, drains and stops it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.message import Message
from msgspec import Struct
from msgspec.structs import replace

from riskd._proto.riskd.v1 import release_pb2, risk_pb2, subject_pb2
from riskd.host.background import log_no_thread
from riskd.server.calls import health, loop
from riskd.server.calls.admission import Handler, method, stream_method
from riskd.server.calls.boundary import Boundary, unary
from riskd.server.calls.handlers import Handlers, Limits, Turns
from riskd.server.calls.reflection import reflection_of
from riskd.server.calls.streaming import streaming
from riskd.server.calls.streams import Streams
from riskd.server.identity.guard import Guard
from riskd.server.release_servicer import Releases, ReleaseServicer
from riskd.server.risk_servicer import Engine, RiskServicer
from riskd.server.subject_servicer import Subjects, SubjectServicer

SERVICE: Final = risk_pb2.DESCRIPTOR.services_by_name["RiskService"].full_name
SUBJECTS: Final = subject_pb2.DESCRIPTOR.services_by_name["SubjectService"].full_name
RELEASES: Final = release_pb2.DESCRIPTOR.services_by_name["ReleaseService"].full_name
ADMINISTRATION_BYTES: Final = 8 * 1024
"""Largest request to an administrative service. It holds two identifiers, and a page token or a reason."""
ATTEMPT_BYTES: Final = 128 * 1024
"""Largest request about one attempt. With every field at its bound it has 73 KiB; usually it has 250 bytes."""
HELD_UP: Final = 1.5
"""A thread counts as held up once a call takes this many times the timeout."""
SLOW_CALLS: Final = 16
"""Most calls that wait for the thread of a slow method: BatchAssess or one of an administrative service."""
SLOW_SECONDS: Final = 60.0
"""Longest that such a call waits; also the time after which the method's thread counts as held up."""
GIVE_WAY_SECONDS: Final = 0.02
"""Longest that an attempt of a batch or stream waits for single calls. Bounded, so that batches end under load."""
QUIET_SECONDS: Final = 2.0
"""Time for clients to acknowledge that the service stops, once all their calls are answered."""
CLOSE_SECONDS: Final = 1.0
"""Time for gRPC to close the connections that are left."""
IDLE_SECONDS: Final = 600
"""Idle connections are closed after this time."""
CONNECTION_CALLS: Final = 100
"""Most calls under way on one connection. Cancelled calls count until the server has finished with them."""
PING_SECONDS: Final = 30
"""Shortest interval between a client's keepalive pings. gRPC closes the connection of a client that pings more."""
_POLL_SECONDS: Final = 0.02
Behaviour: TypeAlias = Callable[[Any, grpc.ServicerContext], Message]
"""gRPC's word for the function that handles a call. It takes requests of the type that it is registered with."""


class Options(Struct, frozen=True, kw_only=True):
    """How a worker serves."""

    address: str = "127.0.0.1:50551"
    """Host and port; port 0 takes a free one."""
    threads: int = 1
    """Single calls handled at the same time. More than one rarely helps: they compete for the interpreter lock."""
    timeout_s: float = 0.1
    """Seconds for one attempt or outcome; the caller's deadline can shorten it."""
    max_concurrent_rpcs: int = 256
    """Calls of one method that may wait. Further ones are refused at once."""
    max_streams: int = 32
    """StreamAssess calls open at the same time. Further ones are refused at once."""
    stream_silent_s: float = 30.0
    """A stream ends when no attempt arrives for this long."""
    stream_age_s: float = 60.0
    """A stream accepts no further attempts after this time."""
    queue_s: float = 0.1
    """Longest wait of a single call before it is started."""
    standing_queue_s: float = 0.005
    """Longest expected wait of a sign-in under sustained overload: see `handlers.Limits`."""
    max_message_bytes: int = 256 * 1024
    """Largest request of any method: a batch of 500 attempts with the usual signals takes about half."""
    reuse_port: bool = False
    """Share the port with other workers (SO_REUSEPORT)."""
    max_connections: int = 4096
    """Connections open at the same time, at 10 to 20 KiB each. Further ones are closed at once."""
    handshake_s: int = 10
    """Time for a new connection to complete the TLS handshake and send HTTP/2's first frame."""
    max_connection_age_s: int = 300
    """Connections are closed gracefully after this time, plus or minus gRPC's tenth, so that clients spread."""
    connection_grace_s: int = 70
    """Time for the calls on a connection that is closed for its age: longer than a stream lasts."""


class Service(Struct, frozen=True):
    """A bound server that is not started yet, its health service, its port, and its streams."""

    server: grpc.Server
    health: health.Health
    port: int
    streams: Streams

    def stop(self, grace_s: float) -> None:
        """Refuse new calls, and return when those under way have ended, after at most `grace_s` seconds.

        gRPC would wait that long for every connection whose client does not acknowledge the shutdown, which clients
        that have vanished never do. So connections are closed once no call was under way for `QUIET_SECONDS`. A client
        that floods a connection with pings prevents even that; the end of the process will close it.
        """
        until = monotonic() + grace_s
        try:
            self.server.stop(grace_s)
        except RuntimeError:  # gRPC could not start its thread that ends the grace; `until` below does
            log_no_thread("stop")
        self.health.end()
        quiet_at = monotonic() + QUIET_SECONDS
        while not loop.stopped(self.server) and monotonic() < min(quiet_at, until):
            sleep(_POLL_SECONDS)
            if loop.busy(self.server):
                quiet_at = monotonic() + QUIET_SECONDS
        loop.cancel(self.server)
        closed_at = monotonic() + CLOSE_SECONDS
        while not loop.stopped(self.server) and monotonic() < closed_at:
            sleep(_POLL_SECONDS)


class Administration(Struct, frozen=True):
    """An administrative service, with its own permissions. Served on a Unix socket, or on the port of RiskService."""

    service: str
    handler: grpc.GenericRpcHandler


def build_server(
    engine: Engine,
    boundary: Boundary,
    options: Options,
    credentials: grpc.ServerCredentials | None = None,
    administrations: Sequence[Administration] = (),
) -> Service:
    """A bound server with RiskService, health (NOT_SERVING at first), reflection and the given `administrations`.

    Without `credentials` the port is plaintext, for loopback and service meshes. Health and reflection reveal no data
    and are open to all clients. Raises RuntimeError when the address cannot be bound.
    """
    server = grpc.server(_unused_pool(), options=channel_arguments(options))
    held_up_s = HELD_UP * options.timeout_s
    turns = Turns() if options.threads == 1 else Handlers(options.threads, "rpc", held_up_s=held_up_s)
    if options.threads == 1:
        loop.install(server, turns, held_up_s)
    streams = Streams(options.max_streams, silent_s=options.stream_silent_s, age_s=options.stream_age_s)
    handler = _risk_service(engine, boundary, options, turns, streams)
    server.add_generic_rpc_handlers([handler])
    states = health.Health([SERVICE], turns)
    described = (SERVICE, *(each.service for each in administrations), health.SERVICE)
    others = [each.handler for each in administrations]
    server.add_generic_rpc_handlers([states.handler(), reflection_of(described), *others])
    if credentials is None:
        port = server.add_insecure_port(options.address)
    else:
        port = server.add_secure_port(options.address, credentials)
    return Service(server, states, port, streams)


def build_administrative_server(administration: Administration, path: Path) -> grpc.Server:
    """A server, not started yet, with this service and reflection on a Unix socket that only this user can open.

    Raises RuntimeError when the socket cannot be bound.
    """
    server = grpc.server(_unused_pool())
    server.add_generic_rpc_handlers([administration.handler, reflection_of([administration.service])])
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mask = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    finally:
        os.umask(mask)
    return server


def _risk_service(
    engine: Engine, boundary: Boundary, options: Options, turns: Turns, streams: Streams
) -> grpc.GenericRpcHandler:
    guard, most, several = boundary.guard, options.max_concurrent_rpcs, options.max_message_bytes
    one = min(ATTEMPT_BYTES, several)
    strict = Limits(calls=most, burst_s=options.queue_s, standing_s=options.standing_queue_s)
    lenient = replace(strict, standing_s=options.queue_s)
    servicer = RiskServicer(engine, options.timeout_s, partial(turns.give_way, GIVE_WAY_SECONDS))
    record_event = servicer.record_security_event if guard is None else _with_caller(servicer, guard)

    def single(name: str, request_type: type[Message], behaviour: Behaviour, limits: Limits) -> Handler:
        name = f"{SERVICE}/{name}"
        lane = turns.lane(name, limits, boundary.meter)
        return method(name, lane, unary(name, request_type, behaviour, boundary, one), boundary, most)

    stream_name, batch_name = f"{SERVICE}/StreamAssess", f"{SERVICE}/BatchAssess"
    stream = streaming(stream_name, servicer.assess_streamed, streams, boundary, one)
    batch = unary(batch_name, risk_pb2.BatchAssessRequest, servicer.batch_assess, boundary, several)
    # Of the single ones, those listed first are served first. A user waits for a sign-in, nobody for an outcome, and
    # security events may arrive by the thousand.
    methods = {
        "Assess": single("Assess", risk_pb2.AssessRequest, servicer.assess, strict),
        "RecordOutcome": single("RecordOutcome", risk_pb2.RecordOutcomeRequest, servicer.record_outcome, lenient),
        "RecordSecurityEvent": single(
            "RecordSecurityEvent", risk_pb2.RecordSecurityEventRequest, record_event, lenient
        ),
        "BatchAssess": _slow_method(batch_name, batch, boundary, most),
        "StreamAssess": stream_method(stream_name, streams, stream, boundary),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def _with_caller(servicer: RiskServicer, guard: Guard) -> Behaviour:
    """RecordSecurityEvent with the caller's name, looked up a second time here so that sign-ins do not pay for it."""
    return lambda request, context: servicer.record_security_event(request, context, guard.name(context))


def subject_service(subjects: Subjects, boundary: Boundary) -> Administration:
    """SubjectService. Its methods have their own threads: an export reads for up to a second, an erasure for longer."""
    servicer = SubjectServicer(subjects)
    methods: dict[str, tuple[type[Message], Behaviour]] = {
        "GetSubjectSummary": (subject_pb2.GetSubjectSummaryRequest, servicer.get_subject_summary),
        "ExportSubject": (subject_pb2.ExportSubjectRequest, servicer.export_subject),
        "EraseSubject": (subject_pb2.EraseSubjectRequest, servicer.erase_subject),
    }
    return _administration(SUBJECTS, methods, boundary)


def release_service(releases: Releases, boundary: Boundary) -> Administration:
    """ReleaseService. Its methods have their own threads, because an activation waits for every process."""
    servicer = ReleaseServicer(releases)
    methods: dict[str, tuple[type[Message], Behaviour]] = {
        "GetRelease": (release_pb2.GetReleaseRequest, servicer.get_release),
        "ListReleases": (release_pb2.ListReleasesRequest, servicer.list_releases),
        "ActivateRelease": (release_pb2.ActivateReleaseRequest, servicer.activate_release),
        "RollbackRelease": (release_pb2.RollbackReleaseRequest, servicer.rollback_release),
    }
    return _administration(RELEASES, methods, boundary)


def _administration(
    service: str, methods: Mapping[str, tuple[type[Message], Behaviour]], boundary: Boundary
) -> Administration:
    handlers = {}
    for short, (request_type, behaviour) in methods.items():
        name = f"{service}/{short}"
        on_bytes = unary(name, request_type, behaviour, boundary, ADMINISTRATION_BYTES)
        handlers[short] = _slow_method(name, on_bytes, boundary, SLOW_CALLS)
    return Administration(service, grpc.method_handlers_generic_handler(service, handlers))


def _slow_method(
    name: str, behaviour: Callable[[bytes, grpc.ServicerContext], bytes], boundary: Boundary, most: int
) -> Handler:
    """A method with its own thread, so that sign-ins do not queue behind a batch (up to 0.2 s) or an erasure (longer).

    `most`: calls whose message has not fully arrived.
    """
    handlers = Handlers(1, name.rpartition("/")[2], held_up_s=SLOW_SECONDS)
    limits = Limits(calls=SLOW_CALLS, burst_s=SLOW_SECONDS, standing_s=SLOW_SECONDS)
    return method(name, handlers.lane(name, limits, boundary.meter), behaviour, boundary, most)


def _unused_pool() -> ThreadPoolExecutor:
    """grpc.server requires a pool for methods that bring none. Ours all bring one, so it never starts a thread."""
    return ThreadPoolExecutor(1)


def channel_arguments(options: Options) -> list[tuple[str, int]]:
    """The gRPC channel arguments of the server."""
    return [
        ("grpc.so_reuseport", int(options.reuse_port)),
        ("grpc.max_concurrent_streams", CONNECTION_CALLS),
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_allowed_incoming_connections", options.max_connections),
        ("grpc.server_handshake_timeout_ms", options.handshake_s * 1000),
        ("grpc.max_connection_age_ms", options.max_connection_age_s * 1000),
        ("grpc.max_connection_age_grace_ms", options.connection_grace_s * 1000),
        ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_SECONDS * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
