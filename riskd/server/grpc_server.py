"""Builds the gRPC server of one worker. Processes, signals and draining are the supervisor's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from msgspec import Struct

from riskd._proto.riskd.v1 import risk_pb2
from riskd.server.interceptors import RpcMeter, unary
from riskd.server.servicer import Engine, RiskServicer

SERVICE: Final = risk_pb2.DESCRIPTOR.services_by_name["RiskService"].full_name
ONE_BYTES: Final = 128 * 1024
"""Largest request about one attempt: every field at its bound is under 100 KiB, a usual one is 250 bytes."""
BATCH_BYTES: Final = 1024 * 1024
"""Largest request of all: 500 attempts with every signal, at 2 KiB each."""


class Options(Struct, frozen=True, kw_only=True):
    """How a worker serves."""

    address: str = "127.0.0.1:50051"
    """Host and port; port 0 picks a free one."""
    threads: int = 2
    """Handlers at a time. Computing gains nothing from more; a store across the network does."""
    timeout_s: float = 0.1
    """For one attempt or outcome, where the caller's deadline leaves that much."""
    concurrent_calls: int = 128
    """Under way and queued; beyond it calls get RESOURCE_EXHAUSTED at once. 128 queue for some 30 ms."""
    reuse_port: bool = False
    """Share the port with other workers (SO_REUSEPORT)."""
    connection_age_s: int = 300
    """Connections are closed kindly after this time (gRPC varies it by a tenth), so that clients spread."""
    connection_idle_s: int = 600
    """Idle connections are closed after this time."""
    drain_s: int = 30
    """Grace for calls on a connection that is closed for its age."""
    ping_interval_s: int = 30
    """Shortest interval of client keepalive pings that is tolerated."""


class Service(Struct, frozen=True):
    """A server, not yet started, its health, and the port that it has bound."""

    server: grpc.Server
    health: health.HealthServicer
    port: int


def build_server(
    engine: Engine, meter: RpcMeter, options: Options, credentials: grpc.ServerCredentials | None = None
) -> Service:
    """A bound server with RiskService, health (NOT_SERVING until told) and reflection.

    Without `credentials` the port is plaintext, for loopback and meshes. Raises RuntimeError when the
    address cannot be bound.
    """
    server = grpc.server(
        ThreadPoolExecutor(options.threads, thread_name_prefix="rpc"),
        options=_channel_arguments(options),
        maximum_concurrent_rpcs=options.concurrent_calls,
    )
    server.add_generic_rpc_handlers([_risk_service(engine, meter, options.timeout_s)])
    states = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(states, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    set_serving(states, False)
    if credentials is None:
        port = server.add_insecure_port(options.address)
    else:
        port = server.add_secure_port(options.address, credentials)
    return Service(server, states, port)


def set_serving(states: health.HealthServicer, serving: bool) -> None:
    """What health checks answer from now on, for the server as a whole and for RiskService."""
    state = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
    for service in ("", SERVICE):
        states.set(service, state)


def _risk_service(engine: Engine, meter: RpcMeter, timeout: float) -> grpc.GenericRpcHandler:
    servicer = RiskServicer(engine, timeout)
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Assess": unary(f"{SERVICE}/Assess", risk_pb2.AssessRequest, servicer.assess, meter, ONE_BYTES),
            "BatchAssess": unary(
                f"{SERVICE}/BatchAssess", risk_pb2.BatchAssessRequest, servicer.batch_assess, meter, BATCH_BYTES
            ),
            "RecordOutcome": unary(
                f"{SERVICE}/RecordOutcome", risk_pb2.RecordOutcomeRequest, servicer.record_outcome, meter, ONE_BYTES
            ),
        },
    )


def _channel_arguments(options: Options) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(options.reuse_port)),
        ("grpc.max_receive_message_length", BATCH_BYTES),
        ("grpc.max_connection_age_ms", options.connection_age_s * 1000),
        ("grpc.max_connection_age_grace_ms", options.drain_s * 1000),
        ("grpc.max_connection_idle_ms", options.connection_idle_s * 1000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", options.ping_interval_s * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
