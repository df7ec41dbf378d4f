"""The speed of an import with LMDB and geo, by source, with and without writing, and its effect on concurrent sign-ins.

The events are of customers who each sign in several times over the last weeks; one sign-in in ten failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

from msgspec.structs import replace

from benchmarks import program
from benchmarks.traffic import attempt, attempts
from riskd.config import Settings, load
from riskd.core.attempt import Attempt
from riskd.core.history import DAY, Delta
from riskd.core.stored import Swap
from riskd.engine import Engine
from riskd.offline.importers import SOURCES
from riskd.offline.importers.learner import Scope
from riskd.offline.importers.run import BATCH, Import, Options
from riskd.ports import HistoryStore
from riskd.wiring import open_engine, open_learner

BATCHES: Final = (16, 64, 256, 1024)
Line = Callable[[Attempt, float], str]


def _stamp(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat()


def okta(one: Attempt, when: float) -> str:
    """An Okta LogEvent with the members that take most space in a real one."""
    failed = one.credential_result == "failed"
    event = {
        "uuid": f"{one.subject}-{when}",
        "published": _stamp(when),
        "eventType": "user.session.start",
        "version": "0",
        "severity": "INFO",
        "displayMessage": "User login to Okta",
        "actor": {
            "id": one.subject,
            "type": "User",
            "alternateId": f"{one.subject}@shop.example",
            "displayName": "A B",
        },
        "client": {
            "userAgent": {"rawUserAgent": one.device.user_agent if one.device else "", "os": "", "browser": ""},
            "zone": "null",
            "device": "Computer",
            "ipAddress": one.network.client_ip,
            "geographicalContext": {"city": "Oslo", "country": "Norway", "geolocation": {"lat": 59.9, "lon": 10.7}},
        },
        "outcome": {"result": "FAILURE" if failed else "SUCCESS"},
        "target": [{"id": "0oa1", "type": "AppInstance", "alternateId": "shop", "displayName": "shop"}],
        "transaction": {"type": "WEB", "id": f"t{when}", "detail": {}},
        "debugContext": {"debugData": {"requestUri": "/idp/idx/identify", "requestId": f"r{when}", "url": "/idp/idx"}},
        "authenticationContext": {"authenticationStep": 0, "externalSessionId": f"s{one.subject}{when}"},
        "securityContext": {"asNumber": 29695, "asOrg": "isp", "isp": "isp", "domain": "isp.example", "isProxy": False},
    }
    return json.dumps(event)


def ocsf(one: Attempt, when: float) -> str:
    """An OCSF Authentication event."""
    event = {
        "class_uid": 3002,
        "activity_id": 1,
        "status_id": 2 if one.credential_result == "failed" else 1,
        "time": int(when * 1000),
        "user": {"uid": one.subject},
        "src_endpoint": {"ip": one.network.client_ip},
        "http_request": {"user_agent": one.device.user_agent if one.device else ""},
    }
    return json.dumps(event)


def rba(one: Attempt, when: float) -> str:
    """A row of the RBA dataset."""
    failed, agent = one.credential_result == "failed", one.device.user_agent if one.device else ""
    stamp = _stamp(when).replace("+00:00", "").replace("T", " ")
    return f'0,{stamp},{one.subject},40,{one.network.client_ip},NO,-,-,1,"{agent}",B,O,desktop,{not failed},False,False'


RBA_HEADER: Final = (
    "index,Login Timestamp,User ID,Round-Trip Time [ms],IP Address,Country,Region,City,ASN,User Agent String,"
    "Browser Name and Version,OS Name and Version,Device Type,Login Successful,Is Attack IP,Is Account Takeover"
)
FORMATS: Final[dict[str, tuple[Line, str]]] = {"okta": (okta, ""), "ocsf": (ocsf, ""), "rba-dataset": (rba, RBA_HEADER)}


def write(path: Path, line: Line, header: str, events: int, subjects: int) -> None:
    """Write a file with this many events, oldest first."""
    random, now = Random(5), time.time()
    with path.open("w", encoding="utf-8") as file:
        if header:
            print(header, file=file)
        for number in range(events):
            who = attempt(random.randrange(subjects), random)
            failed = random.random() < 0.1
            who = replace(who, credential_result="failed") if failed else who
            print(line(who, now - 170 * DAY * (1 - number / events) - 60), file=file)


def imported(engine: Engine, source: str, path: Path, *, dry_run: bool = False, batch: int = BATCH) -> float:
    """Import the file from its start. Returns events per CPU second, which other programs do not affect."""
    scope = Scope(domain="customer", subject=SOURCES[source].subjects[0])
    options = Options(from_start=True, dry_run=dry_run, batch=batch)
    started = time.process_time()
    summary = Import(engine, SOURCES[source], scope, options).run(str(path), lambda _bytes, _records: None)
    return summary.records / (time.process_time() - started)


class Timed:
    """Records the CPU milliseconds of every write of a store."""

    def __init__(self, store: HistoryStore) -> None:
        self._store = store
        self.taken: list[float] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        started = time.thread_time()
        done = self._store.write(deltas, swaps, now, timeout)
        self.taken.append((time.thread_time() - started) * 1e3)
        return done


def batches(engine: Engine, path: Path, rounds: int) -> None:
    """Print the speed by the size of a batch."""
    print("\nevents a write, events a CPU second, CPU ms a write: p50, p99")
    rates: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    taken: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for _ in range(rounds):
        for batch in BATCHES:
            timed = Timed(engine.parts.store)
            timing = Engine(replace(engine.parts, store=timed), engine.release)
            rates[batch].append(imported(timing, "okta", path, batch=batch))
            taken[batch] += timed.taken
    for batch in BATCHES:
        writes = sorted(taken[batch])
        p50, p99 = writes[len(writes) // 2], writes[int(len(writes) * 0.99)]
        print(f"{batch:>5} {median(rates[batch]):>7.0f} {p50:>7.1f} {p99:>7.1f}", flush=True)


def beside(settings: Settings, path: Path, subjects: int) -> tuple[list[float], list[float]]:
    """Milliseconds of assessments at 50 a second, first alone, then during an import by another process."""
    with open_engine(settings) as engine:
        traffic = attempts(subjects, seed=9)

        def paced(stop: Callable[[], bool]) -> list[float]:
            taken = []
            while not stop():
                started = time.perf_counter()
                engine.assess(next(traffic), 10.0)
                taken.append((time.perf_counter() - started) * 1e3)
                time.sleep(0.02)
            return sorted(taken)

        until = time.monotonic() + 5
        alone = paced(lambda: time.monotonic() > until)
        command = [sys.executable, "-m", "riskd", "import", "okta", str(path), "--domain", "customer", "--from-start"]
        environment = {**os.environ, "RISKD_STATE__DIR": settings.state.dir}
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
            busy = paced(lambda: process.poll() is not None)
    return alone, busy


def main() -> int:
    """Print the speeds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000, help="events a file (default: %(default)s)")
    parser.add_argument("--subjects", type=int, default=2_000, help="customers (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, for the median (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        state = Path(directory)
        settings = load(None, {"RISKD_STATE__DIR": directory})
        print(f"{args.events} events of {args.subjects} customers, {BATCH} a write; events a CPU second, median")
        print(f"{'source':<12} {'bytes/event':>11} {'read and gather':>16} {'and write':>10}")
        with open_learner(settings) as engine:
            for source, (line, header) in FORMATS.items():
                path = state / source
                write(path, line, header, args.events, args.subjects)
                dry, wet = [], []
                for _ in range(args.rounds):
                    dry.append(imported(engine, source, path, dry_run=True))
                    wet.append(imported(engine, source, path))
                size = path.stat().st_size / args.events
                print(f"{source:<12} {size:>11.0f} {median(dry):>16.0f} {median(wet):>10.0f}", flush=True)
            batches(engine, state / "okta", args.rounds)
        alone, busy = beside(settings, state / "okta", args.subjects)
        print("\nan assessment at 50 a second, ms: p50, p99, worst")
        for name, taken in (("alone", alone), ("beside an import", busy)):
            print(f"{name:<18} {taken[len(taken) // 2]:.2f}  {taken[int(len(taken) * 0.99)]:.2f}  {taken[-1]:.2f}")
    return 0


if __name__ == "__main__":
    program(main)
