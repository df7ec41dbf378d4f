"""Assess over gRPC, compared with a no-op call with the same messages and server settings.

Each server is a process of its own. `benchmarks.load` loads them in alternating rounds: in a closed loop for the
capacity, then in an open loop at half of the slower one's capacity. h2load, if installed, is a cross-check. Compare
ratios and medians of one run only. At capacity the no-op serves several calls with each wake-up, so the cost of a call
is compared at equal rates.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
from msgspec import Struct

from benchmarks import program
from benchmarks.load import METHOD
from benchmarks.rpc import ASSESSMENT
from benchmarks.seeding import seed
from benchmarks.traffic import attempts
from riskd._proto.riskd.v1 import risk_pb2
from riskd.config import load
from riskd.server.grpc_server import Options, channel_arguments
from riskd.server.translate import Answers, request
from riskd.wiring import open_engine

READY: Final = re.compile(r"serves \S+?:(\d+)(?:; metrics (\S+);|$)")


class Served(Struct, frozen=True):
    """A running server: its port, the processes whose CPU counts, and the address of its metrics, if it has any."""

    name: str
    port: int
    pids: tuple[int, ...]
    metrics: str | None


def no_op(port: int = 0) -> None:
    """Serve a no-op Assess until the parent ends. It parses the request and answers with a prepared message."""
    answer = Answers().response(ASSESSMENT)
    options = Options()
    handler = grpc.unary_unary_rpc_method_handler(
        lambda _request, _context: answer,
        request_deserializer=risk_pb2.AssessRequest.FromString,
        response_serializer=risk_pb2.AssessResponse.SerializeToString,
    )
    server = grpc.server(
        ThreadPoolExecutor(options.threads),
        options=channel_arguments(options),
        maximum_concurrent_rpcs=options.max_concurrent_rpcs,
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("riskd.v1.RiskService", {"Assess": handler})])
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print(f"no-op serves 127.0.0.1:{bound}", flush=True)
    sys.stdin.read()
    server.stop(0).wait()


@contextmanager
def serving(name: str, command: list[str], environment: dict[str, str]) -> Iterator[Served]:
    """Run a server in a process of its own."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | environment,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready = READY.search(process.stdout.readline())
        assert ready is not None, f"{name} did not start"
        yield Served(name, int(ready[1]), tuple(_family(process.pid)), ready[2])
    finally:
        process.terminate()
        process.communicate(timeout=15)


def _family(pid: int) -> Iterator[int]:
    yield pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    for child in children:
        yield from _family(int(child))


def load_once(server: Served, *arguments: str, errors: bool = False) -> dict[str, Any]:
    """Run `benchmarks.load` in a process of its own, and return its result. `errors`: failed calls are allowed."""
    command = [sys.executable, "-m", "benchmarks.load", "--target", f"127.0.0.1:{server.port}", *arguments]
    command += [argument for pid in server.pids for argument in ("--pid", str(pid))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or (errors and done.stdout), f"{server.name}: {done.stdout}{done.stderr}"
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def h2load(server: Served, seconds: int) -> float | None:
    """Calls per second by h2load with one body; None if it is not installed."""
    tool = shutil.which("h2load")
    if tool is None:
        return None
    body = request(next(attempts(1))).SerializeToString()
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(b"\0" + len(body).to_bytes(4, "big") + body)
        file.flush()
        headers = ["-H", "te: trailers", "-H", "content-type: application/grpc"]
        shape = ["-D", str(seconds), "--warm-up-time=1s", "-c", "4", "-m", "4", "-t", "1"]
        url = f"http://127.0.0.1:{server.port}{METHOD}"
        done = subprocess.run(
            [tool, url, "-d", file.name, *headers, *shape], capture_output=True, text=True, check=True
        )
    rate = re.search(r"([\d.]+) req/s", done.stdout)
    return float(rate[1]) if rate else None


def compare(servers: list[Served], options: argparse.Namespace) -> None:
    """Run alternating rounds, and print the table."""
    shape = ["--seconds", str(options.seconds), "--subjects", str(options.subjects)]
    rounds: dict[str, list[dict[str, Any]]] = {server.name: [] for server in servers}
    for number in range(options.rounds):
        for server in servers:
            rounds[server.name].append(load_once(server, *shape, "--seed", str(number)))
            print(f"  round {number + 1}: {server.name} {rounds[server.name][-1]}", file=sys.stderr, flush=True)
    capacity = {name: statistics.median(one["per_second"] for one in taken) for name, taken in rounds.items()}
    cpu = {name: statistics.median(one["server_cpu_us_per_call"] for one in taken) for name, taken in rounds.items()}
    rate = str(min(capacity.values()) / 2)
    calm = {server.name: load_once(server, *shape, "--rate", rate) for server in servers}
    equal = {name: one["server_cpu_us_per_call"] for name, one in calm.items()}
    cross = {server.name: h2load(server, int(options.seconds)) for server in servers}
    columns = f"{'calls/s':>10}{'CPU us/call':>13}{'at equal rate':>15}{'p50 ms':>9}{'p99 ms':>9}{'h2load/s':>10}"
    print(f"\n{'':<10}{columns}")
    for name, calls in capacity.items():
        one = calm[name]
        other = f"{cross[name]:>10.0f}" if cross[name] else f"{'-':>10}"
        cost = f"{calls:>10.0f}{cpu[name]:>13.0f}{equal[name]:>15.0f}"
        print(f"{name:<10}{cost}{one['p50_ms']:>9.2f}{one['p99_ms']:>9.2f}{other}")
    print(f"equal rate and latency: open loop at {float(rate):.0f} calls/s, from the intended start of each call")
    tail = calm["Assess"]["p99_ms"] / calm["no-op"]["p99_ms"]
    first, second = cross["Assess"], cross["no-op"]
    checked = f"h2load {first / second:.2f}" if first and second else "h2load is not installed"
    throughput, used = capacity["Assess"] / capacity["no-op"], equal["Assess"] / equal["no-op"]
    print(f"Assess / no-op: throughput {throughput:.2f}, CPU at equal rate {used:.2f}, p99 {tail:.2f}, {checked}")


def main() -> int:
    """Seed a store, start both servers, and compare them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.served", description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=20_000, help="customers with a history")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one load")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="riskd-bench-") as state:
        with open_engine(load(flags={"state.dir": state})) as engine:
            seed(engine.parts, options.subjects, time.time())
        # A closed loop has a fixed number of callers, which is no overload. So their calls may wait for long.
        patient = {f"RISKD_SERVER__{name}QUEUE_MS": "1000" for name in ("", "STANDING_")}
        environment = {"RISKD_STATE__DIR": state, **patient}
        riskd = [sys.executable, "-m", "riskd", "serve", "--port", "0", "--metrics-port", "0", "--workers", "1"]
        nothing = [sys.executable, "-c", "from benchmarks.served import no_op; no_op()"]
        with serving("no-op", nothing, {}) as one, serving("Assess", riskd, environment) as other:
            compare([one, other], options)
    return 0


if __name__ == "__main__":
    program(main)
