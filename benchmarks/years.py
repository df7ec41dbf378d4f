"""Lives through a year and a half in minutes, and shows what is kept and whether it keeps growing.

An engine with LMDB, decision log and housekeeping, under a clock of its own. People come daily, weekly, monthly, once
in a quarter, or after half a year; their devices and addresses change; strangers guess passwords. There are fraud,
security events and erasures. Nothing may grow once the longest retention has passed, nothing may be left over.
Run: python -m benchmarks.years [--subjects N] [--days N]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from benchmarks import program, traffic
from benchmarks.bytecodes import TableGeo
from benchmarks.soak import private_mib
from riskd.adapters.caching import CachingStore
from riskd.adapters.decision_log import UNBOUNDED, FileDecisionLog, FileLogArchive, segments
from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.null import NullMeter
from riskd.adapters.user_agent import AgentParser
from riskd.config import Settings
from riskd.core.assess import Release
from riskd.core.attempt import Attempt, Outcome, SecurityEvent
from riskd.core.errors import UnknownAssessment
from riskd.core.history import ACTIVITY_TABLES, DAY, HOUR, PROFILE_TABLES, TABLES, WEEK, History, decode
from riskd.core.pseudonym import Pseudonyms
from riskd.core.recall import ACTIVITY, COMMON, KINDS, PROFILE, SHARE
from riskd.core.retention import Retention
from riskd.core.stored import NOBODY, expired, payload
from riskd.engine import Engine
from riskd.host.clock import Clock
from riskd.housekeeping import Sweeper, log_retention
from riskd.ports import HistoryStore, Parts
from riskd.subjects import Subject, Subjects
from riskd.wiring import load_release

START: Final = 1_803_859_200.0
"""Monday 2027-03-01, so that a run of 18 months meets a leap day and the end of a year."""
MONTH: Final = 30
SEGMENT_DAYS: Final = 2
"""Days after which the service is started again with a new segment."""
COMES: Final = (0.8, 0.8, 0.8, 0.8, 1 / 7, 1 / 7, 1 / 7, 1 / 30, 1 / 91)
"""Chance that a person comes on a day, by the last digit of the number; those with a 9 come daily for two months and
then sleep for six."""
MOVES, RENEWS = 90, 240
"""Days for which a person has the same address, and the same device."""
LATE: Final = 30
"""Days until fraud is reported."""


class Sample(Struct, frozen=True, kw_only=True):
    """What is kept at the end of a month. `left_over`: records that have expired, and histories with contents that an
    attempt or a lesson should have dropped. `microseconds`: of a processor, for an assessment of this month."""

    day: int
    assessments: int
    records: dict[str, int]
    left_over: int
    store_bytes: int
    log_bytes: int
    log_days: float
    memory_mib: float
    microseconds: float


class Life:
    """A service over a long time. `now` is its clock."""

    def __init__(self, directory: Path, subjects: int, release: Release) -> None:
        self.now, self._subjects, self._random = START, subjects, Random(1)
        self._log, self._release = directory / "log", release
        self._base = LmdbStore(directory / "store", 1 << 30)
        self._sweeper = Sweeper(self._base, NullMeter(), Clock(self._clock, self._clock), DAY / 2)
        self._archive = FileLogArchive(self._log, SEGMENT_DAYS * DAY, DAY, self._clock, self._clock)
        self._store = CachingStore(self._base, NullMeter())
        self._agents = AgentParser()
        self._frauds: list[tuple[float, str]] = []
        self._assessed, self._spent = 0, 0.0

    def __enter__(self) -> Life:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def months(self, days: int) -> Iterator[Sample]:
        """Live through the days, and look around at the end of each month."""
        for first in range(0, days, SEGMENT_DAYS):
            with closing(FileDecisionLog(self._log, 0, NullMeter(), UNBOUNDED, self._clock)) as log:
                engine = self._engine(log)
                for day in range(first, first + SEGMENT_DAYS):
                    self._day(engine, day)
            newest = segments(self._log)[-1]
            os.utime(newest, (self.now, self.now))  # compaction goes by this time
            self._archive.compact(log_retention(self._release), threading.Event())
            if (first + SEGMENT_DAYS) % MONTH == 0:
                yield self._sample(first + SEGMENT_DAYS)

    def _engine(self, log: FileDecisionLog) -> Engine:
        parts = Parts(
            store=self._store,
            geo=TableGeo(),
            agents=self._agents,
            log=log,
            meter=NullMeter(),
            pseudonyms=Pseudonyms(b"pepper of the benchmarks"),
            clock=self._clock,
        )
        return Engine(parts, self._release)

    def _clock(self) -> float:
        return self.now

    def _day(self, engine: Engine, day: int) -> None:
        random, began = self._random, START + day * DAY
        coming = [who for who in range(self._subjects) if random.random() < _chance(who, day)]
        moments = [(random.uniform(7, 21) * HOUR, who) for who in coming]
        moments += [(random.random() * DAY, -1) for _ in range(max(self._subjects // 50, 1))]
        for moment, who in sorted(moments):
            self.now = began + moment
            if who < 0:
                self._assess(engine, traffic.attempt(random.randrange(2 * self._subjects), random, attack=True))
            else:
                self._visit(engine, who, day)
        self.now = began + DAY
        while self._frauds and self._frauds[0][0] <= self.now:
            self._tell(engine, self._frauds.pop(0)[1], "confirmed_fraud")
        somebody = f"customer-{random.randrange(self._subjects)}"
        event = SecurityEvent(domain="customer", subject=somebody, kind="credential_change", credential_type="password")
        engine.record_event(replace(event, issuer="https://idp.example"), 10.0)
        if day % MONTH == MONTH - 1:
            Subjects(engine, self._archive, lambda: 0).erase(Subject("", "customer", somebody), 10.0)
        self._sweeper.sweep(threading.Event())

    def _visit(self, engine: Engine, who: int, day: int) -> None:
        random = self._random
        there, own = (
            traffic.attempt(who + 10**6 * (day // lasts), Random(who)) for lasts in (MOVES + who % 9, RENEWS + who % 9)
        )
        (journey,) = random.choices(["login", "payment", "profile_update", "recovery"], [94, 4, 1, 1])
        result = "failed" if random.random() < 0.03 else "succeeded"
        asked = f"{who}-{self.now}" if who % 2 else ""
        attempt = replace(
            own,
            subject=f"customer-{who}",
            network=there.network,
            journey=journey,
            credential_result=result,
            request_id=asked,
        )
        one, satisfied = self._assess(engine, attempt)
        if result == "failed":
            return
        ends = ["challenge_passed"] * 18 + ["challenge_failed", "challenge_abandoned"]
        self._tell(engine, one, "session_established" if satisfied else random.choice(ends))
        if journey == "recovery":
            self._tell(engine, one, "recovery_completed")
        if random.random() < 0.004:
            self._frauds.append((self.now + LATE * DAY, one))

    def _assess(self, engine: Engine, attempt: Attempt) -> tuple[str, bool]:
        began = time.process_time()
        answer = engine.assess(attempt, 10.0)
        self._spent += time.process_time() - began
        self._assessed += 1
        return answer.id, answer.requirement.satisfied

    def _tell(self, engine: Engine, assessment: str, kind: str) -> None:
        with suppress(UnknownAssessment):  # of a subject that was erased
            engine.record(Outcome(assessment_id=assessment, kind=kind), 10.0)

    def _sample(self, day: int) -> Sample:
        records, left_over = census(self._base, self.now, self._release.policies["customer"].retention)
        assessed, spent, self._assessed, self._spent = self._assessed, self._spent, 0, 0.0
        found = [path.stat() for path in segments(self._log)]
        return Sample(
            day=day,
            assessments=assessed,
            records=dict(records),
            left_over=left_over,
            store_bytes=self._base.size()[1],
            log_bytes=sum(status.st_size for status in found),
            log_days=(self.now - min(status.st_mtime for status in found)) / DAY,
            memory_mib=private_mib(os.getpid()),
            microseconds=spent / assessed * 1e6,
        )


def _chance(who: int, day: int) -> float:
    if who % 10 == 9:
        return 0.8 if (day + who) % 240 < 60 else 0.0
    return COMES[who % 10]


def census(store: HistoryStore, now: float, retention: Retention) -> tuple[Counter[str], int]:
    """The records by kind, and how many are left over (see `Sample`)."""
    records, left_over, cursor, more = Counter[str](), 0, b"", True
    while more:
        keys, cursor = store.walk(cursor, 5000)
        more = cursor != b""
        for key, record in zip(keys, store.load(keys), strict=True):
            if record is not None and not key.startswith(NOBODY):
                kind = key[-1:]
                records[KINDS[kind]] += 1
                left_over += expired(record, now) or (kind in _KEPT and overdue(decode(payload(record)), retention))
    return records, left_over


_KEPT: Final = frozenset((PROFILE, ACTIVITY, COMMON, SHARE))


def overdue(history: History, retention: Retention) -> bool:
    """Whether a history has contents that its latest attempt or lesson should have dropped."""
    profile = history.tallies.sign_in is not None
    tables = PROFILE_TABLES if profile else ACTIVITY_TABLES
    newest = ("sign_in",) if profile else ("attempt", "attempt_day")
    touched = max(
        (
            (tally[0] + len(tally) - 2) * TABLES[name].period
            for name in newest
            for tally in history.tallies.of(name).values()
        ),
        default=0,
    )
    keep = retention.profile if profile else max(retention.sequence, retention.activity)
    oldest = [mark[0] for marks in history.marks.values() for mark in marks]
    return any(at < touched - keep - (WEEK if profile else 0) for at in oldest) or any(
        tally[0] < (touched - min(keep + WEEK, table.keep * table.period)) // table.period
        for name, table in tables.items()
        for tally in history.tallies.of(name).values()
    )


def main() -> int:
    """Print what is kept each month. Returns 1 if something is left over, or still grows after a year."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.years", description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=500, help="how many people")
    parser.add_argument("--days", type=int, default=540, help="how long, a multiple of 30")
    options = parser.parse_args()
    kinds = tuple(KINDS.values())
    print("day", "assessed", *kinds, "left", "store MiB", "log MiB", "memory MiB", "us", sep="\t")
    samples = []
    with (
        tempfile.TemporaryDirectory(prefix="riskd-years-") as directory,
        Life(Path(directory), options.subjects, load_release(Settings())) as life,
    ):
        for one in life.months(options.days):
            samples.append(one)
            counts = [one.records.get(kind, 0) for kind in kinds]
            sizes = [f"{size / 2**20:.1f}" for size in (one.store_bytes, one.log_bytes)]
            figures = (*sizes, f"{one.memory_mib:.1f}", f"{one.microseconds:.0f}")
            print(one.day, one.assessments, *counts, one.left_over, *figures, sep="\t", flush=True)
    return 0 if steady(samples) else 1


def steady(samples: list[Sample]) -> bool:
    """Whether nothing was left over, and nothing has grown by more than a tenth since the 13th month. Prints what."""
    wrong = [f"{one.left_over} left over on day {one.day}" for one in samples if one.left_over]
    if len(samples) > 13:
        first, last = samples[12], samples[-1]
        figures = {
            "records": (sum(first.records.values()), sum(last.records.values())),
            "store": (first.store_bytes, last.store_bytes),
            "log": (first.log_bytes, last.log_bytes),
            "memory": (first.memory_mib, last.memory_mib),
        }
        wrong += [f"{name} grew from {a:.0f} to {b:.0f}" for name, (a, b) in figures.items() if b > 1.1 * a]
    print("; ".join(wrong) or "nothing is left over, and nothing grows")
    return not wrong


if __name__ == "__main__":
    program(main)
