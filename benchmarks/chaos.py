"""Two hundred kills under load, floods under load, and a soak test. Reports lost data, refused calls and memory.

Run: python -m benchmarks.chaos [--kills N] [--minutes N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import grpc

from benchmarks import program
from benchmarks.soak import private_mib, soak
from tests.e2e.service import Service, attempt, serving
from tests.faults.floods import FLOODS, Peer
from tests.faults.kills import campaign

PARENTS: Final = 10
"""One kill in this many is of the supervisor."""
ROUNDS: Final = 3


def kills(state: Path, count: int, seed: int) -> bool:
    """Kill processes `count` times. Returns whether nothing was lost."""

    def killed(done: int) -> None:
        if sys.stderr.isatty() or done % 20 == 0:
            print(f"  {done} of {count} killed", file=sys.stderr, flush=True)

    found = campaign(state, count - count // PARENTS, count // PARENTS, seed, killed)
    print(f"| kills of workers | {found.workers_killed} |")
    print(f"| kills of supervisors | {found.supervisors_killed} |")
    print(f"| seconds | {found.seconds:.0f} |")
    print(f"| calls tried | {found.tries} |")
    print(f"| assessments acknowledged | {found.assessments} |")
    print(f"| outcomes acknowledged | {found.outcomes} |")
    print(f"| of these missing in the log | {found.lost_in_log} |")
    print(f"| of these missing in the histories | {found.lost_in_store} |")
    print(f"| processes that outlived their supervisor | {found.orphans} |", flush=True)
    return not (found.lost_in_log or found.lost_in_store or found.orphans)


def floods(state: Path) -> bool:
    """Run each flood `ROUNDS` times on one worker. Returns whether another client was always answered meanwhile."""
    well = True
    with serving(state) as service:
        (worker,) = service.workers()
        print("| flood | frames | another client: calls, median ms, refused | the worker's memory MiB |")
        print("|---|---|---|---|")
        for name, (make, most) in FLOODS.items():
            sent, seconds, refused = 0, list[float](), 0
            for number in range(ROUNDS):
                peer = Peer(service.address)
                answered, errors = beside(service, partial(peer.flood, make(), most, reads=number > 0))
                peer.close()
                sent, seconds, refused = sent + peer.sent, seconds + answered, refused + errors
            well = well and not refused
            calls = f"{len(seconds)}, {median(seconds) * 1e3:.0f}, {refused}"
            print(f"| {name} | {sent} | {calls} | {private_mib(worker):.0f} |", flush=True)
        return well and service.workers() == [worker]


def beside(service: Service, flood: Callable[[], None]) -> tuple[list[float], int]:
    """Latencies of another client during a flood, and how many of its calls failed."""
    stop, seconds, errors = threading.Event(), list[float](), 0
    thread = threading.Thread(target=flood)
    with service.stub() as stub:
        thread.start()
        while thread.is_alive() or len(seconds) + errors < 5:
            begun = time.monotonic()
            try:
                stub.Assess(attempt(subject="beside"), timeout=5)
                seconds.append(time.monotonic() - begun)
            except grpc.RpcError:
                errors += 1
            stop.wait(0.01)
    thread.join()
    return seconds or [float("nan")], errors


def main() -> int:
    """Returns 0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="how many; one in ten is the supervisor's")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the soak")
    parser.add_argument("--rate", type=float, default=200.0, help="sign-ins a second of the soak")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and victims")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="riskd-chaos-", ignore_cleanup_errors=True) as name:
        state = Path(name)
        results = [kills(state / "kills", options.kills, options.seed), floods(state / "floods")]
        if options.minutes:
            results.append(soak(state / "soak", options.minutes, options.rate))
    print("well" if all(results) else "NOT well")
    return 0 if all(results) else 1


if __name__ == "__main__":
    program(main)
