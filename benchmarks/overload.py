"""Sends a worker three times as many sign-ins as it can handle, and measures how many it answers and how fast.

The flood comes from h2load (Debian: nghttp2-client), which needs a tenth of the CPU of a client in Python. Latencies
are those of a second, light client in an open loop, from the intended start of each call, with and without the flood in
alternating rounds. The table also has the worker's own times, from a call's arrival to its answer; the difference is
spent in the client, the network and gRPC. Compare figures of one run only.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Final

import grpc
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import program
from benchmarks.load import METHOD, Tally, cpu_seconds, messages, open_loop
from benchmarks.seeding import seed
from benchmarks.served import Served, serving
from riskd import config
from riskd.wiring import open_engine

CALM: Final = 0.4
"""Load without the flood, as a share of the capacity: calls seldom have to wait for each other."""
PROBE: Final = 0.1
"""Load of the client whose latencies are measured, as a share of the capacity."""
FLOODERS: Final = 4
"""Processes of h2load. Each sends the same message repeatedly, over two connections."""
GOAL: Final = 3.0
"""The p99 of accepted calls under overload may be at most this many times the p99 without."""
QUEUE: Final = "riskd_queue_seconds_bucket"
HANDLED: Final = "grpc_server_handled_total"
SETTLE: Final = 1.0
"""Seconds of load before calls are counted, to open connections and work off the first burst."""


class Seen(Struct):
    """The results of one kind of load, over all rounds, in seconds. `queue`: waits by upper bound of the bucket."""

    tally: Tally
    codes: Counter[str]
    queue: Counter[float]
    elapsed: float = 0.0
    service_cpu: float = 0.0
    flood_cpu: float = 0.0

    def rate(self, code: str) -> float:
        """Calls per second that ended with this code."""
        return self.codes[code] / self.elapsed

    def queue_p99_ms(self) -> float:
        """The 99th percentile of the wait in the worker in milliseconds, interpolated in its histogram's bucket."""
        ranked = sorted(self.queue.items())
        below, since, wanted = 0, 0.0, 0.99 * max(self.queue.values())
        for bound, count in ranked:
            if count >= wanted:
                return 1e3 * (since + (bound - since) * (wanted - below) / (count - below))
            below, since = count, bound
        return float("nan")


def scrape(server: Served) -> tuple[Counter[str], Counter[float]]:
    """From the server's metrics: calls so far by status, and by the upper bound of their wait in seconds."""
    assert server.metrics
    with urllib.request.urlopen(server.metrics, timeout=5) as page:
        families = list(text_string_to_metric_families(page.read().decode()))
    codes: Counter[str] = Counter()
    queue: Counter[float] = Counter()
    for sample in (sample for family in families for sample in family.samples):
        if sample.name == HANDLED and sample.labels["grpc_method"] == "Assess":
            codes[sample.labels["grpc_code"]] += int(sample.value)
        elif sample.name == QUEUE and sample.labels["method"] == "Assess":
            queue[float(sample.labels["le"])] += int(sample.value)
    return codes, queue


def written(directory: Path, subjects: int) -> Iterator[Path]:
    """Files for the h2load processes, with one gRPC-framed message each."""
    for number, message in enumerate(messages(FLOODERS, subjects, seed=4711)):
        path = directory / f"body-{number}"
        path.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        yield path


