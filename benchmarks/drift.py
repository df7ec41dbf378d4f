"""The cost of the drift watch: the time of a check, and its effect on callers: `python -m benchmarks.drift`.

For the effect, two services are compared in alternating rounds. The monitor of one checks every half second, a hundred
times as often as usual; the monitor of the other never checks.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random
from shutil import copytree

import grpc
import msgspec
import numpy as np

from benchmarks import program
from benchmarks.served import serving
from benchmarks.traffic import attempt
from riskd._proto.riskd.v1 import risk_pb2_grpc
from riskd.adapters.decision_log import segments
from riskd.adapters.model_file import REFERENCE, load_model, seal
from riskd.config import data_directory
from riskd.core.features import DEFINITIONS, NAMES
from riskd.drift_watch import LOOK_BYTES, DriftWatch
from riskd.offline.drift.bins import Batch, reference
from riskd.server.translate import request

ROUNDS = 20
CALLS = 100
LOOKS = 9


def models(folder: Path) -> Path:
    """A copy of the shipped models, in which the customers' model has a reference."""
    copied = copytree(data_directory("models"), folder / "models")
    bundle = copied / "customer" / "hand-set-4"
    dice = np.random.default_rng(1)
    vectors = dice.normal(size=(2000, len(NAMES)))
    subjects = [str(each) for each in range(2000)]
    batch = Batch(np.zeros(2000), subjects, vectors)
    found = reference("customer", NAMES, load_model(bundle, DEFINITIONS), [batch])
    seal(bundle, DEFINITIONS, beside={REFERENCE: msgspec.json.encode(found)})
    return copied


def callers(folder: Path, copied: Path) -> Path:
    """Call both services in alternating rounds. Returns the decision log of the one with the watch."""
    taken: dict[str, list[float]] = {"never": [], "watched": []}
    with ExitStack() as running:
        stubs = {}
        for name, seconds in (("never", "0"), ("watched", "0.5")):
            command = [sys.executable, "-m", "riskd", "serve", "--port", "0", "--metrics-port", "0"]
            environment = {
                "RISKD_STATE__DIR": str(folder / name),
                "RISKD_METRICS__DRIFT_S": seconds,
                "RISKD_RELEASE__MODELS": str(copied),
            }
            served = running.enter_context(serving(name, command, environment))
            channel = running.enter_context(grpc.insecure_channel(f"127.0.0.1:{served.port}"))
            stubs[name] = risk_pb2_grpc.RiskServiceStub(channel)
        for number in range(ROUNDS):
            for name, stub in stubs.items():
                messages = [request(attempt(each, Random(number * CALLS + each))) for each in range(CALLS)]
                for message in messages:
                    begun = time.perf_counter()
                    stub.Assess(message, timeout=10)
                    taken[name].append(time.perf_counter() - begun)
    for what, of in (("p50", statistics.median), ("p99", lambda found: statistics.quantiles(found, n=100)[98])):
        never, watched = of(taken["never"]) * 1e6, of(taken["watched"]) * 1e6
        print(f"a caller, {what}: {never:.0f} us unwatched, {watched:.0f} us watched, {watched / never:.2f} times")
    return folder / "watched" / "decisions"


def looks(folder: Path, log: Path, copied: Path) -> None:
    """Print the time of a check that reads as much as it ever does."""
    lines = [line for path in segments(log) for line in path.read_bytes().splitlines(keepends=True)]
    several = -(-LOOK_BYTES // sum(map(len, lines)))
    (folder / "log").mkdir()
    (folder / "log" / "20260101T000000.000000-0.jsonl").write_bytes(b"".join(lines) * several)
    spent, rows = [], 0.0
    for _ in range(LOOKS):
        watch = DriftWatch(folder / "log", lambda: {"customer": copied / "customer" / "hand-set-4"})
        begun = time.process_time()
        watch.look(0.0)
        spent.append(time.process_time() - begun)
        rows = sum(watch.readings["riskd_drift_rows"].values())
    took = statistics.median(spent)
    print(
        f"a look at {LOOK_BYTES >> 20} MiB, the most that it reads: {rows:.0f} rows in {took * 1e3:.0f} ms of CPU "
        f"({took / rows * 1e6:.0f} us a row): once a minute, {took / 60:.2%} of a core, of the monitor's"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copied = models(folder)
        looks(folder, callers(folder, copied), copied)


if __name__ == "__main__":
    program(main)
