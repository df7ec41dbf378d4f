"""The time of a feature vector in microseconds, the best of several runs: `python -m benchmarks.features`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from timeit import repeat
from typing import Final

from benchmarks import program
from riskd.core import features
from riskd.core.attempt import Attempt, Network
from riskd.core.context import Context, Missing
from riskd.core.features import GROUPS, NAMES, vector
from riskd.core.features.past import read_past
from riskd.core.history import DAY, HOUR
from tests.core.builders import NOW, World, crowd, settled, sign_in

CALLS: Final = 2_000
RUNS: Final = 7


def cost(call: Callable[[], object]) -> float:
    """Microseconds of a call."""
    return min(repeat(call, number=CALLS, repeat=RUNS)) / CALLS * 1e6


def rich(weeks: int) -> tuple[Attempt, Context]:
    """An attempt of a person who has signed in every other day for `weeks`, with some activity today."""
    world = settled(crowd(people=200), weeks=weeks, every_days=2)
    for visit in range(weeks // 2):
        world.prove(sign_in(f"192.0.{visit}.10"), NOW - visit * 13 * DAY)
    for hours in range(8):
        world.try_(sign_in(credential_result="failed"), NOW - hours * HOUR)
    return sign_in(), world.context(sign_in())


def empty() -> tuple[Attempt, Context]:
    """An attempt with only the required fields, and no known facts."""
    attempt = Attempt(domain="customer", subject="alex", journey="login", network=Network(client_ip="192.0.2.1"))
    nowhere, gone, silent = Missing("place", "not_found"), Missing("route", "not_found"), Missing("agent", "not_sent")
    return attempt, World().context(attempt, place=nowhere, route=gone, agent=silent, device_offset_min=None)


def main() -> None:
    """Print the table."""
    cases = {"nothing": empty(), "8 weeks": rich(8), "26 weeks": rich(26)}
    print(f"{len(NAMES)} features; us a call".ljust(24), *(name.rjust(10) for name in cases))
    show("whole vector", [cost(partial(vector, *case)) for case in cases.values()])
    show("  reading the past", [cost(partial(read_past, context)) for _, context in cases.values()])
    inputs = [(*case, read_past(case[1])) for case in cases.values()]
    for group in GROUPS:
        show(f"  {group}", [cost(partial(vars(features)[group].compute, *each)) for each in inputs])


def show(what: str, costs: list[float]) -> None:
    """Print a line of the table."""
    print(what.ljust(24), *(f"{each:10.1f}" for each in costs))


if __name__ == "__main__":
    program(main)
