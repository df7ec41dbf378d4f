"""Counts the instructions and cache misses of an assessment with callgrind (Debian's package `valgrind`).

Unlike times, these counts hardly depend on the load of the machine; unlike bytecodes, they include the work of C code.
LMDB with histories, decision log on, clock and pepper fixed, another subject at each call. Only the thread that
assesses is counted. The caches are those of a server's core: 32 kB of L1 for code and data each, and 512 kB for both.
`callgrind_annotate` lists the C functions of the file that is left in `build/`.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from benchmarks import program
from benchmarks.bytecodes import NOW
from benchmarks.seeding import seed
from benchmarks.traffic import attempts
from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.config import load
from riskd.core.attempt import Attempt
from riskd.engine import Engine
from riskd.metrics.memory import MeterMemory
from riskd.wiring import open_engine

SUBJECTS: Final = 5_000
WARM: Final = 200
"""Attempts before the count starts, to fill the caches of riskd."""
CACHES: Final = ("--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=524288,8,64")
ROWS: Final = (
    ("instructions", ("Ir",)),
    ("code lines missed in L1", ("I1mr",)),
    ("data lines missed in L1", ("D1mr", "D1mw")),
    ("code lines missed in L2", ("ILmr",)),
    ("data lines missed in L2", ("DLmr", "DLmw")),
)


def assess(calls: int) -> None:
    """Assess `calls` attempts with callgrind counting. Runs under callgrind."""
    environ = {"RISKD_PEPPER": "benchmarks-benchmarks-benchmarks"}
    with (
        tempfile.TemporaryDirectory(prefix="riskd-bench-") as state,
        open_engine(load(environ=environ, flags={"state.dir": state}), PrometheusMeter(MeterMemory(1), 0)) as opened,
    ):
        parts = replace(opened.parts, clock=lambda: NOW)
        engine = Engine(parts, opened.release)
        seed(parts, SUBJECTS, NOW)
        sample: Iterator[Attempt] = attempts(SUBJECTS, seed=3)
        for attempt in islice(sample, WARM):
            engine.assess(attempt, 60.0)
        counted = list(islice(sample, calls))
        gc.freeze()
        _instrument("on")
        for attempt in counted:
            engine.assess(attempt, 60.0)
        _instrument("off")


def _instrument(switch: str) -> None:
    command = ["callgrind_control", "-i", switch, str(os.getpid())]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def totals(out: Path) -> dict[str, int]:
    """The counts of a file of callgrind, by event."""
    lines = out.read_text(encoding="utf-8").splitlines()
    names, counts = (
        next(line for line in lines if line.startswith(head)).split()[1:] for head in ("events:", "totals:")
    )
    return dict(zip(names, map(int, counts), strict=False))


def main() -> int:
    """Count, and print the mean of an assessment."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=500, help="assessments to count (default: %(default)s)")
    calls = parser.parse_args().calls
    if shutil.which("valgrind") is None:
        print("install valgrind", file=sys.stderr)
        return 1
    out = Path("build/callgrind.out")
    out.parent.mkdir(parents=True, exist_ok=True)
    code = f"from benchmarks.instructions import assess; assess({calls})"
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes", *CACHES]
    command += [f"--callgrind-out-file={out}", sys.executable, "-c", code]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = totals(out.with_name(f"{out.name}-01"))
    for title, events in ROWS:
        print(f"{title:<26}{sum(found[event] for event in events) / calls:>12,.0f}")
    return 0


if __name__ == "__main__":
    program(main)
