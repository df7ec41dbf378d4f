"""A receiver of traces for tests, and the settings that send them there."""

from __future__ import annotations

import gzip
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
PARENT: Final = "b7ad6b7169203331"
"""The example of W3C Trace Context, section 3.2."""


class Receiver(ThreadingHTTPServer):
    """Receives OTLP/HTTP; it waits `slow` seconds before it answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Take)
        self.raw: list[bytes] = []
        self.slow = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"

    def spans(self) -> list[Span]:
        return [
            span
            for raw in self.raw
            for resource in ExportTraceServiceRequest.FromString(raw).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def of(self, method: str) -> list[Span]:
        return [span for span in self.spans() if span.name.endswith(f"/{method}")]


class _Take(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.server.slow)
        self.server.raw.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""


def traced(endpoint: str, ratio: float = 1.0) -> dict[str, str]:
    return {"RISKD_TRACING__ENDPOINT": endpoint, "RISKD_TRACING__RATIO": str(ratio)}
