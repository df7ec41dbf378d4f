"""Tracing: what a receiver gets from a running service, and what is never sent."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from riskd._proto.riskd.v1 import risk_pb2
from riskd._proto.riskd.v1.assessment_pb2 import Gap
from riskd.adapters.null import NullMeter
from riskd.config import load
from riskd.core.errors import InvalidAttempt, InvalidSettings
from riskd.metrics.memory import FIRST, MeterMemory
from riskd.metrics.table import METRICS
from riskd.server import tracing
from riskd.server.tracing import GAPS, QUEUE, CountingExporter, TracedMeter, Tracer
from riskd.server.tracing import STAGES as MOST_STAGES
from tests.e2e.service import PATIENCE, ROOT, Service, attempt, eventually, serving
from tests.security.traces import PARENT, TRACE, Receiver, traced

STAGES = {"gather", "store_read", "decide", "record", "store_write"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def called(service: Service, traceparent: str = "", request: risk_pb2.AssessRequest | None = None) -> None:
    with service.stub() as stub:
        metadata = (("traceparent", traceparent),) if traceparent else ()
        stub.Assess(request or attempt(), timeout=5, metadata=metadata)


def attributes(span: Span) -> Mapping[str, object]:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes}


def test_a_call_is_a_span_with_one_for_each_stage(tmp_path: Path, receiver: Receiver) -> None:
    """A call's span has the trace id and parent of the caller's `traceparent` and a child for each stage. Its
    attributes are tier, score bucket, gaps and release, and nothing that identifies a person."""
    with serving(tmp_path, settings=traced(receiver.url)) as service:
        called(service, f"00-{TRACE}-{PARENT}-01", attempt(subject="canary-of-a-subject", request_id="canary-of-an-id"))
        called(service)
        with service.stub() as stub, pytest.raises(grpc.RpcError):
            stub.Assess(attempt("bad"), timeout=5)
        eventually(lambda: len(receiver.of("Assess")) == 3)
        answers, failed = receiver.of("Assess")[:2], receiver.of("Assess")[2]
        assert service.stop() == 0
    first = next(span for span in answers if span.trace_id.hex() == TRACE)
    assert first.parent_span_id.hex() == PARENT
    stages = [span for span in receiver.spans() if span.parent_span_id == first.span_id]
    assert {span.name for span in stages} == STAGES
    for span in stages:
        assert span.trace_id == first.trace_id
        assert first.start_time_unix_nano <= span.end_time_unix_nano <= first.end_time_unix_nano
    known = attributes(first)
    assert set(known) == {
        *("rpc.system", "rpc.service", "rpc.method", "riskd.tier", "riskd.satisfied", "riskd.score_to"),
        *("riskd.gaps", "riskd.degraded", "riskd.release", "riskd.model"),
    }
    assert known["riskd.tier"] in ("BASELINE", "STEP_UP")
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert failed.status.message == "INVALID_ATTEMPT"
    assert not [raw for raw in receiver.raw if b"canary" in raw or b"81.2.69" in raw]


def test_each_answer_of_a_stream_is_a_span(tmp_path: Path, receiver: Receiver) -> None:
    """Each message of a stream has a span below the caller's, with the stages of its attempts and nothing that
    identifies a person."""
    sent = [risk_pb2.StreamAssessRequest(request=attempt(subject="canary-of-a-subject"))] * 3
    with serving(tmp_path, settings=traced(receiver.url)) as service:
        with service.stub() as stub:
            metadata = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
            answers = list(stub.StreamAssess(iter(sent), timeout=5, metadata=metadata))
        eventually(lambda: len(receiver.of("StreamAssess")) == len(answers))
        assert service.stop() == 0
    spans = receiver.of("StreamAssess")
    assert {(span.trace_id.hex(), span.parent_span_id.hex()) for span in spans} == {(TRACE, PARENT)}
    below = Counter(span.name for span in receiver.spans() if span.parent_span_id in {each.span_id for each in spans})
    assert below == dict.fromkeys(STAGES, 3)
    assert not [raw for raw in receiver.raw if b"canary" in raw or b"81.2.69" in raw]


def test_the_caller_decides_whether_its_call_is_traced(tmp_path: Path, receiver: Receiver) -> None:
    """The sampled flag of the caller's `traceparent` overrides the sampling ratio."""
    other = TRACE[::-1]
    for ratio, flags, kept in ((0.0, "01", TRACE), (1.0, "00", other)):
        with serving(tmp_path / str(ratio), settings=traced(receiver.url, ratio)) as service:
            called(service, f"00-{TRACE if flags == '01' else other}-{PARENT}-{flags}")
            if ratio == 0.0:
                called(service)
            assert service.stop() == 0
        assert all((span.trace_id.hex() == TRACE) for span in receiver.spans()), kept
    assert len(receiver.of("Assess")) == 1


