"""The cost of decisions for a SIEM: log lines of a real engine as OCSF events. `python -m benchmarks.siem [LINES]`."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median
from typing import Final

from benchmarks import program, workshop
from riskd.adapters.decision_log import FileLogArchive
from riskd.core.record import decode
from riskd.offline.siem.feed import Converter, Feed
from riskd.progress import ignore_progress

LINES: Final = 100_000
ROUNDS: Final = 7


def main(lines: int = LINES) -> None:
    """Print CPU microseconds per line, with and without conversion, the size of an event, and the memory used."""
    real = workshop.lived()
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        segment = directory / "20260101T000000.000000-w0-1.jsonl"
        with segment.open("wb") as file:
            for number in range(lines):
                file.write(real[number % len(real)] + b"\n")
        archive = FileLogArchive(directory, 3600.0, 3600.0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        took: dict[str, list[float]] = {"read": [], "exported": []}
        size = 0
        for _ in range(ROUNDS):
            begun = time.process_time()
            for line in archive.lines(segment):
                decode(line)
            middle = time.process_time()
            feed = Feed(archive, directory, Converter(), {})
            size = sum(len(event) for batch in feed.events(ignore_progress("", 0)) for event in batch)
            took["read"].append(middle - begun)
            took["exported"].append(time.process_time() - middle)
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    reading, exporting = (median(times) / lines * 1e6 for times in took.values())
    print(
        f"{lines:,} lines of {mean(map(len, real)):.0f} bytes: {exporting:.1f} us of a core each "
        f"({1e6 / exporting:,.0f}/s), "
        f"of which reading takes {reading:.1f}; events of {size / lines:.0f} bytes; {more / 1024:.1f} MiB more memory"
    )


if __name__ == "__main__":
    program(main, *map(int, sys.argv[1:]))
