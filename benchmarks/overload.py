"""Three times as many sign-ins as one worker can do: what becomes of those it takes, and of those it refuses.

Open loop, latency from the intended start of each call. Beside the default stands the same service with no limit for
a standing queue, as a queue bounded by `server.queue_ms` alone. The first second of each load, in which a burst is
worked off, is not counted. Rounds alternate; compare within one run only.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from typing import Any, Final

from benchmarks.seeding import seed
from benchmarks.served import Served, load_once, serving
from riskd.config import load
from riskd.wiring import open_engine

CALM: Final = 0.4
"""Share of the capacity at which calls seldom meet."""
SERVERS: Final[dict[str, dict[str, str]]] = {
    "default": {},
    "burst limit only": {"RISKD_SERVER__STANDING_QUEUE_MS": "100"},
}
"""The capacity is that of the last."""


def compare(servers: list[Served], options: argparse.Namespace) -> None:
    """Capacity first, then rounds of calm and of overload in turns, and the table."""
    shape = ["--seconds", str(options.seconds), "--subjects", str(options.subjects)]
    capacity = float(load_once(servers[-1], *shape, "--concurrency", "4")["per_second"])
    rates = {"calm": CALM * capacity, "overload": options.times * capacity}
    rounds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for number in range(options.rounds):
        for name, rate in rates.items():
            for server in servers:
                pace = ("--rate", str(rate), "--settle", "1", "--seed", str(number))
                one = load_once(server, *shape, *pace, errors=name == "overload")
                rounds.setdefault((server.name, name), []).append(one)
                print(f"  round {number + 1}: {server.name}, {name} {one}", file=sys.stderr, flush=True)

    def usual(server: str, name: str, figure: str) -> float:
        return float(statistics.median(one[figure] for one in rounds[server, name]))

    print(f"capacity {capacity:.0f} calls/s; calm is {rates['calm']:.0f}, overload {rates['overload']:.0f}\n")
    print(f"{'':<18}{'':<10}{'taken/s':>9}{'refused/s':>11}{'p50 ms':>8}{'p99 ms':>8}{'refusal p99':>13}{'bare':>6}")
    for (server_name, name), taken in rounds.items():
        kept, shed, p50, p99, refusal = (
            statistics.median(one[figure] for one in taken)
            for figure in ("per_second", "refused_per_second", "p50_ms", "p99_ms", "refused_p99_ms")
        )
        bare = sum(one["refused_bare"] for one in taken)
        print(f"{server_name:<18}{name:<10}{kept:>9.0f}{shed:>11.0f}{p50:>8.1f}{p99:>8.1f}{refusal:>13.1f}{bare:>6}")
    for server in servers:
        ratio = usual(server.name, "overload", "p99_ms") / usual(server.name, "calm", "p99_ms")
        kept = usual(server.name, "overload", "per_second") / capacity
        print(f"{server.name}: p99 of accepted calls {ratio:.1f} times that of calm; {kept:.2f} of the capacity kept")
    print("bare: refusals without RetryInfo, by gRPC itself")


def main() -> int:
    """Seed a store, start both services, compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=5_000, help="customers with a history")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one load")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds")
    parser.add_argument("--times", type=float, default=3.0, help="overload, in capacities")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="riskd-bench-") as state:
        with open_engine(load(flags={"state.dir": state})) as engine:
            seed(engine.parts, options.subjects, time.time())
        command = [sys.executable, "-m", "riskd", "serve", "--port", "0", "--metrics-port", "0", "--workers", "1"]
        environment = {"RISKD_STATE__DIR": state, "RISKD_SUBJECTS__SERVE": "off", "RISKD_RELEASE__SERVE": "off"}
        (first, one), (second, other) = SERVERS.items()
        with (
            serving(first, command, environment | one) as default,
            serving(second, command, environment | other) as burst,
        ):
            compare([default, burst], options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
