"""The workshop from end to end, by the size of the log: `python -m benchmarks.workshop [LINES ...]`.

A log of so many assessments (100,000, 300,000 and a million, unless told) and outcomes of most of them goes through
compaction into a dataset, reading into rows, replay by a process for each processor, training and judging; each step is
a process of its own, and its time, peak memory and ratio to linear are told. The log is real: a real engine lived
through some ten thousand attempts, which are written again under other subjects, devices and addresses until there are
enough.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Final

from msgspec import Struct

from benchmarks import program
from benchmarks.traffic import attempts
from riskd.adapters.decision_log import FileLogArchive
from riskd.adapters.memory import MemoryStore, NullMeter
from riskd.adapters.user_agent import AgentParser
from riskd.cli.main import main as command
from riskd.config import Settings, load
from riskd.core.attempt import Outcome
from riskd.core.pseudonym import Pseudonyms
from riskd.engine import Engine, Parts
from riskd.offline.buckets import Share
from riskd.offline.dataset.compact import Dataset
from riskd.offline.dataset.reading import Wanted, read_rows
from riskd.offline.dataset.target import Target
from riskd.offline.rerun.run import Plan, run
from riskd.rebuild.order import LogSource
from riskd.wiring import load_release, open_geo

SIZES: Final = (100_000, 300_000, 1_000_000)
REAL: Final = 10_000
SUBJECTS: Final = 1_000
SEGMENT: Final = 64 << 20
SPAN: Final = 30 * 86_400.0
"""Seconds that the real attempts take; their copies lie between them."""
BEGUN: Final = 1_790_000_000.0
LOOK_SECONDS: Final = 0.05
PROCESSES: Final = len(os.sched_getaffinity(0))
_PSEUDONYM: Final = re.compile(rb'"(?:id|assessment_id|subject)":"([0-9a-f]{16})'
                               rb'|"(?:address|network|device|fingerprint)":"([A-Za-z0-9+/]{8})"')  # fmt: skip


class Step(Struct, frozen=True):
    """What a step took: seconds, those of processors, and MiB at the peak of its processes together."""

    seconds: float
    cpu: float
    memory: float


def main(arguments: list[str]) -> None:
    """Make the largest log in parts, and take each size through every step."""
    sizes = [int(text) for text in arguments] or list(SIZES)
    real = lived()
    first: dict[str, tuple[int, float]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory)
            lines = write(place / "log", real, size)
            megabytes = sum(path.stat().st_size for path in (place / "log").iterdir()) >> 20
            print(f"{size:,} assessments, {lines - size:,} outcomes, {megabytes:,} MB", flush=True)
            total = 0.0
            for name, work in STEPS.items():
                step = measured(work, place)
                total += step.seconds
                base, took = first.setdefault(name, (size, step.cpu))
                ratio = step.cpu / (took * size / base)
                print(
                    f"  {name:<8} {step.seconds:7.1f} s  {size / step.seconds:9,.0f} a second  {step.memory:7,.0f} MiB"
                    f"  {step.cpu / size * 1e6:5.0f} us of processors each, {ratio:.2f} of linear",
                    flush=True,
                )
            print(f"  {'together':<8} {total:7.1f} s", flush=True)


def compact(place: Path) -> None:
    """The log into a dataset."""
    archive = FileLogArchive(place / "log", 1.0, 1.0)
    Dataset(Target.open(str(place / "dataset")), place / "log", archive).compact({}, lambda _: None, PROCESSES)


def read(place: Path) -> None:
    """The dataset into rows."""
    assert len(read_rows(Target.open(str(place / "dataset")), Wanted(domain="customer")))


def rerun(place: Path) -> None:
    """The log into another log, by as many processes as there are processors."""
    settings = load(environ={}, flags={"log.dir": str(place / "log"), "state.dir": str(place / "state")})
    shares = [Share(index, PROCESSES) for index in range(PROCESSES)]
    counts = run(Plan(source=LogSource(settings), settings=settings, out=place / "out"), shares, lambda _: None)
    assert counts["assessed"]


def train(place: Path) -> None:
    """A model from the dataset, by the labels of outcomes."""
    riskd("train", "--domain", "customer", "--log", str(place / "dataset"), "--out", str(model(place)))


def evaluate(place: Path) -> None:
    """The model beside all others, on the later rows."""
    riskd("evaluate", str(model(place)), "--domain", "customer", "--log", str(place / "dataset"))


def riskd(*arguments: str) -> None:
    """A command, as an analyst gives it."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert command([*arguments, "--json"]) == 0, said.getvalue()


