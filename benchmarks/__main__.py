"""Prints every figure that the docs quote, in one run (`make bench`)."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks import program

PARTS: Final[dict[str, str]] = {
    "assess": "One assessment in process, by stage",
    "bytecodes": "Bytecodes and function calls of an assessment",
    "bounds": "The time of an assessment if parts of it took no time",
    "scale": "Size and time by the number of subjects",
    "years": "A year and a half of 500 people",
    "served": "Assess over gRPC, compared with a no-op call",
    "batch": "Attempts in batches and on a stream, compared with single calls",
    "workers": "Two workers, compared with one",
    "peers": "Freeman's formula, scikit-learn and cel-python, compared with riskd",
    "handlers": "Handler threads",
    "overload": "Overload",
    "forest": "The forest, compared with scikit-learn",
    "features": "The feature vector, by group",
    "rules": "Rules and the ruling",
    "history": "The history stores",
    "redis": "Histories on Redis, compared with LMDB and bare round trips",
    "gather": "Geo and user agents",
    "decision_log": "The decision log",
    "siem": "Decisions for a SIEM",
    "pepper": "Layers of the pepper",
    "shadow": "A release in shadow",
    "drift": "Watching drift",
    "turns": "Waits with a timeout",
    "imports": "Importing past sign-ins",
    "rebuild": "Rebuilding a lost store from its log",
    "metrics": "Metrics",
    "rpc": "The RPC layer alone",
    "tracing": "Tracing",
    "backtest": "A backtest, with one process and with two",
    "workshop": "From the log to a dataset, rows, another log, and a model",
}
"""The title of each benchmark, by module."""


def machine() -> str:
    """A line that describes this machine and Python."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    cores = sum(line.startswith("processor") for line in _lines("/proc/cpuinfo"))
    return f"{cores} x {cpu}, Linux {platform.release()}, Python {platform.python_version()} in {sys.base_prefix}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def main() -> int:
    """Run the parts one after another. Returns 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"which to run: {', '.join(PARTS)} (default: all)")
    chosen = parser.parse_args().parts or list(PARTS)
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}")
    print(f"riskd benchmarks on {machine()}\nCompare figures of one run only: ratios and medians.", flush=True)
    failed = []
    for part in chosen:
        print(f"\n== {PARTS[part]} (python -m benchmarks.{part})", flush=True)
        begun = time.perf_counter()
        if subprocess.run([sys.executable, "-m", f"benchmarks.{part}"], check=False).returncode:
            failed.append(part)
        print(f"   [{time.perf_counter() - begun:.0f} s]", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    program(main)
