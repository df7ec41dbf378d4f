"""What one append to the decision log costs: `python -m benchmarks.decision_log [DIRECTORY]`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from riskd.adapters.decision_log import Bounds, FileDecisionLog
from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.meter_memory import MeterMemory

RECORDS = 50_000
RECORD_BYTES = 1_500


def main(directory: str | None = None) -> None:
    """Microseconds per record of 1.5 kB, as an engine appends it: one write each, synced in the background."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        log = FileDecisionLog(Path(place), 0, PrometheusMeter(MeterMemory(1), 0), Bounds())
        record = b"x" * RECORD_BYTES
        times = []
        for _ in range(RECORDS):
            begun = time.perf_counter()
            assert log.append(record)
            times.append(time.perf_counter() - begun)
        log.close()
    times.sort()
    p50, p99, p999 = (times[int(RECORDS * share)] * 1e6 for share in (0.5, 0.99, 0.999))
    print(
        f"append of {RECORD_BYTES} bytes: p50 {p50:.1f} us, p99 {p99:.1f} us, p99.9 {p999:.1f} us ({RECORDS} records)"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
