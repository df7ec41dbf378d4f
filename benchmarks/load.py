"""A load generator for Assess. It varies subjects, checks answers, and counts latency from the intended start.

A closed loop (`--concurrency`) measures capacity. An open loop (`--rate`) measures latency without coordinated
omission. Prints a JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Final, TypeAlias

import grpc

from benchmarks import program
from benchmarks.traffic import attempts
from riskd._proto.riskd.v1 import risk_pb2
from riskd.server.translate import request

_Call: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"
METHOD: Final = "/riskd.v1.RiskService/Assess"
REFUSED_STREAM: Final = "RST_STREAM with error code 7"
"""gRPC core's answer when a thousand calls wait for the server to accept them."""
TICKS: Final = 100
"""Clock ticks a second in /proc (USER_HZ)."""


def messages(count: int, subjects: int, seed: int) -> list[bytes]:
    """Serialised requests, made before the measurement starts."""
    return [request(attempt).SerializeToString() for attempt in islice(attempts(subjects, seed), count)]


def cpu_seconds(pids: list[int]) -> float:
    """User and system CPU seconds of processes so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


class Tally:
    """Collects latencies in seconds, and errors."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.errors: dict[str, int] = {}
        self.degraded = 0
        self.refused: list[float] = []
        self.bare = 0

    def answered(self, answer: bytes, seconds: float) -> None:
        """Check an answer: it must parse, have a tier, and have a score from 0 to 1."""
        response = risk_pb2.AssessResponse.FromString(answer)
        self.degraded += response.degraded
        if response.requirement.tier and 0.0 <= response.score <= 1.0:
            self.seconds.append(seconds)
        else:
            self.failed("malformed answer")

    def failed(self, why: str) -> None:
        """Count a call that failed."""
        self.errors[why] = self.errors.get(why, 0) + 1

    def shed(self, error: grpc.aio.AioRpcError, seconds: float) -> None:
        """Count a call that was refused for overload, and check that it has RetryInfo."""
        self.refused.append(seconds)
        self.bare += not any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())

    def percentile(self, share: float, of: list[float] | None = None) -> float:
        """A percentile in milliseconds, of the answered calls or of other latencies `of`."""
        ranked = sorted(self.seconds if of is None else of)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] * 1e3 if ranked else float("nan")


async def _call(call: _Call, body: bytes, since: float, tally: Tally) -> None:
    try:
        answer = await call(body, timeout=2.0)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED or REFUSED_STREAM in (error.details() or ""):
            tally.shed(error, time.perf_counter() - since)
        else:
            tally.failed(error.code().name)
    else:
        tally.answered(answer, time.perf_counter() - since)


async def _closed(call: _Call, bodies: Iterator[bytes], until: float, concurrency: int, tally: Tally) -> None:
    async def one() -> None:
        while (now := time.perf_counter()) < until:
            await _call(call, next(bodies), now, tally)

    await asyncio.gather(*(one() for _ in range(concurrency)))


async def open_loop(call: _Call, bodies: Iterator[bytes], until: float, rate: float, tally: Tally) -> None:
    """Make calls at a steady rate until `until`, however long the answers take."""
    running: set[asyncio.Task[None]] = set()
    intended = time.perf_counter()
    while intended < until:
        ahead = intended - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        task = asyncio.create_task(_call(call, next(bodies), intended, tally))
        running.add(task)
        task.add_done_callback(running.discard)
        intended += 1.0 / rate
    await asyncio.gather(*running)


async def load(options: argparse.Namespace) -> dict[str, object]:
    """Run a load, and return its results."""
    bodies = cycle(messages(options.requests, options.subjects, options.seed))
    tally = Tally()
    async with grpc.aio.insecure_channel(options.target) as channel:
        await asyncio.wait_for(channel.channel_ready(), 10)
        call: _Call = channel.unary_unary(METHOD)
        await _closed(call, bodies, time.perf_counter() + options.warm_up, 4, Tally())
        cpu, start = cpu_seconds(options.pid), time.perf_counter()
        if options.rate:
            await open_loop(call, bodies, start + options.settle, options.rate, Tally())
            cpu, start = cpu_seconds(options.pid), time.perf_counter()
            await open_loop(call, bodies, start + options.seconds, options.rate, tally)
        else:
            await _closed(call, bodies, start + options.seconds, options.concurrency, tally)
        elapsed, used = time.perf_counter() - start, cpu_seconds(options.pid) - cpu
    answered = len(tally.seconds)
    return {
        "answered": answered,
        "errors": tally.errors,
        "degraded": tally.degraded,
        "refused_per_second": round(len(tally.refused) / elapsed, 1),
        "refused_p99_ms": round(tally.percentile(0.99, tally.refused), 3),
        "refused_bare": tally.bare,
        "per_second": round(answered / elapsed, 1),
        "server_cpu_us_per_call": round(used / answered * 1e6, 1) if answered and options.pid else None,
        "p50_ms": round(tally.percentile(0.5), 3),
        "p99_ms": round(tally.percentile(0.99), 3),
        "p999_ms": round(tally.percentile(0.999), 3),
    }


def main() -> int:
    """Parse arguments, run, and print. Returns 1 if any call failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="127.0.0.1:50551", help="host:port of the service")
    parser.add_argument("--rate", type=float, default=0.0, help="open loop at this many calls a second")
    parser.add_argument("--concurrency", type=int, default=16, help="closed loop with this many callers")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to measure")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds of load before measuring")
    parser.add_argument("--settle", type=float, default=0.0, help="seconds of the open loop before measuring")
    parser.add_argument("--subjects", type=int, default=10_000, help="how many different subjects sign in")
    parser.add_argument("--requests", type=int, default=20_000, help="distinct requests to cycle through")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pid", type=int, action="append", default=[], help="server process, for CPU per call")
    options = parser.parse_args()
    result = asyncio.run(load(options))
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if result["errors"] else 0


if __name__ == "__main__":
    program(main)