@pytest.mark.parametrize("flaw", ["unreachable", "slow"])
def test_calls_do_not_wait_for_the_trace_receiver(flaw: str, tmp_path: Path, receiver: Receiver) -> None:
    """If the receiver does not answer, calls are served as usual, lost spans are counted, and shutdown is in time."""
    receiver.slow = 30.0
    endpoint = receiver.url if flaw == "slow" else "http://127.0.0.1:9/v1/traces"
    with serving(tmp_path, settings=traced(endpoint)) as service:
        begun = time.monotonic()
        for _ in range(20):
            called(service)
        assert time.monotonic() - begun < 10
        eventually(lambda: service.metric("riskd_failures_total", part="tracing") >= 20)
        begun = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - begun < 10
        assert not [event for event in service.events() if event["event"] == "uncaught"]


class Kept(SpanExporter):
    """Keeps the exported spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.closed = False
        self.open = threading.Event()
        self.open.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        assert self.open.wait(PATIENCE)
        self.spans += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.closed = True


class Unasked:
    """A gRPC context without metadata."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()


@pytest.mark.parametrize(
    ("error", "told"), [(ZeroDivisionError("canary"), "INTERNAL"), (InvalidAttempt([]), "INVALID_ATTEMPT")]
)
def test_a_call_that_fails_is_a_span_that_failed(error: Exception, told: str) -> None:
    """A failed call's span has the reason that the caller gets, and nothing of the exception's text."""
    kept = Kept()
    tracer = Tracer(kept, 1.0, Losses())

    def behaviour(_request: object, _context: object) -> object:
        raise error

    with pytest.raises(type(error)):
        tracer.traced("riskd.v1.RiskService/Assess", behaviour)(None, Unasked())  # type: ignore[arg-type]  # it asks no more
    tracer.close()
    (span,) = kept.spans
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, told)
    assert not span.events


BUCKETS = (0.01, 0.05, 0.1, 0.2, 0.5, 0.8, 0.95, 1.0)


@pytest.mark.parametrize(
    ("score", "told"), [(0.0, 0.01), (0.011, 0.05), (0.951, 1.0), *((bucket, bucket) for bucket in BUCKETS)]
)
def test_a_span_is_rough_and_small(score: float, told: float) -> None:
    """A span has the score rounded up to one of a few values, and no more than so many gaps and stages. Each stage is
    as long as it took."""
    kept = Kept()
    tracer = Tracer(kept, 1.0, Losses())

    def behaviour(_request: object, _context: object) -> risk_pb2.AssessResponse:
        for _ in range(MOST_STAGES + 1):
            tracer.stage("decide", 0.5)
        gaps = [Gap(source="geo", why="stale")] * (GAPS + 1)
        return risk_pb2.AssessResponse(score=score, gaps=gaps, degraded=True, release="r1", model="m1")

    called = tracer.traced("riskd.v1.RiskService/Assess", behaviour)
    assert called(None, Unasked()).score == score  # type: ignore[arg-type]  # it asks no more
    tracer.close()
    *stages, span = kept.spans
    assert span.attributes == {
        "rpc.system": "grpc",
        "rpc.service": "riskd.v1.RiskService",
        "rpc.method": "Assess",
        "riskd.tier": "UNSPECIFIED",
        "riskd.satisfied": False,
        "riskd.score_to": told,
        "riskd.gaps": ("geo:stale",) * GAPS,
        "riskd.degraded": True,
        "riskd.release": "r1",
        "riskd.model": "m1",
    }
    assert span.status.status_code is StatusCode.UNSET
    assert [(each.end_time or 0) - (each.start_time or 0) for each in stages] == [500_000_000] * MOST_STAGES


