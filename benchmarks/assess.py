"""What one assessment costs in process, whole and by stage: LMDB, decision log, geo, shipped policies and models.

Every stage is timed alone, over the same attempts, so the stages may add up to a little more or less
than the whole.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from random import Random
from time import perf_counter_ns

from msgspec.structs import replace

from benchmarks.traffic import attempt, attempts
from riskd.adapters.memory import NullMeter
from riskd.config import load
from riskd.core import learn, signals
from riskd.core.address import parse
from riskd.core.assess import Release, assess
from riskd.core.attempt import Attempt, Outcome
from riskd.core.decide import decide
from riskd.core.features import vector
from riskd.core.policy import evaluate
from riskd.core.recall import recall, wanted
from riskd.core.validation import violations
from riskd.engine import Engine, Parts
from riskd.wiring import open_engine


def percentiles(nanoseconds: list[int]) -> tuple[float, float]:
    """p50 and p99 in microseconds."""
    ranked = sorted(nanoseconds)
    return ranked[len(ranked) // 2] / 1e3, ranked[int(len(ranked) * 0.99)] / 1e3


def timed(work: Callable[[Attempt], object], over: Iterable[Attempt]) -> tuple[float, float]:
    """p50 and p99 in microseconds of `work` on each attempt."""
    taken = []
    for one in over:
        start = perf_counter_ns()
        work(one)
        taken.append(perf_counter_ns() - start)
    return percentiles(taken)


def seed(engine: Engine, subjects: int) -> None:
    """Give every subject a history of three proven sign-ins, a week apart."""
    random, now = Random(7), time.time()
    for who in range(subjects):
        for weeks in (3, 2, 1):
            one = attempt(who, random)
            answer = engine.assess(replace(one, time=now - weeks * 604_800), timeout=5.0)
            engine.record(Outcome(assessment_id=answer.id, kind="challenge_passed", amr=("pwd", "otp")), timeout=5.0)
        if who % 1000 == 999:
            print(f"  {who + 1} subjects with history", file=sys.stderr, flush=True)


def report(title: str, rows: Iterable[tuple[str, tuple[float, float]]]) -> None:
    """A table on standard output."""
    print(f"\n{title}\n{'stage':<34}{'p50 us':>9}{'p99 us':>9}")
    for name, (middle, tail) in rows:
        print(f"{name:<34}{middle:>9.1f}{tail:>9.1f}")


def stages(parts: Parts, release: Release, sample: list[Attempt]) -> list[tuple[str, tuple[float, float]]]:
    """The cost of each stage alone."""
    geo, agents, pseudonyms, store, now = parts.geo, parts.agents, parts.pseudonyms, parts.store, time.time()
    prepared = []
    for one in sample:
        address = parse(one.network.client_ip)
        device = one.device
        assert address is not None and device is not None
        place, route = geo.locate(address, now)
        agent = agents.parse(device.user_agent, device.platform, device.mobile)
        values = signals.values(one, place, route, agent, now)
        plain = dict(values)
        keys = pseudonyms.keys(one, address, values)
        histories, _ = store.read(wanted(keys), (), now, 1.0)
        remembered = recall(keys, histories)
        context = signals.context(one, now, values, (place, route, agent), remembered, 0)
        features = vector(one, context)
        policy, scorer = release.policies[one.domain], release.scorers[one.domain]
        log_odds, score = scorer.score(features)
        hits, _ = evaluate(policy, one, context, features, score)
        decision = assess(one, context, keys, release, "0" * 32)
        prepared.append((one, address, device, plain, keys, histories, context, features, score, hits, decision))
    table: list[tuple[str, tuple[float, float]]] = []

    def stage(name: str, work: Callable[..., object]) -> None:
        taken = []
        for facts in prepared:
            start = perf_counter_ns()
            work(*facts)
            taken.append(perf_counter_ns() - start)
        table.append((name, percentiles(taken)))

    stage("parse address", lambda one, *_: parse(one.network.client_ip))
    stage("validate", lambda one, *_: violations(one, now, address_known=True, declared=frozenset()))
    stage("geo", lambda one, address, *_: geo.locate(address, now))
    stage(
        "user agent", lambda one, address, device, *_: agents.parse(device.user_agent, device.platform, device.mobile)
    )
    stage("pseudonyms", lambda one, address, device, plain, *_: pseudonyms.keys(one, address, dict(plain)))
    stage("read histories", lambda one, address, device, plain, keys, *_: store.read(wanted(keys), (), now, 1.0))
    stage("recall", lambda one, address, device, plain, keys, histories, *_: recall(keys, histories))
    stage("features", lambda one, a, d, p, k, h, context, *_: vector(one, context))
    stage("forest", lambda one, a, d, p, k, h, c, features, *_: release.scorers[one.domain].score(features))
    stage(
        "rules",
        lambda one, a, d, p, k, h, context, features, score, *_: evaluate(
            release.policies[one.domain], one, context, features, score
        ),
    )
    stage(
        "decide",
        lambda one, a, d, p, k, h, context, f, score, hits, *_: decide(
            release.policies[one.domain], one, context, score, hits
        ),
    )
    stage("whole pure core", lambda one, a, d, p, keys, h, context, *_: assess(one, context, keys, release, "0" * 32))
    stage("encode receipt", lambda *facts: learn.encode(facts[-1].receipt))
    stage("write activity", lambda *facts: store.write(facts[-1].deltas, (), now, 1.0))
    return table


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.assess", description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=2_000, help="customers with a history")
    parser.add_argument("--calls", type=int, default=4_000, help="assessments to time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="riskd-bench-") as state:
        flags = {"state.dir": state}
        settings = load(flags=flags)
        with open_engine(settings, NullMeter()) as engine:
            seed(engine, options.subjects)
            sample = list(islice(attempts(options.subjects, seed=3), options.calls))
            timed(engine.assess, sample[:500])
            whole = timed(engine.assess, sample)
            rows = stages(engine.parts, engine.release, sample[:1500])
            report(f"In process, LMDB, {options.subjects} subjects", [("Engine.assess, whole", whole), *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
