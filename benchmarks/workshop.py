"""The offline tools from end to end, by the size of the log: `python -m benchmarks.workshop [ASSESSMENTS ...]`.

For each size (by default 100,000, 300,000 and a million assessments, most with an outcome) a log is searched, exported
and judged, converted to a dataset and queried, and replayed with a process for each processor; then a model is trained
and evaluated. Each step runs in a process of its own. Prints its time, its peak memory, and its CPU time relative to
linear growth. The log comes from a real engine that assessed 10,000 attempts; these are copied with other subjects,
devices and addresses.
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

import msgspec
from msgspec import Struct

from benchmarks import program
from benchmarks.traffic import attempts
from riskd.adapters.decision_log import FileLogArchive
from riskd.adapters.memory import MemoryStore
from riskd.adapters.null import NullMeter
from riskd.adapters.user_agent import AgentParser
from riskd.cli.main import main as command
from riskd.config import Settings, data_directory, load
from riskd.core.attempt import Outcome
from riskd.core.pseudonym import Pseudonyms
from riskd.engine import Engine
from riskd.geo_databases import open_geo
from riskd.offline.buckets import Bucket
from riskd.offline.dataset.compact import Dataset
from riskd.offline.dataset.reading import Wanted, read_rows
from riskd.offline.dataset.target import Target
from riskd.offline.replay.run import Plan, run
from riskd.ports import Parts
from riskd.rebuild.order import SegmentReader
from riskd.wiring import load_release

SIZES: Final = (100_000, 300_000, 1_000_000)
REAL: Final = 10_000
SUBJECTS: Final = 1_000
SEGMENT: Final = 64 << 20
SPAN: Final = 30 * 86_400.0
"""Seconds over which the real attempts are spread; their copies are in between."""
BEGUN: Final = 1_790_000_000.0
LOOK_SECONDS: Final = 0.05
PROCESSES: Final = len(os.sched_getaffinity(0))
ASSESSED: Final = b'{"type":"assessment"'
DRIFTED: Final = 1
"""The exit code of `riskd drift` if something has drifted."""
_PSEUDONYM: Final = re.compile(rb'"(?:id|assessment_id|subject)":"([0-9a-f]{16})'
                               rb'|"(?:address|network|device|fingerprint)":"([A-Za-z0-9+/]{8})"')  # fmt: skip


class Step(Struct, frozen=True):
    """What a step took: elapsed seconds, CPU seconds, and the peak memory of its processes together in MiB."""

    seconds: float
    cpu: float
    memory: float


def main(arguments: list[str]) -> None:
    """Write a log of each size, and run every step on it."""
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
                    f"  {name:<9} {step.seconds:7.1f} s  {size / step.seconds:9,.0f} a second  {step.memory:7,.0f} MiB"
                    f"  {step.cpu / size * 1e6:5.0f} us of processors each, {ratio:.2f} of linear",
                    flush=True,
                )
            print(f"  {'together':<9} {total:7.1f} s", flush=True)


def show(place: Path) -> None:
    """Find everything about the last assessment."""
    with max((place / "log").iterdir()).open("rb") as lines:
        *_, last = (line for line in lines if line.startswith(ASSESSED))
    riskd("log", "show", msgspec.json.decode(last)["id"], "--log", str(place / "log"))


def export(place: Path) -> None:
    """Export the log for a SIEM."""
    riskd("log", "export", str(place / "log"), "--to", str(place / "events"))
    (place / "events").unlink()


def backtest(place: Path) -> None:
    """Decide the log again with a policy."""
    riskd("policy", "backtest", str(data_directory("policies") / "customer.yaml"), "--log", str(place / "log"))


def signals(place: Path) -> None:
    """Decide the log again without each of its signals."""
    riskd("policy", "signals", "--domain", "customer", "--log", str(place / "log"))


def drift(place: Path) -> None:
    """Compare the log's later half with its earlier one."""
    riskd("drift", "--domain", "customer", "--log", str(place / "log"))


def explain(place: Path) -> None:
    """Say which features move the scores of the log."""
    riskd("model", "explain", "customer", "--log", str(place / "log"))


def query(place: Path) -> None:
    """Group all labelled assessments of the dataset."""
    sql = "SELECT label, tier, count(*), avg(new_device), median(score) FROM labelled GROUP BY ALL"
    riskd("log", "query", sql, "--from", str(place / "dataset"))


def compact(place: Path) -> None:
    """Convert the log to a dataset."""
    archive = FileLogArchive(place / "log", 1.0, 1.0)
    Dataset(Target.open(str(place / "dataset")), place / "log", archive).compact({}, lambda _: None, PROCESSES)


def read(place: Path) -> None:
    """Read the dataset into rows."""
    assert len(read_rows(Target.open(str(place / "dataset")), Wanted(domain="customer")))


def rerun(place: Path) -> None:
    """Replay the log into another log, with a process for each processor."""
    settings = load(environ={}, flags={"log.dir": str(place / "log"), "state.dir": str(place / "state")})
    buckets = [Bucket(index, PROCESSES) for index in range(PROCESSES)]
    counts = run(Plan(reader=SegmentReader(settings), settings=settings, out=place / "out"), buckets, lambda _: None)
    assert counts["assessed"]


def train(place: Path) -> None:
    """Train a model on the dataset, with labels from outcomes."""
    riskd("train", "--domain", "customer", "--log", str(place / "dataset"), "--out", str(model(place)))


def evaluate(place: Path) -> None:
    """Evaluate the model and all others on the later rows."""
    riskd("evaluate", str(model(place)), "--domain", "customer", "--log", str(place / "dataset"))


def riskd(*arguments: str) -> None:
    """Run a riskd command as an analyst would."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert command([*arguments, "--json"]) in (0, DRIFTED), output.getvalue()


def model(place: Path) -> Path:
    return place / "models" / "customer" / "workshop"


STEPS: Final[dict[str, Callable[[Path], None]]] = {
    "show": show,
    "export": export,
    "backtest": backtest,
    "signals": signals,
    "drift": drift,
    "explain": explain,
    "compact": compact,
    "query": query,
    "read": read,
    "replay": rerun,
    "train": train,
    "evaluate": evaluate,
}
"""The steps, in order."""


def measured(work: Callable[[Path], None], place: Path) -> Step:
    """Run a step in a process of its own."""
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


def _measured(work: Callable[[Path], None], place: Path, report: Callable[[tuple[float, float]], None]) -> None:
    begun = time.perf_counter()
    work(place)
    report((time.perf_counter() - begun, sum(os.times()[:4])))


def resident(pid: int) -> float:
    """The memory of a process and its descendants in MiB. Processes that have ended meanwhile count 0."""
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
        """Nothing to do."""


def lived(count: int = REAL) -> list[bytes]:
    """The log of a real engine: customers, attackers who share networks, and outcomes of all kinds."""
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
    """Write a log of this many assessments: copies of the real ones with other people. Returns the number of lines."""
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
        if line.startswith(ASSESSED) and together:
            yield together
            together = []
        together.append(line)
    yield together


def _renamed(copy: int, found: re.Match[bytes]) -> bytes:
    """The pseudonym of another person for this copy."""
    whole = found.group(0)
    for word in found.groups():
        if word is not None:
            digest = blake2b(word, digest_size=8, salt=copy.to_bytes(4, "big")).hexdigest().encode()
            return whole.replace(word, digest if len(word) == 16 else digest[:8])
    return whole


if __name__ == "__main__":
    program(main, sys.argv[1:])
