"""The cost of tracing a call with five stages, traced and not traced. The spans are discarded."""

from __future__ import annotations

import argparse
import timeit
from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from benchmarks import program
from benchmarks.rpc import ASSESSMENT
from riskd._proto.riskd.v1 import risk_pb2
from riskd.adapters.null import NullMeter
from riskd.server.tracing import Tracer
from riskd.server.translate import Answers

PARENT: Final = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)
CASES: Final[dict[str, tuple[float, tuple[tuple[str, str], ...]]]] = {
    "not traced": (0.0, ()),
    "traced": (1.0, ()),
    "traced, by the caller's wish": (0.0, PARENT),
}
STAGES: Final = ("gather", "store_read", "decide", "record", "store_write")


class Nobody(SpanExporter):
    """An exporter that discards spans."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Discard the spans."""
        return SpanExportResult.SUCCESS


class Call:
    """A gRPC context with this metadata."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of the call."""
        return self._metadata


def microseconds(ratio: float, metadata: tuple[tuple[str, str], ...], calls: int) -> float:
    """Microseconds of a call, in the best of seven rounds."""
    tracer, answer, request = (
        Tracer(Nobody(), ratio, NullMeter()),
        Answers().response(ASSESSMENT),
        risk_pb2.AssessRequest(),
    )

    def behave(_: risk_pb2.AssessRequest, __: object) -> risk_pb2.AssessResponse:
        for stage in STAGES:
            tracer.stage(stage, 0.0001)
        return answer

    traced, call = tracer.traced("riskd.v1.RiskService/Assess", behave), Call(metadata)
    taken = timeit.repeat(lambda: traced(request, call), number=calls, repeat=7)  # type: ignore[arg-type]  # enough of one
    tracer.close()
    return min(taken) / calls * 1e6


def main() -> None:
    """Print each case."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing", description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1000, help="calls in a round (default: %(default)s)")
    options = parser.parse_args()
    for name, (ratio, metadata) in CASES.items():
        print(f"{name:<30} {microseconds(ratio, metadata, options.calls):>6.1f} us")


if __name__ == "__main__":
    program(main)
