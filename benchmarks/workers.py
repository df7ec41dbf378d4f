"""Two workers compared with one: the calls that they answer, and the CPU of each call.

The load comes from h2load (Debian: nghttp2-client): four processes with four connections each, which wait for their
answers. They need a tenth of a core, which two workers on two cores cannot spare. So the table also has the CPU of a
call: its increase shows how much the workers slow each other, whatever the load generator takes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from msgspec import Struct

from benchmarks import program
from benchmarks.load import cpu_seconds
from benchmarks.overload import SETTLE, flood, scrape, written
from benchmarks.seeding import seed
from benchmarks.served import Served, serving
from riskd import config
from riskd.wiring import open_engine

SHAPE: Final = ["-c", "4", "-m", "1"]
"""Connections of each process: enough that the kernel spreads them about evenly."""
GOAL: Final = 1.8


class Rate(Struct, frozen=True):
    """Calls answered per second, microseconds of the service's CPU for each, and the cores that it used."""

    per_second: float
    cpu: float
    cores: float


def measured(server: Served, bodies: list[Path], seconds: float) -> Rate:
    """Measure one round."""
    with flood(server, [*SHAPE, "-D", str(int(SETTLE + seconds) + 5)], bodies):
        time.sleep(SETTLE)
        calls, used, begun = scrape(server)[0]["OK"], cpu_seconds(list(server.pids)), time.perf_counter()
        time.sleep(seconds)
        calls, used = scrape(server)[0]["OK"] - calls, cpu_seconds(list(server.pids)) - used
        elapsed = time.perf_counter() - begun
    return Rate(calls / elapsed, used / calls * 1e6, used / elapsed)


def compare(servers: list[Served], bodies: list[Path], options: argparse.Namespace) -> None:
    """Run alternating rounds, and print the table."""
    rates: dict[str, list[Rate]] = {server.name: [] for server in servers}
    for number in range(options.rounds):
        for server in servers:
            rates[server.name].append(measured(server, bodies, options.seconds))
            print(f"  round {number + 1} of {options.rounds}: {server.name}", file=sys.stderr, flush=True)
    print(f"\n{'':<10}{'calls/s':>10}{'CPU us/call':>13}{'cores':>8}")
    for name, taken in rates.items():
        one = Rate(*(statistics.median(getattr(rate, field) for rate in taken) for field in Rate.__struct_fields__))
        print(f"{name:<10}{one.per_second:>10.0f}{one.cpu:>13.0f}{one.cores:>8.2f}")
    first, second = rates.values()
    pairs = list(zip(first, second, strict=True))
    times = statistics.median(two.per_second / one.per_second for one, two in pairs)
    able = statistics.median(2 * one.cpu / two.cpu for one, two in pairs)
    print(
        f"two workers answer {times:.2f} times the calls of one; by the CPU of a call {able:.2f} times (goal: {GOAL})"
    )


def main() -> int:
    """Seed a store for each, start both services, and compare them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=20_000, help="customers with a history")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one load")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="riskd-bench-") as directory, ExitStack() as stack:
        servers = []
        for count, name in ((1, "one"), (2, "two")):
            state = str(Path(directory) / name)
            with open_engine(config.load(flags={"state.dir": state})) as engine:
                seed(engine.parts, options.subjects, time.time())
            command = [sys.executable, "-m", "riskd", "serve", "--port", "0", "--metrics-port", "0"]
            environment = {"RISKD_STATE__DIR": state, "RISKD_SUBJECTS__SERVE": "off", "RISKD_RELEASE__SERVE": "off"}
            servers.append(stack.enter_context(serving(name, [*command, "--workers", str(count)], environment)))
        compare(servers, list(written(Path(directory), options.subjects)), options)
    return 0


if __name__ == "__main__":
    program(main)
