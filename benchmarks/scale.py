"""How bytes per subject, assessment and start time, and a worker's memory depend on the number of subjects.

Stores of two sizes are called alternately, so that a busy machine slows both. Run: python -m benchmarks.scale
[--subjects N N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from random import Random
from time import perf_counter, perf_counter_ns
from typing import Final

import lmdb
from msgspec.structs import replace

from benchmarks import program
from benchmarks.assess import percentiles
from benchmarks.seeding import seed
from benchmarks.served import serving
from benchmarks.traffic import attempt, attempts
from riskd.adapters.null import NullMeter
from riskd.config import load
from riskd.core.attempt import Outcome
from riskd.core.history import DAY
from riskd.core.recall import ACTIVITY, COMMON, RECEIPT, REPLY
from riskd.engine import Engine
from riskd.ports import HistoryStore
from riskd.wiring import open_engine

APART: Final = 1.7 * DAY
"""Seconds between two sign-ins of a subject. A hundred sign-ins span the time that histories are kept."""
ENTRY: Final = 10
"""Bytes that LMDB needs in addition to a key and its record."""
MAP_MB: Final = "16384"
"""Enough for ten million subjects and their activity."""
WALK: Final = 10_000
"""Keys listed at a time."""


def live(subjects: int, sign_ins: int, state: str) -> None:
    """Assess, prove and sweep this many sign-ins of each subject, like real ones. The last one is an hour ago."""
    random, now, end = Random(1), [0.0], time.time()
    flags = {"state.dir": state, "store.sweep_s": "86400"}  # the first receipts have expired by today's clock
    with open_engine(load(flags=flags), NullMeter()) as opened:
        engine = Engine(replace(opened.parts, clock=lambda: now[0]), opened.release)
        for number in range(sign_ins):
            for who in random.sample(range(subjects), subjects):
                now[0] = end - 3600 - (sign_ins - 1 - number + random.random() / 2) * APART
                answer = engine.assess(attempt(who, random), 5.0)
                kind = "session_established" if answer.requirement.satisfied else "challenge_passed"
                engine.record(Outcome(assessment_id=answer.id, kind=kind), 5.0)
            sweep(opened.parts.store, now[0])
        sweep(opened.parts.store, end)


def sweep(store: HistoryStore, now: float) -> None:
    """Delete all expired records."""
    store.sweep(now, store.size()[0] + 1)


def taken(state: str) -> tuple[int, Counter[str]]:
    """Bytes of all pages in use, and bytes of keys and records by kind."""
    held: Counter[str] = Counter()
    directory = next(Path(state).rglob("data.mdb")).parent
    with lmdb.open(str(directory), readonly=True) as environment, environment.begin() as transaction:
        for key, record in transaction.cursor():
            held[_KINDS.get(key[:1], "profiles")] += len(key) + len(record) + ENTRY
        stat = environment.stat()
    pages = (stat["leaf_pages"] + stat["branch_pages"] + stat["overflow_pages"]) * stat["psize"]
    return pages, held


_KINDS: Final = {RECEIPT: "receipts", REPLY: "receipts", ACTIVITY: "activity", COMMON: "shared"}


def sizes() -> None:
    """Print bytes per subject: of profiles (its own and those of its device, address and network; kept for 26 weeks),
    of activity (26 hours), and of receipts (90 days)."""
    print(f"bytes a subject on LMDB, a sign-in every {APART / 3600:.0f} hours")
    print(
        f"{'sign-ins':>8}{'profiles':>10}{'activity':>10}{'receipts':>10}{'profiles in pages':>19}{'all in pages':>14}"
    )
    for sign_ins, subjects in ((1, 1000), (10, 500), (100, 100)):
        with tempfile.TemporaryDirectory(prefix="riskd-bench-") as state:
            live(subjects, sign_ins, state)
            pages, held = taken(state)
        profiles, activity, receipts = (held[kind] / subjects for kind in ("profiles", "activity", "receipts"))
        own = pages * held["profiles"] / held.total() / subjects
        row = f"{sign_ins:>8}{profiles:>10.0f}{activity:>10.0f}{receipts:>10.0f}{own:>19.0f}{pages / subjects:>14.0f}"
        print(row, flush=True)


def times(subjects: list[int], calls: int, keep: Path | None) -> None:
    """Print the p50 of an assessment with few and with many subjects, and the start of a service on the largest store.

    `keep`: directory of seeded stores, which are reused and kept.
    """
    with ExitStack() as stack:
        bases = [
            keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="riskd-bench-"))) for _ in subjects
        ]
        states = [str(base / str(count)) for base, count in zip(bases, subjects, strict=True)]
        assessments(dict(zip(subjects, states, strict=True)), calls)
        starts(states[-1], subjects[-1])


def assessments(states: dict[int, str], calls: int) -> None:
    """Assess the same attempts with each store, alternating call by call. Empty stores are seeded first.

    Every page is read once before. A process that has run for a while has the store mapped, and the first access to a
    page takes longer than reading it.
    """
    with ExitStack() as stack:
        engines = []
        for count, state in states.items():
            engine = stack.enter_context(
                open_engine(load(flags={"state.dir": state, "store.map_size_mb": MAP_MB}), NullMeter())
            )
            done = Path(state, "seeded")
            if not done.exists():
                begun = perf_counter()
                seed(engine.parts, count, time.time())
                done.touch()
                print(f"{count} subjects seeded in {perf_counter() - begun:.0f} s", flush=True)
            cursor = engine.parts.store.walk(b"", WALK)[1]
            while cursor:
                cursor = engine.parts.store.walk(cursor, WALK)[1]
            engines.append(engine)
        streams = [islice(attempts(count, seed=3), calls) for count in states]
        spent: list[list[int]] = [[] for _ in states]
        for turn in zip(*streams, strict=True):
            for engine, one, each in zip(engines, turn, spent, strict=True):
                start = perf_counter_ns()
                answer = engine.assess(one)
                each.append(perf_counter_ns() - start)
                assert "store:not_written" not in answer.causes, "the store did not take it"
        middles = []
        for count, each in zip(states, spent, strict=True):
            middle, tail = percentiles(each[calls // 10 :])
            middles.append(middle)
            print(f"Engine.assess among {count:>9} subjects: p50 {middle:6.1f} us, p99 {tail:6.1f} us")
        print(f"largest to smallest: {middles[-1] / middles[0]:.2f}")


def starts(state: str, subjects: int) -> None:
    """Print the time from start to ready, compared with an empty store, and a worker's private memory.

    The mapped store is not private. CPU time is used, because other programs do not affect it.
    """
    command = [sys.executable, "-m", "riskd", "serve", "--port", "0", "--metrics-port", "0", "--workers", "2"]
    memory = []
    with tempfile.TemporaryDirectory(prefix="riskd-bench-") as empty:
        spent: dict[str, list[tuple[float, float]]] = {empty: [], state: []}
        for where in [empty, *[empty, state] * 3]:
            begun = perf_counter()
            with serving("riskd", command, {"RISKD_STATE__DIR": where, "RISKD_STORE__MAP_SIZE_MB": MAP_MB}) as served:
                spent[where].append((perf_counter() - begun, sum(map(_cpu, served.pids))))
                memory += [_anonymous(pid) for pid in served.pids]
        for where, count in ((empty, 0), (state, subjects)):
            seconds, cpu = (statistics.median(each) for each in zip(*spent[where], strict=True))
            print(f"start to ready on {count:>9} subjects: {seconds:.1f} s, {cpu:.1f} s of CPU in two workers and all")
    print(f"memory of its largest process that no other shares: {max(memory) / 1024:.0f} MiB")


def _cpu(pid: int) -> float:
    """CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _anonymous(pid: int) -> int:
    """Private memory of a process in KiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))


def main() -> int:
    """Print all tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, nargs="+", default=[10_000, 1_000_000], help="sizes to compare")
    parser.add_argument("--calls", type=int, default=4_000, help="assessments to time at each size")
    parser.add_argument("--keep", type=Path, help="directory of stores that are seeded once and stay")
    parser.add_argument("--only", choices=("sizes", "times"), help="one half of it")
    options = parser.parse_args()
    if options.only != "times":
        sizes()
    if options.only != "sizes":
        times(options.subjects, options.calls, options.keep)
    return 0


if __name__ == "__main__":
    program(main)
