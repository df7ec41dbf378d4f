"""The time of an assessment in process, whole and by stage, with LMDB, decision log, geo, shipped policies and models.

Each stage is timed separately over the same attempts, so their sum may differ a little from the whole.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from time import perf_counter_ns
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from benchmarks import program
from benchmarks.seeding import seed
from benchmarks.traffic import attempts
from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.config import load
from riskd.core import learn, receipts, signals
from riskd.core.address import Address, parse
from riskd.core.assess import Decision, Release, assess
from riskd.core.assessment import Hit
from riskd.core.attempt import Attempt, Device
from riskd.core.context import Context
from riskd.core.decide import Ruling, decide
from riskd.core.features import vector
from riskd.core.history import History
from riskd.core.next_signals import next_signals
from riskd.core.policy import Evidence, Policy, evaluate, weigh
from riskd.core.pseudonym import Keys
from riskd.core.recall import history_keys, recall
from riskd.core.score import Scorer
from riskd.core.validation import violations
from riskd.metrics.memory import MeterMemory
from riskd.ports import Parts
from riskd.wiring import open_engine

T = TypeVar("T")
PAUSE: Final = 0.003
"""Seconds between calls, as in a service that is not busy."""


def percentiles(nanoseconds: list[int]) -> tuple[float, float]:
    """p50 and p99 in microseconds."""
    ranked = sorted(nanoseconds)
    return ranked[len(ranked) // 2] / 1e3, ranked[int(len(ranked) * 0.99)] / 1e3


def timed(work: Callable[[T], object], over: Iterable[T]) -> tuple[float, float]:
    """p50 and p99 of `work` on each of `over`, in microseconds."""
    taken = []
    for one in over:
        start = perf_counter_ns()
        work(one)
        taken.append(perf_counter_ns() - start)
    return percentiles(taken)


def timed_after_idling(work: Callable[[T], object], over: Iterable[T]) -> tuple[float, float]:
    """CPU p50 and p99 of `work` on each of `over`, in microseconds, with pauses that leave the CPU's caches cold."""
    taken = []
    for one in over:
        time.sleep(PAUSE)
        start = time.thread_time_ns()
        work(one)
        taken.append(time.thread_time_ns() - start)
    return percentiles(taken)


class Facts(Struct, frozen=True):
    """What the engine gathers for an attempt, histories excepted."""

    address: Address
    plain: dict[str, str]
    keys: Keys
    histories: list[History]
    context: Context


def gather(parts: Parts, one: Attempt, when: float) -> Facts:
    """Gather the facts of an attempt as the engine does."""
    address, device = parse(one.network.client_ip), one.device
    assert address is not None
    assert device is not None
    place, route, stale = parts.geo.locate(address, when)
    agent = parts.agents.parse(device.user_agent, device.platform, device.mobile)
    values = signals.values(one, place, route, agent, when)
    plain = dict(values)
    keys = parts.pseudonyms.keys(one, address, values)
    histories, _ = parts.store.read(history_keys(keys), (), when, 1.0)
    context = signals.context(
        one,
        when,
        values,
        facts=(place, route, agent),
        remembered=recall(keys, histories),
        device_offset_min=parts.geo.offset(device.timezone, when),
        stale=stale,
    )
    return Facts(address, plain, keys, histories, context)


def report(title: str, rows: Iterable[tuple[str, tuple[float, float]]]) -> None:
    """Print a table."""
    print(f"\n{title}\n{'stage':<34}{'p50 us':>9}{'p99 us':>9}")
    for name, (middle, tail) in rows:
        print(f"{name:<34}{middle:>9.1f}{tail:>9.1f}")


class Prepared(Struct, frozen=True):
    """An attempt with the inputs of every stage."""

    attempt: Attempt
    device: Device
    facts: Facts
    features: list[float]
    score: float
    hits: tuple[Hit, ...]
    evidence: Evidence
    ruling: Ruling
    raised: Ruling
    decision: Decision


