"""Loads a service for a long time, and reports errors, latency, and whether its memory stays flat.

Flat means: over the second half, the line fitted to a process's private memory (RssAnon) rises by less than 2 % and
1 MiB. Run: python -m benchmarks.soak [--minutes N]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from msgspec import Struct

from benchmarks import program
from tests.e2e.service import ROOT, Service, serving

WORKERS: Final = 2
EVERY_S: Final = 2.0
"""Time between two samples of the memory."""
SHARE, MIB = 0.02, 1.0
"""Allowed rise over the second half: this share of the memory plus this many MiB."""


class Memory(Struct, frozen=True):
    """The private memory of a process in MiB. `rise`: of the line fitted to the second half."""

    process: str
    middle: float
    end: float
    rise: float

    @property
    def flat(self) -> bool:
        """Whether the memory stayed flat, as defined above."""
        return self.rise < SHARE * self.middle + MIB


class Watcher:
    """Samples the private memory of a service's processes until stopped."""

    def __init__(self, service: Service) -> None:
        self._seen: dict[int, list[tuple[float, float]]] = {}
        self._pids = {f"worker {number}": pid for number, pid in enumerate(service.workers())}
        self._pids["supervisor"] = service.process.pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def found(self) -> list[Memory]:
        """The result for each process."""
        return [_memory(name, self._seen[pid]) for name, pid in self._pids.items() if pid in self._seen]

    def _look(self) -> None:
        while not self._stop.wait(EVERY_S):
            for pid in self._pids.values():
                with suppress(OSError):
                    self._seen.setdefault(pid, []).append((time.monotonic(), private_mib(pid)))


def private_mib(pid: int) -> float:
    """The anonymous memory of a process in MiB. Raises OSError if the process has ended."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")) / 1024


def _memory(name: str, seen: list[tuple[float, float]]) -> Memory:
    half = seen[len(seen) // 2 :]
    moments, sizes = zip(*half, strict=True)
    middle, mean = fmean(moments), fmean(sizes)
    spread = sum((moment - middle) ** 2 for moment in moments)
    slope = sum((moment - middle) * (size - mean) for moment, size in half) / spread if spread else 0.0
    return Memory(name, sizes[0], sizes[-1], slope * (moments[-1] - moments[0]))


def loaded(service: Service, rate: float, seconds: float) -> dict[str, Any]:
    """Send `rate` sign-ins per second in an open loop, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load", "--target", service.address, "--rate", str(rate)]
    command += ["--seconds", str(seconds), "--subjects", "50000", "--requests", "50000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def soak(state: Path, minutes: float, rate: float) -> bool:
    """Run the load and print the results. Returns whether all is well."""
    with serving(state, WORKERS) as service:
        before = service.workers()
        with Watcher(service) as watcher:
            result = loaded(service, rate, minutes * 60)
        errors, memory = result["errors"], watcher.found()
        handled = service.metric("grpc_server_handled_total", grpc_code="OK")
        same = service.workers() == before
        stopped = service.stop() == 0
    answered, rate = result["answered"], result["per_second"]
    latency = ", ".join(f"{name} {result[f'{name}_ms']} ms" for name in ("p50", "p99", "p999"))
    print(f"{answered} sign-ins in {minutes:g} min, {rate} a second; {latency}; degraded {result['degraded']}")
    print(f"errors: {errors or 'none'}")
    for each in memory:
        verdict = "flat" if each.flat else "RISES"
        print(f"{each.process}: {each.middle:.1f} MiB at half time, {each.end:.1f} at the end", end="; ")
        print(f"fitted {each.rise:+.2f}: {verdict}")
    well = not errors and same and stopped and handled >= answered and all(each.flat for each in memory)
    print("well" if well else "NOT well", flush=True)
    return well


def main() -> int:
    """Returns 0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="how long")
    parser.add_argument("--rate", type=float, default=200.0, help="sign-ins a second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="riskd-soak-") as state:
        return 0 if soak(Path(state) / "state", options.minutes, options.rate) else 1


if __name__ == "__main__":
    program(main)
