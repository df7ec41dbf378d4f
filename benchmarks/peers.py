"""What a score costs as the past grows: Freeman's formula counted over the log of sign-ins, beside riskd.

The formula is the authors' (see `core/familiarity`), scored as their code does it: everything is counted anew over the
log at each score. riskd keeps what it needs by entity. Both get the same sign-ins; rounds take turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from itertools import islice
from time import perf_counter_ns
from typing import Final

from benchmarks.seeding import SIGN_INS, seed
from benchmarks.traffic import attempts
from riskd.adapters.memory import NullMeter
from riskd.config import load
from riskd.core.address import parse
from riskd.core.attempt import Attempt
from riskd.core.familiarity import global_term, ratio, user_term
from riskd.engine import Engine, observe
from riskd.wiring import open_engine

LEVELS: Final = (
    {"address": 0.6, "asn": 0.3, "country": 0.1},
    {
        "agent": 0.5386653840551359,
        "browser": 0.2680451498625666,
        "os": 0.18818295100109536,
        "device_class": 0.0051065150812021525,
    },
)
"""As published: das-group/rba-algorithm."""
Row = dict[str, str]


def scored(log: list[Row], subject: str, now: Row) -> float:
    """S(x, u), everything counted over the log."""
    own = [past for past in log if past["subject"] == subject]
    score = 1.0 / len({past["subject"] for past in log}) * len(log) / max(len(own), 1)
    for levels in LEVELS:
        names, weights = list(levels), list(levels.values())
        everybody = {name: Counter(past.get(name) for past in log) for name in names}
        population = global_term(
            [everybody[name][now.get(name)] for name in names],
            len(log),
            weights,
            occurrences=everybody[names[0]][now.get(names[0])] + 1,
            unseen=1 + sum(len(everybody[name]) for name in names[1:]),
        )
        known = [sum(past.get(name) == now.get(name) for past in own) for name in names]
        score *= ratio(population, user_term(known, max(len(own), 1), weights))
    return score


def row(engine: Engine, attempt: Attempt, now: float) -> Row:
    """What the formula sees of an attempt."""
    address = parse(attempt.network.client_ip)
    assert address is not None
    return {**observe(engine.parts, attempt, address, now).values, "subject": attempt.subject}


def main() -> int:
    """Both at each size, then what they have grown by."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--sign-ins", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="sizes of the past")
    parser.add_argument("--scores", type=int, default=20, help="scores by the formula at each size")
    options = parser.parse_args()
    now, found = time.time(), []
    print(f"\n{'sign-ins':>10}{'Freeman over the log, us':>26}{'Engine.assess, us':>19}{'ratio':>9}")
    for size in options.sign_ins:
        subjects = max(size // SIGN_INS, 1)
        with ExitStack() as stack:
            state = stack.enter_context(tempfile.TemporaryDirectory(prefix="riskd-bench-"))
            engine = stack.enter_context(open_engine(load(flags={"state.dir": state}), NullMeter()))
            seed(engine.parts, subjects, now)
            log = [row(engine, one, now) for one in islice(attempts(subjects, seed=1), size)]
            sample = list(islice(attempts(subjects, seed=3), 50 * options.scores))
            rows = [row(engine, one, now) for one in sample[: options.scores]]
            theirs: list[int] = []
            ours: list[int] = []
            for number, seen in enumerate(rows):
                start = perf_counter_ns()
                scored(log, seen["subject"], seen)
                theirs.append(perf_counter_ns() - start)
                for one in sample[50 * number : 50 * number + 50]:
                    start = perf_counter_ns()
                    engine.assess(one)
                    ours.append(perf_counter_ns() - start)
            formula, whole = statistics.median(theirs) / 1e3, statistics.median(ours) / 1e3
            found.append((formula, whole))
            print(f"{size:>10}{formula:>26.0f}{whole:>19.0f}{formula / whole:>9.1f}", flush=True)
    (first, ours_first), (last, ours_last) = found[0], found[-1]
    grown = options.sign_ins[-1] / options.sign_ins[0]
    print(
        f"grown by {grown:.0f}: the formula costs {last / first:.1f} times as much, riskd {ours_last / ours_first:.2f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
