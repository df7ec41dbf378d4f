"""A Prometheus that scrapes a service under load, for testing dashboards."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final

import yaml
from msgspec.structs import replace

from riskd._proto.riskd.v1 import risk_pb2
from riskd.cli.client.assess import event_request, outcome_request
from riskd.config import data_directory
from riskd.core.activation import ActivationRequest
from riskd.core.attempt import DOMAINS, JOURNEYS, Attempt, Outcome, SecurityEvent, Session
from riskd.server.translate import request
from tests.core.builders import LAPTOP, sign_in
from tests.e2e.service import ROOT, Service, eventually, riskd, serving
from tests.offline.drift.world import rows, write
from tests.redis_servers import free_port
from tests.releases.candidates import MODELS, created, releases

RULES: Final = ROOT / "deploy" / "prometheus"
UNPACKED: Final = ROOT / ".venv" / "prometheus" / "usr" / "bin"
MISSING: Final = "prometheus and promtool are missing: make servers (or apt-get install prometheus)"
SECONDS: Final = 40.0
"""Seconds of load: a worker reports on its decision log every half minute."""
CUSTOMERS: Final = 1100
"""Customers assessed in batches first: drift needs a thousand rows."""
IN_SHADOW: Final = "name: new, when: score < 0.9, then: STEP_UP, reason: NEW, text: New., journeys: all, shadow: true"
NOTHING: Final[dict[str, Any]] = dict.fromkeys(("session", "federation", "outside", "behaviour", "place"))
TOLD: Final = 0.05
"""Share of the attempts that are followed by a security event about the subject."""
RATE: Final = 25.0
"""Attempts per second: enough for every series, and a light load."""


def program(name: str) -> str:
    """`prometheus` or `promtool`. Raises FileNotFoundError that says how to install it."""
    found = shutil.which(name) or shutil.which(name, path=str(UNPACKED))
    if found is None:
        raise FileNotFoundError(MISSING)
    return found


class Prometheus:
    """A server with riskd's rules that scrapes and evaluates every second."""

    def __init__(self, directory: Path, target: str) -> None:
        directory.mkdir(parents=True)
        rules = directory / "rules.yaml"
        text = (RULES / "recording.rules.yaml").read_text()
        rules.write_text(re.sub(r"interval: \d+m", "interval: 1s", text))
        scrape = {"job_name": "riskd", "static_configs": [{"targets": [target]}]}
        config = directory / "prometheus.yaml"
        every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        alerts = str(RULES / "alerts.rules.yaml")
        config.write_text(
            yaml.safe_dump({"global": every, "rule_files": [str(rules), alerts], "scrape_configs": [scrape]})
        )
        self.url = f"http://127.0.0.1:{free_port()}"
        self._command = [program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={directory}/data"]
        self._command += [f"--web.listen-address={self.url.removeprefix('http://')}", "--log.level=warn"]

    @contextmanager
    def running(self) -> Iterator[Prometheus]:
        """The server from when it is ready until it is killed."""
        with subprocess.Popen(
            self._command, stderr=subprocess.DEVNULL, env={**os.environ, "GOMAXPROCS": "1"}
        ) as process:
            try:
                eventually(self.ready)
                yield self
            finally:
                process.kill()

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query. Raises AssertionError with the server's message."""
        return list(self.get("query", query=expr)["result"])

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """`data` of an answer of the HTTP API."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                found: dict[str, Any] = json.load(answer)["data"]
                return found
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{parameters}: {error.read().decode()}") from None


def policies(directory: Path) -> Path:
    """The shipped policies, but machines are in learning mode, customers may use text messages and may not recover."""
    shutil.copytree(data_directory("policies"), directory)
    changes = (
        ("customer", "rules:\n", f"rules:\n  - {{{IN_SHADOW}}}\n"),
        ("machine", "domain: machine\n", "domain: machine\nlearning_until: 2099-01-01\n"),
        ("customer", "  login:\n", "  login:\n    friction_budget: 0.02\n"),
        ("customer", "[pwd, otp]", "[pwd, sms], [pwd, otp]"),
        ("customer", "PHISHING_RESISTANT: 0.05 #", "PHISHING_RESISTANT: 0.000001 #"),
        ("customer", "IDENTITY_PROOF: 0.2 #", "IDENTITY_PROOF: 0.000002 #"),
        ("customer", "DENY: 0.5 # as likely a thief as not, and", "DENY: 0.000003 # and"),
    )
    for domain, old, new in changes:
        path = directory / f"{domain}.yaml"
        text = path.read_text()
        assert old in text, old
        path.write_text(text.replace(old, new, 1))
    return directory


def models(directory: Path) -> Path:
    """The shipped models, with a reference for the customer model."""
    shutil.copytree(MODELS, directory / "models")
    bundle = directory / "models" / "customer" / "hand-set-4"
    done = riskd("model", "reference", str(bundle), "--log", str(write(directory / "usual", rows(1))), state=directory)
    assert done.returncode == 0, done.stderr
    return directory / "models"


def attempts(seed: int = 1) -> Iterator[Attempt]:
    """Attempts of all domains and journeys; some with fewer signals, some by text message, some from elsewhere, some
    with a wrong credential."""
    random = Random(seed)
    for number in count():
        domain, journey = random.choice(DOMAINS), random.choice(JOURNEYS)
        one = sign_in(
            random.choice(("81.2.69.142", "2.125.160.216", "89.160.20.112")),
            domain=domain,
            journey=journey,
            subject=f"{domain}-{number % 40}",
            device=replace(LAPTOP, device_id=f"d{number % 40}"),
            session=Session(id="s", authentication_time=time.time() - 60, amr=("pwd", "sms")),
            federation=None,
            outside=random.choice((None, sign_in().outside)),
            behaviour=random.choice((None, sign_in().behaviour)),
            credential_result="failed" if number % 10 == 7 else "succeeded",
        )
        yield one if random.random() < 0.8 else replace(one, device=None, session=None, credential_result="not_checked")


def outcomes(assessment_id: str, attempt: Attempt, random: Random) -> Iterator[Outcome]:
    """One or two outcomes of the attempt."""
    kinds = ["challenge_passed", "challenge_failed", "challenge_abandoned", "session_established", "sign_in_abandoned"]
    kinds = ["recovery_completed", "recovery_failed"] if attempt.journey == "recovery" else kinds
    kind = random.choice(kinds)
    amr = random.choice((("pwd", "sms"), ("pwd", "otp"), ("hwk", "pin"))) if kind == "challenge_passed" else ()
    yield Outcome(assessment_id=assessment_id, kind=kind, amr=amr)
    if random.random() < 0.2:
        yield Outcome(assessment_id=assessment_id, kind=random.choice(("confirmed_fraud", "confirmed_legitimate")))


def heard(attempt: Attempt, random: Random) -> SecurityEvent:
    """A security event about the subject of the attempt."""
    kind = random.choice(("account_enabled", "recovery_activated", "account_disabled"))
    return SecurityEvent(domain=attempt.domain, subject=attempt.subject, kind=kind)


class Load(threading.Thread):
    """Sends attempts, outcomes and security events until stopped, and keeps an error."""

    def __init__(self, service: Service) -> None:
        super().__init__(name="load", daemon=True)
        self.service = service
        self.answered = 0
        self.error: BaseException | None = None
        self._over = threading.Event()

    def run(self) -> None:
        try:
            random = Random(2)
            with self.service.stub() as stub:
                for attempt in attempts():
                    if self._over.wait(1 / RATE):
                        return
                    answer = stub.Assess(request(attempt), timeout=10)
                    self.answered += 1
                    if random.random() < TOLD:
                        stub.RecordSecurityEvent(event_request(heard(attempt, random)), timeout=10)
                    for outcome in outcomes(answer.assessment_id, attempt, random):
                        stub.RecordOutcome(outcome_request(outcome), timeout=10)
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        """Stop, and raise the error if there was one."""
        self._over.set()
        self.join()
        if self.error is not None:
            raise self.error


@contextmanager
def watched(directory: Path, seconds: float = SECONDS) -> Iterator[Prometheus]:
    """A Prometheus that has scraped a service of two workers under load for some seconds, and still does."""
    state = directory / "state"
    state.mkdir(parents=True)
    host = releases(state)
    base = host.create(policies(directory / "policies"), models(directory), "test", "base").id
    host.activate(ActivationRequest(release=base, actor="test"))
    with ExitStack() as stack:
        service = stack.enter_context(serving(state, workers=2, settings={"RISKD_METRICS__DRIFT_S": "1"}))
        others = [created(state, "2m"), created(state, "3m")]
        host.activate(ActivationRequest(release=others[0], percent=50.0, actor="test"), 20.0)
        host.activate(ActivationRequest(release=others[1], shadow=True, actor="test"), 20.0)
        target = urllib.parse.urlsplit(service.metrics).netloc
        prometheus = stack.enter_context(Prometheus(directory / "prometheus", target).running())
        with service.stub() as stub:
            for begin in range(0, CUSTOMERS, 100):
                batch = [request(sign_in(subject=f"customer-{begin + each}", **NOTHING)) for each in range(100)]
                stub.BatchAssess(risk_pb2.BatchAssessRequest(requests=batch), timeout=20)
        load = Load(service)
        load.start()
        stack.callback(load.end)
        time.sleep(2)
        erased = riskd("subject", "erase", "customer-1", "--domain", "customer", "--yes", state=state)
        assert erased.returncode == 0, erased.stderr
        time.sleep(seconds - 2)
        yield prometheus
