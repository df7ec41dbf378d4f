"""The cost of a line of the decision log: `python -m benchmarks.decision_log [DIRECTORY]`."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Final

from msgspec.structs import replace

from benchmarks import program, workshop
from riskd.adapters.decision_log import Bounds, FileDecisionLog
from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.core import logged
from riskd.core.context import Missing
from riskd.core.record import AssessmentRecord, decode, encode
from riskd.metrics.memory import MeterMemory

RECORDS: Final = 50_000
RECORD_BYTES: Final = 1_500
REAL: Final = 1_000
ROUNDS: Final = 15


def main(directory: str | None = None) -> None:
    """Print microseconds per record of 1.5 kB, appended as an engine does, with one write each and a background sync.
    Then print what the signals of an attempt add to a line."""
    record = b"x" * RECORD_BYTES
    p50, p99, p999 = appended([record] * RECORDS, directory)
    print(
        f"append of {RECORD_BYTES} bytes: p50 {p50:.1f} us, p99 {p99:.1f} us, p99.9 {p999:.1f} us ({RECORDS} records)"
    )
    with_signals = [one for line in workshop.lived(REAL) if isinstance(one := decode(line), AssessmentRecord)]
    without = [replace(one, signals=None) for one in with_signals]
    kinds = {"without signals": without, "with signals": with_signals}
    encoding = alternating({name: _work(encode, records) for name, records in kinds.items()})
    for name, records in kinds.items():
        lines = [encode(one) for one in records]
        p50, _, _ = appended(lines * 10, directory)
        print(
            f"a real line {name}: {mean(map(len, lines)):.0f} bytes, encode {encoding[name]:.1f} us, append {p50:.1f}"
        )
    pairs = [
        (logged.attempt_of(one, one.signals), logged.context_of(one.facts, _FORGOTTEN, one.signals))
        for one in with_signals
        if one.signals
    ]
    made = alternating({"made": lambda: [logged._signals(attempt, context) for attempt, context in pairs]})
    print(f"the signals are gathered in {made['made'] * REAL / len(pairs):.1f} us")


_FORGOTTEN: Final = Missing("history", "unavailable")


def _work(work: Callable[[AssessmentRecord], object], records: Sequence[AssessmentRecord]) -> Callable[[], object]:
    return lambda: [work(one) for one in records]


def alternating(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """CPU microseconds of each of `works`: medians of `REAL` calls of each, alternating."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            begun = time.process_time()
            work()
            took[name].append((time.process_time() - begun) / REAL * 1e6)
    return {name: median(times) for name, times in took.items()}


def appended(records: Iterable[bytes], directory: str | None) -> tuple[float, float, float]:
    """The median, 99th and 99.9th percentile of an append, in microseconds."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        log = FileDecisionLog(Path(place), 0, PrometheusMeter(MeterMemory(1), 0), Bounds())
        times = []
        for record in records:
            begun = time.perf_counter()
            assert log.append(record)
            times.append(time.perf_counter() - begun)
        log.close()
    times.sort()
    p50, p99, p999 = (times[int(len(times) * share)] * 1e6 for share in (0.5, 0.99, 0.999))
    return p50, p99, p999


if __name__ == "__main__":
    program(main, *sys.argv[1:])
