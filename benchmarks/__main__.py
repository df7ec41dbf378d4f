"""`make bench`: every figure that the docs name, from one run."""

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
    "bytecodes": "What an assessment makes the interpreter do",
    "bounds": "What would be left if parts of it cost nothing",
    "scale": "What grows with what is remembered",
    "served": "Assess over gRPC, beside a no-op call",
    "batch": "Attempts in batches and on a stream, beside one by one",
    "workers": "Two workers beside one",
    "peers": "Freeman's formula, scikit-learn and cel-python, beside riskd",
    "handlers": "Handler threads",
    "overload": "More than can be done",
    "forest": "The forest, beside scikit-learn",
    "features": "The feature vector, by group",
    "rules": "Rules and the ruling",
    "history": "The history stores",
    "redis": "Histories on Redis, beside LMDB and bare round trips",
    "gather": "Geo and user agents",
    "decision_log": "The decision log",
    "siem": "Decisions for a SIEM",
    "pepper": "Layers of the pepper",
    "shadow": "A release in shadow",
    "drift": "Watching drift",
    "turns": "Bounded waits",
    "imports": "Importing past sign-ins",
    "rebuild": "A lost store, made again of its log",
    "metrics": "Metrics",
    "rpc": "The RPC edge alone",
    "tracing": "Spans",
    "backtest": "A backtest, by one process and by two",
    "workshop": "The log into a dataset, rows, and another log",
}
"""Module of this package to its title."""


def machine() -> str:
    """What this ran on, in a line."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    cores = sum(line.startswith("processor") for line in _lines("/proc/cpuinfo"))
    return f"{cores} x {cpu}, Linux {platform.release()}, Python {platform.python_version()} in {sys.base_prefix}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def main() -> int:
    """Run the parts one after another; 1 when one failed."""
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
