"""A running `riskd serve`, its clients, and its files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc
from prometheus_client.parser import text_string_to_metric_families

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd._proto.riskd.v1.attempt_pb2 import (
    IDENTITY_DOMAIN_CUSTOMER,
    JOURNEY_LOGIN,
    Device,
    Network,
)
from riskd.adapters.lmdb_store import LmdbStore
from riskd.core import record
from riskd.core.stored import NOBODY
from tests.decision_log import read_segments

ROOT: Final = Path(__file__).parents[2]
MAXMIND: Final = ROOT / "tests" / "data" / "maxmind"
CITY: Final = MAXMIND / "GeoIP2-City-Test.mmdb"
ASN: Final = MAXMIND / "GeoLite2-ASN-Test.mmdb"
PATIENCE: Final = 20.0
LONDON: Final = "81.2.69.142"
"""An address that is in the tests' city database."""
START: Final = ("serve", "--port", "0", "--metrics-port", "0")
EAGER: Final = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.use_local_subchannel_pool", 1))
"""Options for channels with their own connections and quick retries."""


def environment(state: Path, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment for riskd with its own state and the tests' geo databases, which refuses no call because other
    tests keep the machine busy."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("RISKD_", "XDG_"))}
    geo = {"RISKD_GEO__DIR": f"{state}/geo", "RISKD_GEO__CITY": str(CITY), "RISKD_GEO__ASN": str(ASN)}
    geo["RISKD_GEO__STALE_DAYS"] = "0"  # they were built years ago
    patience = {f"RISKD_SERVER__{name}QUEUE_MS": "20000" for name in ("", "STANDING_")}
    return {**ours, "PYTHONPATH": str(ROOT), "RISKD_STATE__DIR": str(state), **geo, **patience, **(settings or {})}


def riskd(
    *arguments: str,
    state: Path,
    settings: Mapping[str, str] | None = None,
    patience: float = PATIENCE,
    said: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end. `said`: its standard input."""
    return subprocess.run(
        [sys.executable, "-m", "riskd", *arguments],
        env=environment(state, settings),
        cwd=state,
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
        input=said,
    )


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def attempt(
    ip: str = LONDON, *, subject: str = "somebody", request_id: str = "", user_agent: str = ""
) -> risk_pb2.AssessRequest:
    """A customer's login with the required fields, and those given."""
    return risk_pb2.AssessRequest(
        domain=IDENTITY_DOMAIN_CUSTOMER,
        subject=subject,
        journey=JOURNEY_LOGIN,
        network=Network(client_ip=ip),
        request_id=request_id,
        device=Device(user_agent=user_agent) if user_agent else None,
    )


class Service:
    """A service that is ready."""

    def __init__(self, process: subprocess.Popen[str], state: Path, line: str) -> None:
        """`line`: what the service printed when it was ready."""
        self.process = process
        self.state = state
        self.line = line
        facts = dict(part.rpartition(" ")[::2] for part in line.strip().split("; ")[:3])
        self.address = facts["riskd serves"]
        self.metrics = facts["metrics"]

    @contextmanager
    def stub(self, credentials: grpc.ChannelCredentials | None = None) -> Iterator[risk_pb2_grpc.RiskServiceStub]:
        """A client with its own connection."""
        with self.channel(credentials) as channel:
            yield risk_pb2_grpc.RiskServiceStub(channel)

    def channel(self, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
        """A new connection."""
        if credentials is None:
            return grpc.insecure_channel(self.address, EAGER)
        return grpc.secure_channel(self.address, credentials, EAGER)

    def assess(self, request: risk_pb2.AssessRequest) -> risk_pb2.AssessResponse:
        """One attempt over a new connection."""
        with self.stub() as stub:
            return stub.Assess(request, timeout=5)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of the monitor."""
        try:
            with urllib.request.urlopen(self.metrics.replace("/metrics", path), timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def samples(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        """Every series of a metric by its labels; those of `other` are left out if 0."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return {
            frozenset(sample.labels.items()): sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and (sample.value or "other" not in sample.labels.values())
        }

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels."""
        return sum(value for key, value in self.samples(name).items() if labels.items() <= dict(key).items())

    def events(self) -> list[dict[str, object]]:
        """The events that the service logged on stderr."""
        return [json.loads(line) for line in (self.state / "events.jsonl").read_text().splitlines()]

    def workers(self) -> list[int]:
        """Pids of the workers that serve now, by index."""
        serving = [event for event in self.events() if event["event"] == "serving" and event["process"] != "monitor"]
        latest = {str(event["process"]): int(str(event["pid"])) for event in serving}
        return [pid for _, pid in sorted(latest.items())]

    def decisions(self) -> list[record.Record]:
        """The records of the decision log."""
        return [record.decode(line) for line in read_segments(self.state / "decisions")]

    def remembered(self) -> int:
        """The number of records in the store, without its notes on itself."""
        store = LmdbStore(self.state / "store")
        try:
            return sum(not key.startswith(NOBODY) for key in store.walk(b"", store.size()[0])[0])
        finally:
            store.close()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@contextmanager
def serving(state: Path, workers: int = 1, settings: Mapping[str, str] | None = None) -> Iterator[Service]:
    """A service on free ports, killed at the end if it is still running."""
    state.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "riskd", *START, "--workers", str(workers)]
    log = state / "events.jsonl"
    with (
        log.open("w") as events,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=events, text=True, env=environment(state, settings), cwd=state
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, log.read_text()
            yield Service(process, state, line)
            if process.poll() is None:
                process.terminate()
                process.wait(PATIENCE)
        finally:
            process.kill()


def told(stderr: str) -> list[str]:
    """The lines on stderr that are for people."""
    return [line.removeprefix("riskd: ") for line in stderr.splitlines() if line.startswith("riskd: ")]


def reload(service: Service, event: str) -> dict[str, object]:
    """SIGHUP, and the event that the worker logged."""
    before = len(service.events())
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: any(each["event"] == event for each in service.events()[before:]))
    return next(each for each in service.events()[before:] if each["event"] == event)
