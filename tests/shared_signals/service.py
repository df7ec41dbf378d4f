"""A gRPC service that only records security events."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

from riskd._proto.riskd.v1 import risk_pb2


class Service:
    """Records events. `fails` is the code with which it refuses all; `slow` is the seconds of each call."""

    def __init__(self) -> None:
        self.told: list[risk_pb2.RecordSecurityEventRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.calls = 0
        self.fails: grpc.StatusCode | None = None
        self.slow = 0.0
        self.address = ""
        self.begun = threading.Event()

    def RecordSecurityEvent(
        self, request: risk_pb2.RecordSecurityEventRequest, context: grpc.ServicerContext
    ) -> risk_pb2.RecordSecurityEventResponse:
        """Record the event."""
        self.calls += 1
        self.begun.set()
        time.sleep(self.slow)
        if self.fails is not None:
            context.abort(self.fails, "quotes alex@example.com")
        self.metadata.append(dict(context.invocation_metadata()))
        self.told.append(request)
        return risk_pb2.RecordSecurityEventResponse()

    @property
    def subjects(self) -> list[str]:
        """The subjects of the events."""
        return [each.subject for each in self.told]


@contextmanager
def listening(service: Service, port: int = 0) -> Iterator[Service]:
    """The running service, on the given port if there is one."""
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    told = grpc.unary_unary_rpc_method_handler(
        service.RecordSecurityEvent,
        request_deserializer=risk_pb2.RecordSecurityEventRequest.FromString,
        response_serializer=risk_pb2.RecordSecurityEventResponse.SerializeToString,
    )
    server.add_registered_method_handlers("riskd.v1.RiskService", {"RecordSecurityEvent": told})
    service.address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    server.start()
    try:
        yield service
    finally:
        server.stop(None).wait()