@contextmanager
def flood(server: Served, shape: list[str], bodies: list[Path]) -> Iterator[list[int]]:
    """Send calls from a process for each body, a file with one message. Yields the pids."""
    tool = shutil.which("h2load")
    assert tool, "h2load is missing (Debian: apt-get install nghttp2-client)"
    headers = ["-H", "te: trailers", "-H", "content-type: application/grpc"]
    url = f"http://127.0.0.1:{server.port}{METHOD}"
    running = [
        subprocess.Popen(
            [tool, url, "-d", str(body), *headers, *shape], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for body in bodies
    ]
    try:
        yield [one.pid for one in running]
    finally:
        for one in running:
            one.terminate()
            one.wait()


def capacity(server: Served, bodies: list[Path], seconds: float) -> float:
    """Calls per second that the server answers to closed-loop callers, one for each body."""
    with flood(server, ["-c", "1", "-m", "1", "-D", str(int(SETTLE + seconds) + 5)], bodies):
        time.sleep(SETTLE)
        before, begun = scrape(server)[0], time.perf_counter()
        time.sleep(seconds)
        after, ended = scrape(server)[0], time.perf_counter()
    return (after["OK"] - before["OK"]) / (ended - begun)


class Load(Struct, frozen=True):
    """Calls per second of the flood and of the measured client, and the duration."""

    flood: float
    probe: float
    seconds: float


async def probe(server: Served, load: Load, bodies: Iterator[bytes], tally: Tally) -> None:
    """Make the calls whose latencies are measured."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        await asyncio.wait_for(channel.channel_ready(), 10)
        until = time.perf_counter() + load.seconds
        await open_loop(channel.unary_unary(METHOD), bodies, until, load.probe, tally)


def load_once(server: Served, load: Load, floods: list[Path], probes: Iterator[bytes], seen: Seen) -> None:
    """Run one round."""
    each = max(1, round(load.flood / FLOODERS / 2))
    shape = ["-c", "2", "-m", "100", f"--rps={each}", "-D", str(int(SETTLE + load.seconds) + 5)]
    with flood(server, shape, floods) as flooders:
        time.sleep(SETTLE)
        codes, queue = scrape(server)
        service, flooded, begun = cpu_seconds(list(server.pids)), cpu_seconds(flooders), time.perf_counter()
        asyncio.run(probe(server, load, probes, seen.tally))
        seen.elapsed += time.perf_counter() - begun
        seen.service_cpu += cpu_seconds(list(server.pids)) - service
        seen.flood_cpu += cpu_seconds(flooders) - flooded
        codes_after, queue_after = scrape(server)
    seen.codes += codes_after - codes
    for bound, count in queue_after.items():
        seen.queue[bound] += count - queue[bound]


def compare(servers: list[Served], floods: list[Path], options: argparse.Namespace) -> None:
    """Measure the capacity, then run alternating rounds with and without overload, and print the table."""
    able = max(capacity(server, floods, options.seconds) for server in servers)
    loads = {
        name: Load((times - PROBE) * able, PROBE * able, options.seconds)
        for name, times in (("calm", CALM), ("overload", options.times))
    }
    probes = cycle(messages(5_000, options.subjects, seed=1))
    seen = {(server.name, name): Seen(Tally(), Counter(), Counter()) for server in servers for name in loads}
    for number in range(options.rounds):
        for name, load in loads.items():
            for server in servers:
                load_once(server, load, floods, probes, seen[server.name, name])
                print(f"  round {number + 1} of {options.rounds}: {server.name}, {name}", file=sys.stderr, flush=True)
    print(f"capacity {able:.0f} calls/s; calm is {CALM * able:.0f}, overload {options.times * able:.0f}\n")
    print(
        f"{'':<10}{'':<10}{'taken/s':>9}{'refused/s':>11}{'p50 ms':>8}{'p99 ms':>8}{'queue p99':>11}"
        f"{'refusal p99':>13}{'bare':>6}{'lost':>6}{'cores':>7}{'flood cores':>13}"
    )
    for (server_name, name), one in seen.items():
        tally = one.tally
        print(
            f"{server_name:<10}{name:<10}{one.rate('OK'):>9.0f}{one.rate('ResourceExhausted'):>11.0f}"
            f"{tally.percentile(0.5):>8.1f}{tally.percentile(0.99):>8.1f}{one.queue_p99_ms():>11.1f}"
            f"{tally.percentile(0.99, tally.refused):>13.1f}{tally.bare:>6}{sum(tally.errors.values()):>6}"
            f"{one.service_cpu / one.elapsed:>7.2f}{one.flood_cpu / one.elapsed:>13.2f}"
        )
    for server in servers:
        calm, full = seen[server.name, "calm"], seen[server.name, "overload"]
        ratio = full.tally.percentile(0.99) / calm.tally.percentile(0.99)
        print(
            f"{server.name}: p99 of calls taken {ratio:.1f} times that of calm (goal: {GOAL:.0f});"
            f" {full.rate('OK') / able:.2f} of the capacity kept; {len(full.tally.seconds)} of the client's calls taken"
        )
    print(
        "queue p99: wait for a turn in the worker, as it counts it itself; bare: refusals of the client's calls without"
    )
    print("RetryInfo, by gRPC itself; lost: those that ended otherwise; cores: CPU of the service, of the flood")


def main() -> int:
    """Seed a store, start the service, and compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=5_000, help="customers with a history")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one load")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds")
    parser.add_argument("--times", type=float, default=3.0, help="overload, in capacities")
    parser.add_argument(
        "--beside",
        type=Path,
        help="checkout of another version whose records are the same; its service takes turns, too",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="riskd-bench-") as state, ExitStack() as stack:
        with open_engine(config.load(flags={"state.dir": state})) as engine:
            seed(engine.parts, options.subjects, time.time())
        bodies = list(written(Path(state), options.subjects))
        command = [sys.executable, "-m", "riskd", "serve", "--port", "0", "--metrics-port", "0", "--workers", "1"]
        environment = {"RISKD_STATE__DIR": state, "RISKD_SUBJECTS__SERVE": "off", "RISKD_RELEASE__SERVE": "off"}
        servers = [stack.enter_context(serving("this", command, environment))]
        if options.beside:
            path = {"PYTHONPATH": str(options.beside.resolve()), "PYTHONSAFEPATH": "1"}
            servers.append(stack.enter_context(serving("beside", command, environment | path)))
        compare(servers, bodies, options)
    return 0


if __name__ == "__main__":
    program(main)
