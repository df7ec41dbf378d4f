"""The time of an assessment if parts of it took no time: the most that optimising them could gain.

In each row one more part is replaced by its first result, whatever the input. The answers are then wrong, but the other
parts do the same work as before. Each row has its own process and store, and the rows alternate.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Final

from benchmarks import program
from benchmarks.assess import PAUSE, timed, timed_after_idling
from benchmarks.seeding import seed
from benchmarks.traffic import attempts
from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.config import load
from riskd.core import assess, learn, receipts, record, stored
from riskd.engine import gather, recording
from riskd.metrics.memory import MeterMemory
from riskd.wiring import open_engine

Work = Callable[..., object]
BUSY, IDLE = 150, 30
"""Assessments in a round: without pauses, and with pauses."""
WARM: Final = 1_000


def once(work: Work) -> Work:
    """A function that always returns the first result of `work`."""
    kept: list[object] = []

    def answer(*asked: object, **options: object) -> object:
        if not kept:
            kept.append(work(*asked, **options))
        return kept[0]

    return answer


def fresh(work: Work) -> Work:
    """A function that returns copies of the first result of `work`, a list."""
    first = once(work)

    def answer(*asked: object) -> object:
        values = first(*asked)
        assert isinstance(values, list)
        return values.copy()

    return answer


def for_each(work: Work) -> Work:
    """A function that returns the first history that `work` read, for every record."""
    first = once(work)

    def answer(records: list[object], now: float) -> object:
        read = first(records, now)
        assert isinstance(read, list)
        return read[:1] * len(records)

    return answer


def unchanged(work: Work) -> Work:
    """A function that returns each record unchanged, or, if there is none, the first one that `work` made."""
    first = once(work)
    return lambda found, *rest: first(found, *rest) if found is None else bytes(found)


PARTS: Final[tuple[tuple[str, tuple[tuple[ModuleType, str, Callable[[Work], Work]], ...]], ...]] = (
    ("features", ((assess, "vector", fresh),)),
    ("and reading of records", ((stored, "histories", for_each), (gather, "recall", once))),
    ("and changing of records", ((stored, "folded", unchanged),)),
    (
        "and receipt, line of the log",
        (
            (assess, "new_receipt", once),
            (learn, "with_lateness", once),
            (receipts, "encode", once),
            (recording, "assessment_record", once),
            (record, "encode", once),
        ),
    ),
)
"""The part that is replaced in each row, in addition to those of the rows before."""


def child(state: Path, free: int, subjects: int, end: Connection) -> None:
    """Assess as often as the parent asks, and send the median, with the first `free` parts replaced. 0 ends it."""
    for _, functions in PARTS[:free]:
        for module, name, instead in functions:
            setattr(module, name, instead(getattr(module, name)))
    sample = attempts(subjects, seed=3)
    with open_engine(load(flags={"state.dir": str(state)}), PrometheusMeter(MeterMemory(1), 0)) as engine:
        timed(engine.assess, islice(sample, WARM))
        while (count := end.recv()) > 0:
            run = timed_after_idling if count == IDLE else timed
            end.send(run(engine.assess, list(islice(sample, count)))[0])


@contextmanager
def assessing(state: Path, free: int, subjects: int) -> Iterator[Connection]:
    """Run `child` in a process of its own."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=child, args=(state, free, subjects, there), daemon=True)
    process.start()
    there.close()
    yield here
    here.send(0)
    process.join()


def turns(ends: list[Connection], rounds: int, count: int) -> list[float]:
    """The median of each row in microseconds, over alternating rounds."""
    taken: list[list[float]] = [[] for _ in ends]
    for _ in range(rounds):
        for row, end in zip(taken, ends, strict=True):
            end.send(count)
            row.append(end.recv())
    return [statistics.median(row) for row in taken]


def main() -> int:
    """Seed a store, measure the rows in alternating rounds, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bounds", description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=20_000, help="customers with a history")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each row")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="riskd-bench-") as directory, ExitStack() as running:
        seeded = Path(directory, "seeded")
        with open_engine(load(flags={"state.dir": str(seeded)}), PrometheusMeter(MeterMemory(1), 0)) as engine:
            seed(engine.parts, options.subjects, time.time())
        ends = []
        for free in range(len(PARTS) + 1):
            state = shutil.copytree(seeded, Path(directory, str(free)))
            ends.append(running.enter_context(assessing(state, free, options.subjects)))
        busy, idle = turns(ends, options.rounds, BUSY), turns(ends, options.rounds, IDLE)
    print(f"\n{'for nothing':<34}{'p50 us':>9}{'ratio':>7}{f'after {PAUSE * 1e3:.0f} ms':>14}{'ratio':>7}")
    for name, one, other in zip(("nothing", *[name for name, _ in PARTS]), busy, idle, strict=True):
        print(f"{name:<34}{one:>9.0f}{one / busy[0]:>7.2f}{other:>14.0f}{other / idle[0]:>7.2f}")
    return 0


if __name__ == "__main__":
    program(main)