def model(place: Path) -> Path:
    return place / "models" / "customer" / "workshop"


STEPS: Final[dict[str, Callable[[Path], None]]] = {
    "compact": compact,
    "read": read,
    "replay": rerun,
    "train": train,
    "evaluate": evaluate,
}
"""In order."""


def measured(work: Callable[[Path], None], place: Path) -> Step:
    """One step in a process of its own."""
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(work, place, writer.send))
    process.start()
    writer.close()
    assert process.pid is not None
    most = 0.0
    while not reader.poll(LOOK_SECONDS):
        most = max(most, resident(process.pid))
    seconds, cpu = reader.recv()
    process.join()
    return Step(seconds, cpu, most)


def _measured(work: Callable[[Path], None], place: Path, tell: Callable[[tuple[float, float]], None]) -> None:
    begun = time.perf_counter()
    work(place)
    tell((time.perf_counter() - begun, sum(os.times()[:4])))


def resident(pid: int) -> float:
    """MiB of a process and all below it; what has ended meanwhile counts nothing."""
    found = 0.0
    with contextlib.suppress(OSError):
        place = Path(f"/proc/{pid}")
        pages = int((place / "statm").read_text(encoding="ascii").split()[1])
        found = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        for child in (place / "task" / str(pid) / "children").read_text(encoding="ascii").split():
            found += resident(int(child))
    return found


class _Lines:
    """A decision log in a list."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def append(self, record: bytes) -> bool:
        self.lines.append(record)
        return True

    def close(self) -> None:
        """Nothing to let go."""


def lived(count: int = REAL) -> list[bytes]:
    """The lines of a real engine: customers, attackers who share networks; proofs, failures and fraud."""
    log, now, random = _Lines(), [BEGUN], Random(1)
    parts = Parts(
        store=MemoryStore(),
        geo=open_geo(Settings()),
        agents=AgentParser(),
        log=log,
        meter=NullMeter(),
        pseudonyms=Pseudonyms(b"pepper of the benchmarks"),
        clock=lambda: now[0],
    )
    engine = Engine(parts, load_release(Settings()))
    for _, one in zip(range(count), attempts(SUBJECTS), strict=False):
        now[0] += SPAN / count
        answer = engine.assess(one, 10.0)
        if random.random() < 0.8:
            kind = "confirmed_fraud" if random.random() < 0.03 else "challenge_passed"
            engine.record(Outcome(assessment_id=answer.id, kind=kind), 10.0)
    return log.lines


def write(directory: Path, real: list[bytes], size: int) -> int:
    """A log of so many assessments: the real ones again and again, each time of other people; lines written."""
    directory.mkdir(parents=True)
    copies = size // REAL
    written = number = 0
    segment = (directory / f"{number:04d}.jsonl").open("wb")
    for lines in _by_attempt(real):
        for copy in range(copies):
            for line in lines:
                again = _PSEUDONYM.sub(partial(_renamed, copy), line) + b"\n"
                written += 1
                if segment.tell() + len(again) > SEGMENT:
                    segment.close()
                    number += 1
                    segment = (directory / f"{number:04d}.jsonl").open("wb")
                segment.write(again)
    segment.close()
    return written


def _by_attempt(real: list[bytes]) -> Iterator[list[bytes]]:
    together: list[bytes] = []
    for line in real:
        if line.startswith(b'{"type":"assessment"') and together:
            yield together
            together = []
        together.append(line)
    yield together


def _renamed(copy: int, found: re.Match[bytes]) -> bytes:
    """The same word for another person of this copy."""
    whole = found.group(0)
    for word in found.groups():
        if word is not None:
            digest = blake2b(word, digest_size=8, salt=copy.to_bytes(4, "big")).hexdigest().encode()
            return whole.replace(word, digest if len(word) == 16 else digest[:8])
    return whole


if __name__ == "__main__":
    program(main, sys.argv[1:])
