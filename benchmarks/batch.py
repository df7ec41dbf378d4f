"""Rate and CPU of attempts in batches and on streams, compared with single calls on the same server."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Final

import grpc
from msgspec import Struct

from benchmarks import program
from benchmarks.load import cpu_seconds
from benchmarks.seeding import seed
from benchmarks.served import Served, load_once, serving
from benchmarks.traffic import attempts
from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd.config import load
from riskd.server.translate import request
from riskd.wiring import open_engine

SIZE: Final = 100
CALLERS: Final = 2
"""Concurrent callers: one batch is computed while the next one is on its way."""
WINDOW: Final = 64
"""Attempts in flight on a stream."""


class Rate(Struct, frozen=True):
    """Attempts per second, and microseconds of the server's CPU for each."""

    per_second: float
    cpu: float


def batches(server: Served, subjects: int, seconds: float, number: int) -> Rate:
    """Send batches in a closed loop, and check that each attempt was answered."""
    stream = attempts(subjects, number)
    ready = [risk_pb2.BatchAssessRequest(requests=map(request, islice(stream, SIZE))) for _ in range(60)]
    with stub_of(server) as stub:

        def caller(which: int) -> int:
            answered, until = 0, time.perf_counter() + seconds
            while time.perf_counter() < until:
                answer = stub.BatchAssess(ready[which % len(ready)], timeout=10)
                assert all(result.HasField("response") for result in answer.results)
                answered, which = answered + len(answer.results), which + CALLERS
            return answered

        return measured(server, caller)


def streams(server: Served, subjects: int, seconds: float, number: int) -> Rate:
    """Send attempts on `CALLERS` streams, each with `WINDOW` attempts in flight."""
    stream = attempts(subjects, number)
    ready = [risk_pb2.StreamAssessRequest(request=request(each)) for each in islice(stream, 60 * SIZE)]
    with stub_of(server) as stub:

        def caller(which: int) -> int:
            answered, until, room = 0, time.perf_counter() + seconds, threading.Semaphore(WINDOW)

            def sent() -> Iterator[risk_pb2.StreamAssessRequest]:
                for each in cycle(ready[which::CALLERS]):
                    room.acquire()
                    if time.perf_counter() > until:
                        return
                    yield each

            for answer in stub.StreamAssess(sent(), timeout=seconds + 10):
                assert all(result.HasField("response") for result in answer.results)
                answered += len(answer.results)
                room.release(len(answer.results))
            return answered

        return measured(server, caller)


@contextmanager
def stub_of(server: Served) -> Iterator[risk_pb2_grpc.RiskServiceStub]:
    """A stub on a connection of its own."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield risk_pb2_grpc.RiskServiceStub(channel)


def measured(server: Served, caller: Callable[[int], int]) -> Rate:
    """Run all callers at the same time. `caller` returns how many attempts were answered."""
    cpu, begun = cpu_seconds(list(server.pids)), time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        answered = sum(pool.map(caller, range(CALLERS)))
    elapsed, used = time.perf_counter() - begun, cpu_seconds(list(server.pids)) - cpu
    return Rate(answered / elapsed, used / answered * 1e6)


def one_by_one(server: Served, subjects: int, seconds: float, number: int) -> Rate:
    """Send single attempts in a closed loop."""
    taken = load_once(server, "--seconds", str(seconds), "--subjects", str(subjects), "--seed", str(number))
    return Rate(taken["per_second"], taken["server_cpu_us_per_call"])


def main() -> int:
    """Run alternating rounds, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=20_000, help="customers with a history")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one load")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds")
    options = parser.parse_args()
    ways = {"one by one": one_by_one, f"batches of {SIZE}": batches, f"streams of {WINDOW}": streams}
    rates: dict[str, list[Rate]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(prefix="riskd-bench-") as state:
        with open_engine(load(flags={"state.dir": state})) as engine:
            seed(engine.parts, options.subjects, time.time())
        command = [sys.executable, "-m", "riskd", "serve", "--port", "0", "--metrics-port", "0", "--workers", "1"]
        with serving("riskd", command, {"RISKD_STATE__DIR": state}) as server:
            for number in range(options.rounds):
                for name, way in ways.items():
                    rates[name].append(way(server, options.subjects, options.seconds, number))
    middles = [
        Rate(statistics.median(rate.per_second for rate in taken), statistics.median(rate.cpu for rate in taken))
        for taken in rates.values()
    ]
    print(f"\n{'':<18}{'attempts/s':>12}{'CPU us/attempt':>17}")
    for name, rate in zip(ways, middles, strict=True):
        print(f"{name:<18}{rate.per_second:>12.0f}{rate.cpu:>17.0f}")
    one = middles[0]
    for name, many in zip(ways, middles, strict=True):
        faster, cheaper = many.per_second / one.per_second, one.cpu / many.cpu
        print(f"{name}: {faster:.2f} times as many a second, {cheaper:.2f} times as many for the same CPU")
    return 0


if __name__ == "__main__":
    program(main)
