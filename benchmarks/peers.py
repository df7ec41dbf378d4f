"""The CPU time of other implementations: Freeman's formula over the log, scikit-learn's forest, rules in cel-python.

The formula is the one of its authors (see `core/familiarity`), computed as their code does it: each score counts over
the whole log, where riskd keeps counters by entity. Both get the same sign-ins. The forest was trained by scikit-learn,
with the vectors of `benchmarks.forest`. The rules are the conditions of `benchmarks.rules`, which riskd fuses and
passes to Google's evaluator. Rounds alternate, and the CPU time of one thread counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from time import thread_time_ns
from typing import Final, TypeVar

import celpy
import numpy as np
from celpy import celtypes
from threadpoolctl import threadpool_limits

from benchmarks import program
from benchmarks.forest import boosted
from benchmarks.rules import ATTEMPT, CONTEXT, FEATURES, LOGIN, conditions, rules
from benchmarks.seeding import SIGN_INS, seed
from benchmarks.traffic import attempts
from riskd.adapters.null import NullMeter
from riskd.config import load
from riskd.core.address import parse
from riskd.core.attempt import Attempt
from riskd.core.familiarity import global_term, ratio, user_term
from riskd.core.rules import RuleFacts
from riskd.engine import Engine
from riskd.engine.gather import observe
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
"""The features and levels as published in das-group/rba-algorithm."""
Row = dict[str, str]
Given = TypeVar("Given")


def scored(log: list[Row], subject: str, now: Row) -> float:
    """S(x, u), counted over the whole log."""
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


def scored_in(log: list[Row], now: Row) -> float:
    """The score of a sign-in of one of the log's subjects."""
    return scored(log, now["subject"], now)


def print_line(what: str, theirs: float, ours: float) -> None:
    """Print a line of the table."""
    print(f"{what:<44}{theirs:>12.0f}{ours:>12.1f}{theirs / ours:>9.1f}", flush=True)


def row(engine: Engine, attempt: Attempt, now: float) -> Row:
    """The values of an attempt that the formula uses."""
    address = parse(attempt.network.client_ip)
    assert address is not None
    return {**observe(engine.parts, attempt, address, now).values, "subject": attempt.subject}


def in_turns(theirs: Callable[[int], object], ours: Callable[[int], object], rounds: int) -> tuple[float, float]:
    """CPU microseconds of single calls, medians. One call of theirs alternates with fifty of ours."""
    taken: tuple[list[int], list[int]] = ([], [])
    for number in range(rounds):
        for call, kept, times in ((theirs, taken[0], 1), (ours, taken[1], 50)):
            for each in range(times):
                start = thread_time_ns()
                call(number * times + each)
                kept.append(thread_time_ns() - start)
    return statistics.median(taken[0]) / 1e3, statistics.median(taken[1]) / 1e3


def forest(rounds: int) -> tuple[float, float]:
    """The CPU time of a row, with scikit-learn's `predict_proba` and with riskd's exported forest."""
    calls = boosted(60, 32, 72)
    x = np.random.default_rng(3).normal(size=(200, 72))
    x[np.random.default_rng(4).random(x.shape) < 0.1] = np.nan
    rows = [tuple(row) for row in x.tolist()]
    theirs, ours = (partial(_at, calls[name], rows) for name in ("predict_proba", "score"))
    with threadpool_limits(1):  # several threads of scikit-learn take longer for one row
        return in_turns(theirs, ours, rounds)


def rulings(rounds: int) -> tuple[float, float]:
    """The CPU time of twenty conditions on values that are new each time: cel-python one by one, riskd fused."""
    environment = celpy.Environment()
    programs = [environment.program(environment.compile(condition)) for condition in conditions(20)]
    vectors = [[at / 5000] + [0.5] * (len(FEATURES) - 1) for at in range(5000)]
    asked: list[dict[str, celpy.celtypes.Value]] = [
        {"country": celtypes.StringType("NO")}
        | {name: celtypes.DoubleType(value) for name, value in zip(FEATURES, each, strict=True)}
        for each in vectors
    ]
    facts = [RuleFacts(ATTEMPT, CONTEXT, vector, 0.01, LOGIN.postures) for vector in vectors]

    def theirs(number: int) -> object:
        return [program.evaluate(asked[number % len(asked)]) for program in programs]

    return in_turns(theirs, partial(_at, rules(20), facts), rounds)


def _at(call: Callable[[Given], object], given: Sequence[Given], number: int) -> object:
    return call(given[number % len(given)])


def main() -> int:
    """Print Freeman's formula at each size of the log, its growth, and the others."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--sign-ins", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="sizes of the past")
    parser.add_argument("--scores", type=int, default=20, help="scores by the formula at each size")
    options = parser.parse_args()
    now, found = time.time(), []
    print(f"\n{'':<44}{'theirs, us':>12}{'riskd, us':>12}{'ratio':>9}")
    for size in options.sign_ins:
        subjects = max(size // SIGN_INS, 1)
        with ExitStack() as stack:
            state = stack.enter_context(tempfile.TemporaryDirectory(prefix="riskd-bench-"))
            engine = stack.enter_context(open_engine(load(flags={"state.dir": state}), NullMeter()))
            seed(engine.parts, subjects, now)
            log = [row(engine, one, now) for one in islice(attempts(subjects, seed=1), size)]
            sample = list(islice(attempts(subjects, seed=3), 50 * options.scores))
            rows = [row(engine, one, now) for one in sample[: options.scores]]
            formula, whole = in_turns(
                partial(_at, partial(scored_in, log), rows),
                partial(_at, engine.assess, sample),
                options.scores,
            )
            found.append((formula, whole))
            print_line(f"a sign-in, {size:,} before it: Freeman", formula, whole)
    print_line("60 x 32 forest, one row: scikit-learn", *forest(options.scores * 10))
    print_line("20 rules, new values: cel-python", *rulings(options.scores))
    (first, ours_first), (last, ours_last) = found[0], found[-1]
    grown = options.sign_ins[-1] / options.sign_ins[0]
    print(
        f"grown by {grown:.0f}: the formula costs {last / first:.1f} times as much, riskd {ours_last / ours_first:.2f}"
    )
    return 0


if __name__ == "__main__":
    program(main)
