"""OpenTelemetry tracing: a span for each call, as a child of the caller's span, and one for each stage of a call.

Needs the extra `trace`, so a worker loads this module only if a tracing endpoint is set. Attributes take few values
and identify nobody.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from time import time_ns
from typing import Final, TypeVar

from grpc import ServicerContext
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from riskd._proto.riskd.v1 import risk_pb2
from riskd._proto.riskd.v1.assessment_pb2 import Tier
from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.core.errors import RiskdError
from riskd.host.background import start_thread
from riskd.metrics.memory import MeterMemory
from riskd.ports import Meter

QUEUE: Final = 2048
"""Most spans that wait to be sent. Further ones are dropped and counted."""
BATCH: Final = 256
"""Most spans in one request to the collector."""
CLOSE_SECONDS: Final = 2.0
"""Time to send the last spans when a worker stops."""
STAGES: Final = 32
"""Most stages of one call that get a span; a batch has more."""
GAPS: Final = 16
"""Most gaps listed in a span."""
PART: Final = "tracing"
SCORES: Final = (0.01, 0.05, 0.1, 0.2, 0.5, 0.8, 0.95, 1.0)
"""Scores are reported rounded up to one of these."""
Request = TypeVar("Request")
Response = TypeVar("Response")
_HEADERS: Final = ("traceparent", "tracestate")


class _Current(threading.local):
    """The traced call that this thread handles, if any, and how many stages of it have a span."""

    context: Context | None = None
    stages = 0


_CURRENT: Final = _Current()


def otlp_exporter(endpoint: str) -> SpanExporter:
    """Sends spans by OTLP/HTTP. The `OTEL_EXPORTER_OTLP_*` variables configure the rest, such as headers."""
    return OTLPSpanExporter(endpoint, timeout=CLOSE_SECONDS)


class Tracer:
    """Makes the spans of one worker. Never waits for the collector."""

    def __init__(self, exporter: SpanExporter, ratio: float, meter: Meter) -> None:
        """`ratio`: share of calls to trace among those whose caller has not decided (by `traceparent`)."""
        resource = Resource({"service.name": "riskd"})
        self._provider = TracerProvider(ParentBasedTraceIdRatio(ratio), resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BoundedProcessor(CountingExporter(exporter, meter)))
        self._tracer = self._provider.get_tracer("riskd")
        self._propagator = TraceContextTextMapPropagator()

    def traced(
        self, method: str, behaviour: Callable[[Request, ServicerContext], Response]
    ) -> Callable[[Request, ServicerContext], Response]:
        """The behaviour, with a span around each call."""
        service, _, name = method.rpartition("/")
        fixed = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}

        def call(request: Request, context: ServicerContext) -> Response:
            parent = self._propagator.extract(_carrier(context))
            span = self._tracer.start_span(method, parent, SpanKind.SERVER, fixed)
            _CURRENT.context, _CURRENT.stages = set_span_in_context(span) if span.is_recording() else None, 0
            fault = RiskdError.reason
            try:
                answer = behaviour(request, context)
                if span.is_recording() and isinstance(answer, risk_pb2.AssessResponse):
                    _describe(span, answer)
                fault = ""
                return answer
            except RiskdError as error:
                fault = error.reason
                raise
            finally:
                if fault:
                    span.set_status(StatusCode.ERROR, fault)
                _CURRENT.context = None
                span.end()

        return call

    def stage(self, name: str, seconds: float) -> None:
        """Add a span for a stage of this thread's call that has just ended and took `seconds`."""
        context = _CURRENT.context
        if context is not None and _CURRENT.stages < STAGES:
            _CURRENT.stages += 1
            ended = time_ns()
            span = self._tracer.start_span(name, context, start_time=ended - int(seconds * 1e9))
            span.end(ended)

    def close(self) -> None:
        """Send the spans that wait, within `CLOSE_SECONDS`."""
        closing = start_thread(self._provider.shutdown, "tracing")
        if closing is not None:
            closing.join(CLOSE_SECONDS)


def _carrier(context: ServicerContext) -> dict[str, str]:
    return {key: str(value) for key, value in context.invocation_metadata() or () if key in _HEADERS}


def _describe(span: Span, answer: risk_pb2.AssessResponse) -> None:
    span.set_attributes(
        {
            "riskd.tier": Tier.Name(answer.requirement.tier).removeprefix("TIER_"),
            "riskd.satisfied": answer.requirement.satisfied,
            "riskd.score_to": SCORES[min(bisect_left(SCORES, answer.score), len(SCORES) - 1)],
            "riskd.gaps": [f"{gap.source}:{gap.why}" for gap in answer.gaps[:GAPS]],
            "riskd.degraded": answer.degraded,
            "riskd.release": answer.release,
            "riskd.model": answer.model,
        }
    )


class TracedMeter(PrometheusMeter):
    """The meter of a worker that traces: it also reports stages as spans."""

    def __init__(self, memory: MeterMemory, worker: int) -> None:
        super().__init__(memory, worker)
        self.tracer: Tracer | None = None

    def stage(self, name: str, seconds: float) -> None:
        """One stage of a request took this long."""
        super().stage(name, seconds)
        if self.tracer is not None:
            self.tracer.stage(name, seconds)


class CountingExporter(SpanExporter):
    """Wraps an exporter, bounds how many spans wait, and counts the spans that are lost."""

    def __init__(self, exporter: SpanExporter, meter: Meter) -> None:
        self._exporter = exporter
        self._meter = meter
        self._lock = threading.Lock()
        self._waiting = 0

    def admits(self) -> bool:
        """Whether another span may wait. If not, it is counted as lost."""
        with self._lock:
            admitted = self._waiting < QUEUE
            self._waiting += admitted
        if not admitted:
            self._meter.failed(PART)
        return admitted

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans. Called on the processor's thread, which logs exceptions."""
        sent = SpanExportResult.FAILURE
        try:
            sent = self._exporter.export(spans)
        finally:
            with self._lock:
                self._waiting -= len(spans)
            if sent is not SpanExportResult.SUCCESS:
                for _ in spans:
                    self._meter.failed(PART)
        return sent

    def shutdown(self) -> None:
        """Stop sending."""
        self._exporter.shutdown()


class BoundedProcessor(BatchSpanProcessor):
    """Drops new spans while the queue is full. The base class would drop old ones, uncounted."""

    def __init__(self, exporter: CountingExporter) -> None:
        super().__init__(exporter, max_queue_size=QUEUE, max_export_batch_size=BATCH, schedule_delay_millis=1000)
        self._admits = exporter.admits

    def on_end(self, span: ReadableSpan) -> None:
        """See `SpanProcessor`."""
        if span.context is not None and span.context.trace_flags.sampled and self._admits():
            super().on_end(span)
