"""Makes a flame graph (SVG) of a worker under load, or of an engine in process."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks import program
from benchmarks.load import cpu_seconds
from benchmarks.seeding import seed
from benchmarks.served import serving
from benchmarks.traffic import attempts
from riskd.config import load
from riskd.wiring import open_engine

RATE: Final = 250
"""Samples a second."""
BEGIN_SECONDS: Final = 30.0
"""Longest time for the load to start, and for the profiler to attach."""
BUSY_SECONDS: Final = 0.3
"""A worker that has used this much CPU counts as under load."""


def in_process(state: str, subjects: int) -> None:
    """Assess until the parent ends this process."""
    with open_engine(load(flags={"state.dir": state})) as engine:
        print("ready", flush=True)
        for attempt in attempts(subjects):
            engine.assess(attempt)


@contextmanager
def engine_process(state: str, subjects: int) -> Iterator[int]:
    """Run a busy engine in a process of its own, and yield its pid."""
    code = f"from benchmarks.flame import in_process; in_process({state!r}, {subjects})"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), "the engine did not start"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@contextmanager
def worker_process(state: str, subjects: int, seconds: float) -> Iterator[int]:
    """Run a worker under load for longer than `seconds`, and yield its pid."""
    command = [sys.executable, "-m", "riskd", "serve", "--port", "0", "--metrics-port", "0", "--workers", "1"]
    patient = {f"RISKD_SERVER__{name}QUEUE_MS": "1000" for name in ("", "STANDING_")}
    with serving("riskd", command, {"RISKD_STATE__DIR": state, **patient}) as server:
        loading = [sys.executable, "-m", "benchmarks.load", "--target", f"127.0.0.1:{server.port}"]
        loading += ["--seconds", str(seconds + BEGIN_SECONDS), "--subjects", str(subjects)]
        callers = subprocess.Popen(loading, stdout=subprocess.DEVNULL)
        try:
            yield busy(server.pids)
        finally:
            callers.terminate()
            callers.wait()


def busy(pids: Sequence[int]) -> int:
    """The pid of the first of these processes that uses CPU."""
    idle, until = {pid: cpu_seconds([pid]) for pid in pids}, time.monotonic() + BEGIN_SECONDS
    while time.monotonic() < until:
        for pid in pids:
            if cpu_seconds([pid]) > idle[pid] + BUSY_SECONDS:
                return pid
        time.sleep(0.05)
    raise TimeoutError("the load did not begin")


def record(pid: int, seconds: int, out: Path, *, native: bool) -> int:
    """Sample a process with py-spy, which prints its own errors. Returns its exit code."""
    spy = Path(sys.executable).with_name("py-spy")
    # For C frames py-spy must pause the process, which slows down what is measured.
    shape = ["--rate", str(RATE), "--duration", str(seconds), "--native" if native else "--nonblocking"]
    command = [str(spy), "record", "--pid", str(pid), *shape, "--output", str(out)]
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode


def main() -> int:
    """Seed a store, put it under load, sample it, and print where the flame graph is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flame", description=__doc__.splitlines()[0])
    parser.add_argument("--in-process", action="store_true", help="an engine without gRPC")
    parser.add_argument("--native", action="store_true", help="frames of C, too: LMDB, gRPC, the interpreter")
    parser.add_argument("--seconds", type=int, default=15, help="length of the samples (default: %(default)s)")
    parser.add_argument("--subjects", type=int, default=20_000, help="customers with a history (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/flame.svg"), help="default: %(default)s")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        state = stack.enter_context(tempfile.TemporaryDirectory(prefix="riskd-bench-"))
        with open_engine(load(flags={"state.dir": state})) as engine:
            seed(engine.parts, options.subjects, time.time())
        if options.in_process:
            pid = stack.enter_context(engine_process(state, options.subjects))
        else:
            pid = stack.enter_context(worker_process(state, options.subjects, options.seconds))
        failed = record(pid, options.seconds, options.out, native=options.native)
    if failed:
        print("py-spy must be allowed to trace: be root, or set kernel.yama.ptrace_scope to 0", file=sys.stderr)
        return 1
    print(options.out)
    return 0


if __name__ == "__main__":
    program(main)
