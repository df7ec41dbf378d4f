"""Rebuilds a lost store from its log: `python -m benchmarks.rebuild [ASSESSMENTS [SUBJECTS]]`.

An engine assesses attempts with LMDB and a decision log. Then its store is deleted and rebuilt from the log. Prints the
lines per CPU second, for both halves of the log, the engine's own time for the same, and whether the stores are equal.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from random import Random

from benchmarks import program
from benchmarks.traffic import attempts
from riskd.adapters.decision_log import UNBOUNDED, FileDecisionLog
from riskd.adapters.lmdb_store import LmdbStore, beside
from riskd.adapters.null import NullMeter
from riskd.adapters.user_agent import AgentParser
from riskd.config import Settings, load
from riskd.core.attempt import Outcome
from riskd.core.pseudonym import Pseudonyms
from riskd.core.recall import WAIT
from riskd.core.stored import NOBODY, expired
from riskd.engine import Engine
from riskd.geo_databases import open_geo
from riskd.ports import HistoryStore, Parts
from riskd.progress import Progress
from riskd.rebuild.order import SegmentReader
from riskd.rebuild.run import RECORDS, rebuild
from riskd.wiring import load_release

DAYS = 30
PEPPER = b"pepper of the benchmarks"


def main(arguments: list[str]) -> None:
    """Fill a store, delete it, rebuild it, and compare."""
    count, subjects = (int(text) for text in (*arguments, "20000", "2000")[:2])
    with tempfile.TemporaryDirectory() as directory:
        place, until = Path(directory), time.time()
        settings = load(environ={"RISKD_PEPPER": PEPPER.decode()}, flags={"state.dir": directory})
        lines, took = lived(settings, count, subjects, until)
        with closing(LmdbStore(Path(settings.store.path))) as store:
            before = kept(store)
        Path(settings.store.path).rename(place / "lost")
        began, halfway, staged = time.process_time(), 0.0, 0

        def begin(half: str, _: int) -> Progress:
            nonlocal halfway, staged
            if half == RECORDS and not halfway:
                halfway = time.process_time()
                staged = (beside(Path(settings.store.path)) / "store" / "data.mdb").stat().st_size
            return lambda _: None

        summary = rebuild(settings, SegmentReader(settings), until, begin)
        ended = time.process_time()
        with closing(LmdbStore(Path(settings.store.path))) as store:
            again = kept(store)
        now = time.time()
        differ = {key for key, record in before.items() ^ again.items() if not expired(record, now)}
        log = sum(path.stat().st_size for path in Path(settings.log.dir).glob("*.jsonl"))
    first, second = halfway - began, ended - halfway
    print(f"{count:,} assessments of {subjects:,} subjects, {lines - count:,} outcomes, {log >> 20:,} MiB of log")
    print(f"the engine itself  {took:7.1f} s of a processor")
    print(f"the lines          {first:7.1f} s  {lines / first:9,.0f} a second, {first / took:.2f} of the engine's time")
    print(f"the records        {second:7.1f} s  {summary.records / second:9,.0f} a second, of {summary.records:,}")
    print(f"together           {first + second:7.1f} s  {lines / (first + second):9,.0f} lines a second")
    minutes, gigabytes = 1e6 / (lines / (first + second)) / 60, staged / lines * 1e6 / 2**30
    print(f"a million lines    {minutes:7.1f} min  {gigabytes:9.2f} GiB beside the store meanwhile")
    print("the store is what it was" if not differ else f"{len(differ):,} RECORDS DIFFER")


def lived(settings: Settings, count: int, subjects: int, until: float) -> tuple[int, float]:
    """Assess `count` sign-ins of past days, most of them proven, some fraud. Returns log lines and CPU seconds."""
    now, random = [until - DAYS * 86_400.0], Random(1)
    log = FileDecisionLog(Path(settings.log.dir), 0, NullMeter(), UNBOUNDED, lambda: now[0])
    parts = Parts(
        store=LmdbStore(Path(settings.store.path)),
        geo=open_geo(settings),
        agents=AgentParser(),
        log=log,
        meter=NullMeter(),
        pseudonyms=Pseudonyms(PEPPER),
        clock=lambda: now[0],
    )
    engine, lines = Engine(parts, load_release(settings)), 0
    began = time.process_time()
    for _, one in zip(range(count), attempts(subjects), strict=False):
        now[0] += DAYS * 86_400.0 / (count + 1)
        answer = engine.assess(one, 10.0)
        lines += 1
        if random.random() < 0.8:
            kind = "confirmed_fraud" if random.random() < 0.03 else "challenge_passed"
            engine.record(Outcome(assessment_id=answer.id, kind=kind), 10.0)
            lines += 1
    took = time.process_time() - began
    engine.close()
    return lines, took


def kept(store: HistoryStore) -> dict[bytes, bytes]:
    """Every record of a store that a rebuild restores, by key. It restores no `WAIT` (decision 0111)."""
    found: dict[bytes, bytes] = {}
    keys, cursor = store.walk(b"", 10_000)
    while keys:
        found |= {key: record for key, record in zip(keys, store.load(keys), strict=True) if record is not None}
        keys, cursor = store.walk(cursor, 10_000) if cursor else ([], b"")
    return {key: record for key, record in found.items() if not key.startswith(NOBODY) and key[-1:] != WAIT}


if __name__ == "__main__":
    program(main, sys.argv[1:])