def test_only_stages_of_a_call_are_spans() -> None:
    """What a thread does before and after a call, or without a tracer, is no span of it; it counts as a stage all the
    same. An answer that is no assessment's has only the span of its call."""
    kept, memory = Kept(), MeterMemory(1)
    meter = TracedMeter(memory, 0)
    meter.stage("gather", 0.5)
    meter.tracer = Tracer(kept, 1.0, Losses())
    meter.stage("gather", 0.5)

    def behaviour(_request: object, _context: object) -> risk_pb2.RecordOutcomeResponse:
        meter.stage("gather", 0.5)
        return risk_pb2.RecordOutcomeResponse()

    meter.tracer.traced("riskd.v1.RiskService/RecordOutcome", behaviour)(None, Unasked())  # type: ignore[arg-type]  # as above
    meter.stage("gather", 0.5)
    meter.tracer.close()
    assert [span.name for span in kept.spans] == ["gather", "riskd.v1.RiskService/RecordOutcome"]
    assert kept.closed
    assert [row[1] for row in stage_rows(memory) if row[0] == "gather"] == [2.0]


def stage_rows(memory: MeterMemory) -> list[tuple[str, float]]:
    """Each stage, and how many seconds it took in all."""
    (metric,) = [each for each in METRICS if each.name == "riskd_stage_seconds"]
    slots, first = memory.slots(0), FIRST[metric.name]
    return [(name, slots[first + (row + 1) * metric.width - 1]) for row, (name,) in enumerate(metric.rows)]


def test_what_does_not_fit_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the receiver is slow, no more spans wait than fit; further ones are dropped and counted. Those that it
    takes are not."""
    monkeypatch.setattr(tracing, "QUEUE", 4)
    monkeypatch.setattr(tracing, "BATCH", 2)
    kept, losses = Kept(), Losses()
    kept.open.clear()
    tracer = Tracer(kept, 1.0, losses)
    for number in range(10):
        tracer.traced(f"riskd.v1.RiskService/{number}", lambda *_: None)(None, Unasked())  # type: ignore[arg-type]  # as above
    assert losses.count == 6
    kept.open.set()
    tracer.close()
    assert [span.name.rpartition("/")[2] for span in kept.spans] == ["0", "1", "2", "3"]
    assert losses.count == 6
    assert CountingExporter(Kept(), losses).export([]) is SpanExportResult.SUCCESS


class Deaf(SpanExporter):
    """Refuses all spans."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.FAILURE


class Broken(SpanExporter):
    """Raises, as exporters do on unexpected errors."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise TimeoutError


class Losses(NullMeter):
    def __init__(self) -> None:
        self.count = 0

    def failed(self, part: str) -> None:
        self.count += part == "tracing"


@pytest.mark.parametrize("receiver", [Deaf(), Broken()])
def test_lost_spans_are_counted_one_by_one(receiver: SpanExporter) -> None:
    """Spans beyond the queue and those that the receiver refuses are counted one by one, and free their places."""
    losses = Losses()
    exporter = CountingExporter(receiver, losses)
    assert sum(exporter.admits() for _ in range(QUEUE + 7)) == QUEUE
    assert losses.count == 7
    with suppress(TimeoutError):
        exporter.export([ReadableSpan("x")] * 10)
    assert losses.count == 17
    assert sum(exporter.admits() for _ in range(20)) == 10


def test_without_an_endpoint_nothing_of_it_is_loaded() -> None:
    """Without tracing, a worker imports nothing of OpenTelemetry."""
    code = "import sys, riskd.server.processes.worker; print([name for name in sys.modules if 'opentelemetry' in name])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "ftp://a/b", "http://collector", "http:// /x"])
def test_an_endpoint_is_a_url(endpoint: str) -> None:
    """A bad endpoint is refused at the start, with an example."""
    with pytest.raises(InvalidSettings, match=r"tracing\.endpoint: .* is not a URL \(write it with scheme and path"):
        load(None, {"RISKD_TRACING__ENDPOINT": endpoint})
