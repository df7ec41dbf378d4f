"""Counts the bytecodes and Python function calls of an assessment, by module.

Unlike times, these counts are the same on every machine and under any load. `tests/architecture/test_cost.py` bounds
them. The store is in memory, clock and pepper are fixed, and places come from a table, so that nothing depends on the
machine. Work of C code is not counted; `python -m benchmarks.assess` measures the whole time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from benchmarks import program
from benchmarks.seeding import seed
from benchmarks.traffic import attempts
from riskd.adapters.memory import MemoryStore
from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.config import load
from riskd.core.address import Address
from riskd.core.context import Located, Place, Route
from riskd.engine import Engine
from riskd.metrics.memory import MeterMemory
from riskd.wiring import open_engine

NOW: Final = 1_800_000_000.0
SUBJECTS: Final = 300
WARM: Final = 200
"""Attempts before the count starts, to fill the caches."""
COUNTED: Final = 100
ROOT: Final = Path(__file__).parents[1]
_PLACES: Final = (
    ("GB", 51.5, -0.1, 2856),
    ("DE", 52.5, 13.4, 3320),
    ("ES", 40.4, -3.7, 3352),
    ("NO", 59.9, 10.7, 2119),
)


class Cost(Struct, frozen=True):
    """The mean counts of an assessment. `modules`: bytecodes by module, the most expensive first."""

    bytecodes: float
    calls: float
    modules: dict[str, float]


class TableGeo:
    """A `GeoLookup` that knows a place and an operator for every address."""

    def locate(self, address: Address, time: float) -> Located:
        """One of four places, by the address."""
        country, latitude, longitude, asn = _PLACES[address.value % len(_PLACES)]
        return Place(country, latitude, longitude, 300.0, utc_offset_min=60), Route(asn), ()

    def offset(self, timezone: str, time: float) -> int | None:
        """One hour east of UTC."""
        return 60


def count(subjects: int = SUBJECTS, warm: int = WARM, counted: int = COUNTED) -> Cost:
    """Assess `counted` attempts under a tracer, after `warm` without one."""
    environ = {"RISKD_PEPPER": "benchmarks-benchmarks-benchmarks"}
    with (
        tempfile.TemporaryDirectory(prefix="riskd-bench-") as state,
        open_engine(load(environ=environ, flags={"state.dir": state}), PrometheusMeter(MeterMemory(1), 0)) as opened,
    ):
        parts = replace(opened.parts, store=MemoryStore(), geo=TableGeo(), clock=lambda: NOW)
        engine = Engine(parts, opened.release)
        seed(parts, subjects, NOW)
        sample = attempts(subjects, seed=3)
        for attempt in islice(sample, warm):
            engine.assess(attempt, 5.0)
        over = list(islice(sample, counted))
        return _traced(lambda: [engine.assess(attempt, 5.0) for attempt in over], counted)


def _traced(work: Callable[[], object], times: int) -> Cost:
    codes, calls = Counter[CodeType](), Counter[CodeType]()

    def trace(frame: FrameType, event: str, _: object) -> Any:  # noqa: ANN401 (itself: no type says that)
        if event == "call":
            calls[frame.f_code] += 1
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            codes[frame.f_code] += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    modules = Counter[str]()
    for code, number in codes.items():
        modules[_module(code)] += number
    shares = {name: number / times for name, number in modules.most_common()}
    return Cost(codes.total() / times, calls.total() / times, shares)


def _module(code: CodeType) -> str:
    path = Path(code.co_filename)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT / "riskd") else "libraries"


def main() -> int:
    """Print the totals, and every module with at least 1 % of the bytecodes."""
    argparse.ArgumentParser(prog="python -m benchmarks.bytecodes", description=__doc__.splitlines()[0]).parse_args()
    cost = count()
    print(f"\nan assessment: {cost.bytecodes:.0f} bytecodes in {cost.calls:.0f} calls of Python functions")
    for name, number in cost.modules.items():
        if number >= cost.bytecodes / 100:
            print(f"{name:<44}{number:>8.0f}{number / cost.bytecodes:>8.1%}")
    return 0


if __name__ == "__main__":
    program(main)