def prepare(parts: Parts, release: Release, one: Attempt, now: float) -> Prepared:
    """Run every stage once, and keep its result."""
    facts, device = gather(parts, one, now), one.device
    assert device is not None
    features = vector(one, facts.context)
    score = release.scorers[one.domain].score(features)[1]
    policy = release.policies[one.domain]
    evidence = weigh(policy, one, facts.context, features)
    hits, _ = evaluate(policy, one, evidence, score)
    ruling = replace(decide(policy, one, facts.context, score, hits), raised=False)
    raised = replace(ruling, raised=True)
    decision = assess(one, facts.context, facts.keys, release, "f" * 32)
    return Prepared(one, device, facts, features, score, hits, evidence, ruling, raised, decision)


def asked_next(p: Prepared, policy: Policy, scorer: Scorer, *, raised: bool) -> tuple[str, ...]:
    """The next signals. There are none at the floor with a score far below the first band."""
    return next_signals(
        policy,
        scorer,
        p.attempt,
        p.facts.context,
        evidence=p.evidence,
        score=p.score if raised else 0.0,
        now=p.raised if raised else p.ruling,
    )


def stages(parts: Parts, release: Release, sample: list[Attempt]) -> list[tuple[str, tuple[float, float]]]:
    """The time of each stage by itself."""
    now, known = time.time(), frozenset[str]()
    prepared = [prepare(parts, release, one, now) for one in sample]
    policy, scorer = release.policies[sample[0].domain], release.scorers[sample[0].domain]
    work: dict[str, Callable[[Prepared], object]] = {
        "parse address": lambda p: parse(p.attempt.network.client_ip),
        "validate": lambda p: violations(p.attempt, now, address_known=True, declared=known),
        "geo": lambda p: parts.geo.locate(p.facts.address, now),
        "user agent": lambda p: parts.agents.parse(p.device.user_agent, p.device.platform, p.device.mobile),
        "pseudonyms": lambda p: parts.pseudonyms.keys(p.attempt, p.facts.address, dict(p.facts.plain)),
        "read histories": lambda p: parts.store.read(history_keys(p.facts.keys), (), now, 1.0),
        "recall": lambda p: recall(p.facts.keys, p.facts.histories),
        "features": lambda p: vector(p.attempt, p.facts.context),
        "forest": lambda p: scorer.score(p.features),
        "rules": lambda p: evaluate(policy, p.attempt, weigh(policy, p.attempt, p.facts.context, p.features), p.score),
        "decide": lambda p: decide(policy, p.attempt, p.facts.context, p.score, p.hits),
        "next signals, a raised tier": lambda p: asked_next(p, policy, scorer, raised=True),
        "next signals, a low score": lambda p: asked_next(p, policy, scorer, raised=False),
        "core, whole": lambda p: assess(p.attempt, p.facts.context, p.facts.keys, release, "f" * 32),
        "receipt": lambda p: learn.new_receipt(
            p.attempt, p.facts.context, p.facts.keys, p.decision.assessment.requirement, ()
        ),
        "encode receipt": lambda p: receipts.encode(p.decision.receipt, ""),
        "write activity": lambda p: parts.store.write(p.decision.deltas, (), now, 1.0),
    }
    return [(name, timed(one, prepared)) for name, one in work.items()]


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.assess", description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=20_000, help="customers with a history")
    parser.add_argument("--calls", type=int, default=4_000, help="assessments to time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="riskd-bench-") as state:
        flags = {"state.dir": state}
        settings = load(flags=flags)
        with open_engine(settings, PrometheusMeter(MeterMemory(1), 0)) as engine:
            seed(engine.parts, options.subjects, time.time())
            sample = list(islice(attempts(options.subjects, seed=3), options.calls))
            timed(engine.assess, sample[:500])
            whole = timed(engine.assess, sample)
            idle = timed_after_idling(engine.assess, sample[:300])
            rows = stages(engine.parts, engine.release, sample[:1500])
            first = [("Engine.assess, whole", whole), (f"the same, {PAUSE * 1e3:.0f} ms after the last", idle)]
            report(f"In process, LMDB, {options.subjects} subjects", [*first, *rows])
    return 0


if __name__ == "__main__":
    program(main)
