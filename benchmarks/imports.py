"""What an import costs, on LMDB with geo: by source, whole and without writing, and what it does to sign-ins beside it.

Events of customers who each sign in several times over the last weeks, one sign-in in ten failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final

from msgspec.structs import replace

from benchmarks.traffic import attempt, attempts
from riskd.config import Settings, load
from riskd.core.attempt import Attempt
from riskd.core.history import DAY
from riskd.engine import Engine
from riskd.offline.importers import SOURCES
from riskd.offline.importers.learner import Scope
from riskd.offline.importers.run import BATCH, Import, Options, Summary
from riskd.wiring import open_engine, open_learner

Line = Callable[[Attempt, float], str]


def _stamp(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat()


def okta(one: Attempt, when: float) -> str:
    """A LogEvent with the members that fill most of a real one."""
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
    """An Authentication event."""
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
    """A row of the dataset."""
    failed, agent = one.credential_result == "failed", one.device.user_agent if one.device else ""
    stamp = _stamp(when).replace("+00:00", "").replace("T", " ")
    return f'0,{stamp},{one.subject},40,{one.network.client_ip},NO,-,-,1,"{agent}",B,O,desktop,{not failed},False,False'


RBA_HEADER: Final = (
    "index,Login Timestamp,User ID,Round-Trip Time [ms],IP Address,Country,Region,City,ASN,User Agent String,"
    "Browser Name and Version,OS Name and Version,Device Type,Login Successful,Is Attack IP,Is Account Takeover"
)
FORMATS: Final[dict[str, tuple[Line, str]]] = {"okta": (okta, ""), "ocsf": (ocsf, ""), "rba-dataset": (rba, RBA_HEADER)}


def write(path: Path, line: Line, header: str, events: int, subjects: int) -> None:
    """A file of so many events, oldest first."""
    random, now = Random(5), time.time()
    with path.open("w", encoding="utf-8") as file:
        if header:
            print(header, file=file)
        for number in range(events):
            who = attempt(random.randrange(subjects), random)
            failed = random.random() < 0.1
            who = replace(who, credential_result="failed") if failed else who
            print(line(who, now - 170 * DAY * (1 - number / events) - 60), file=file)


def imported(engine: Engine, source: str, path: Path, *, dry_run: bool = False) -> Summary:
    """One import of the file, from its start."""
    scope = Scope(domain="customer", subject=SOURCES[source].subjects[0])
    options = Options(anew=True, dry_run=dry_run)
    return Import(engine, SOURCES[source], scope, options).run(str(path), lambda _bytes, _records: None)


def beside(settings: Settings, path: Path, subjects: int) -> tuple[list[float], list[float]]:
    """Milliseconds of assessments at 50 a second, alone and then beside an import by another process."""
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
        command = [sys.executable, "-m", "riskd", "import", "okta", str(path), "--domain", "customer", "--anew"]
        environment = {**os.environ, "RISKD_STATE__DIR": settings.state.dir}
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
            busy = paced(lambda: process.poll() is not None)
    return alone, busy


def main() -> int:
    """Print the rates."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000, help="events a file (default: %(default)s)")
    parser.add_argument("--subjects", type=int, default=2_000, help="customers (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, for the median (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        state = Path(directory)
        settings = load(None, {"RISKD_STATE__DIR": directory})
        print(
            f"median of {args.rounds} rounds; {args.events} events of {args.subjects} customers, {BATCH} a transaction"
        )
        print(f"{'source':<12} {'bytes/event':>11} {'read and gather':>16} {'and write':>10}")
        for source, (line, header) in FORMATS.items():
            path = state / source
            write(path, line, header, args.events, args.subjects)
            with open_learner(settings) as engine:
                dry, wet = [], []
                for _ in range(args.rounds):
                    dry.append(args.events / imported(engine, source, path, dry_run=True).seconds)
                    wet.append(args.events / imported(engine, source, path).seconds)
            rates = [sorted(rates)[len(rates) // 2] for rates in (dry, wet)]
            print(f"{source:<12} {path.stat().st_size / args.events:>11.0f} {rates[0]:>16.0f} {rates[1]:>10.0f}")
        alone, busy = beside(settings, state / "okta", args.subjects)
        print("\nan assessment at 50 a second, ms: p50, p99, worst")
        for name, taken in (("alone", alone), ("beside an import", busy)):
            print(f"{name:<18} {taken[len(taken) // 2]:.2f}  {taken[int(len(taken) * 0.99)]:.2f}  {taken[-1]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
