"""The speed of a backtest: `python -m benchmarks.backtest [DECISIONS]` writes a log and replays it.

`python -m benchmarks.backtest --write DIRECTORY DECISIONS` only writes a log. It has decisions of a real engine on all
journeys of customers, copied with other ids, scores and vectors, and outcomes for half of them.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final

from msgspec.structs import replace

from benchmarks import program
from benchmarks.traffic import attempts
from riskd.adapters.decision_log import SUFFIX, size
from riskd.config import data_directory, load
from riskd.core import record
from riskd.core.attempt import JOURNEYS, Attempt, Federation, Session
from riskd.core.features import NAMES
from riskd.core.policy import Policy
from riskd.offline.policies.backtest import Backtest, run
from riskd.wiring import open_engine
from tests.decision_log import decided, outcome, read_segments

DECISIONS: Final = 100_000
REAL: Final = 5_000
SEGMENT: Final = 25_000
"""Decisions in a segment: about 64 MB, the size at which a service starts the next one."""
SPAN: Final = 30 * 86_400.0


def main(arguments: Sequence[str]) -> None:
    """Write a log, replay it with the policy that decided it, and print decisions per second."""
    if arguments[:1] == ["--write"]:
        write(Path(arguments[1]), int(arguments[2]))
        return
    decisions = int(arguments[0]) if arguments else DECISIONS
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory)
        write(log, decisions)
        policy = data_directory("policies") / "customer.yaml"
        for workers in (1, 2):
            begun, cpu = time.perf_counter(), sum(os.times()[:4])
            tally = run(Backtest(log=log, policies=((str(policy), policy.read_text()),), workers=workers))
            took, cpu = time.perf_counter() - begun, sum(os.times()[:4]) - cpu
            moved, replayed = sum(map(len, tally.examples.values())), tally.counts["replayed"]
            print(
                f"{workers} process{'es' if workers > 1 else ''}: {replayed} decisions,"
                f" {size([*log.iterdir()]) >> 20} MB in {took:.1f} s: {replayed / took:,.0f} a second,"
                f" {cpu / replayed * 1e6:.0f} us of CPU each; {moved} moved"
            )


def write(directory: Path, decisions: int) -> None:
    """Write a log of this many decisions, in segments of `SEGMENT`."""
    directory.mkdir(parents=True, exist_ok=True)
    stream = _varied(decisions, Random(1))
    for number in range(-(-decisions // SEGMENT)):
        with (directory / f"{number:04d}{SUFFIX}").open("wb") as segment:
            for _ in range(min(SEGMENT, decisions - number * SEGMENT)):
                segment.write(next(stream))


def _varied(decisions: int, random: Random) -> Iterator[bytes]:
    """Lines of decisions and outcomes: copies of real ones, each with its own id and time."""
    with tempfile.TemporaryDirectory() as directory:
        real = _decided(Path(directory))
    latest = real[-1].time
    for number in range(decisions):
        one = real[number % len(real)]
        earlier = one.time - (latest - SPAN * (1 - number / decisions))
        again = replace(_moved(one, -round(earlier)), id=random.randbytes(16).hex())
        yield record.encode(again) + b"\n" + _outcome_of(again, random)


def _moved(one: record.AssessmentRecord, seconds: int) -> record.AssessmentRecord:
    """The decision at another time, with its authentications. Whole seconds leave their ages as they are."""
    times = ("authentication_time", "start_time", "issue_time")
    proofs = {
        name: replace(proof, **{each: at + seconds for each in times if (at := getattr(proof, each, None)) is not None})
        for name, proof in (("session", one.session), ("federation", one.federation))
        if proof is not None
    }
    now = one.time + seconds
    return replace(one, time=now, facts=replace(one.facts, now=now), **proofs)


def _outcome_of(one: record.AssessmentRecord, random: Random) -> bytes:
    """The line of an outcome, for every second decision; else nothing."""
    if random.random() < 0.5:
        return b""
    fraud = random.random() < min(0.8, 4 * one.score)
    kind = "confirmed_fraud" if fraud else "challenge_passed" if one.tier != "BASELINE" else "session_established"
    answer = outcome(0, one.time + 60, kind, assessment_id=one.id, tenant=one.tenant, domain=one.domain)
    return record.encode(replace(answer, journey=one.journey, taught=0 if fraud else 1)) + b"\n"


def _decided(directory: Path) -> list[record.AssessmentRecord]:
    """The decisions of an engine with default settings on sign-ins of all journeys, from its log."""
    settings = load(flags={"state.dir": str(directory)})
    random = Random(2)
    with open_engine(settings) as engine:
        policy = engine.release.policies["customer"]
        for number, attempt in zip(range(REAL), attempts(REAL // 5), strict=False):
            engine.assess(_journey(attempt, JOURNEYS[number % len(JOURNEYS)], random), timeout=5.0)
    decided = [record.decode(line) for line in read_segments(directory / "decisions")]
    return [_aged(policy, one, random) for one in decided if isinstance(one, record.AssessmentRecord)]


def _journey(attempt: Attempt, journey: str, random: Random) -> Attempt:
    """The attempt on another journey; half of them with a session, some with a federation assertion."""
    now = time.time()
    session = Session(id="s", authentication_time=now - random.random() * 86_400, amr=("pwd", "otp"))
    federation = Federation(issuer="https://idp.example", amr=("pwd",), authentication_time=now - 60)
    return replace(
        attempt,
        journey=journey,
        session=session if random.random() < 0.5 else None,
        federation=federation if random.random() < 0.1 else None,
    )


def _aged(policy: Policy, one: record.AssessmentRecord, random: Random) -> record.AssessmentRecord:
    """The record as if the account had a history and another score, decided again."""
    vector = list(one.vector)
    for name, value in (("history_depth", 40 * random.random()), ("new_device", float(random.random() < 0.1))):
        vector[NAMES.index(name)] = value
    missing = tuple(gap for gap in one.facts.missing if gap.source != "history")
    aged = replace(
        one,
        vector=tuple(vector),
        facts=replace(one.facts, missing=missing),
        score=random.betavariate(0.3, 12 if vector[NAMES.index("new_device")] == 0 else 4),
    )
    return decided(policy, aged)


if __name__ == "__main__":
    program(main, sys.argv[1:])
