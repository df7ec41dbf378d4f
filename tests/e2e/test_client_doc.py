"""docs/client.md and docs/client-{node,go,java}.md as they stand: each is made ready as it says, and its code asks real
services.

The laws are the same for every language; `tests/e2e/clients` plays a scenario with the code of each page.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from msgspec import structs

from riskd._proto.riskd.v1 import assessment_pb2, attempt_pb2, risk_pb2
from riskd.cli.main import build_parser
from riskd.config import Settings
from riskd.core import record
from riskd.server.identity.callers import new_token, token_hash
from tests.e2e.clients import pages
from tests.e2e.clients.pages import App, sign_in
from tests.e2e.service import PATIENCE, ROOT, Service, attempt, eventually, serving
from tests.security.authority import Authority

SCRIPT: Final = {"user_agent": "python-requests/2.32.3"}
WITHOUT_ANSWER: Final = {"tier": "TIER_STEP_UP", "acr_values": ["mfa"], "assessment": ""}
PATIENT: Final = 5.0
"""Seconds for a call that must succeed, even on a busy machine."""


@pytest.fixture(scope="module", params=pages.APPS)
def app(request: pytest.FixtureRequest, client_of: Callable[[str], App]) -> Iterator[App]:
    with client_of(request.param).started() as running:
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("client_doc")) as running:
        yield running


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Authority, str]]:
    """A service with TLS, its authority, and the token of its only caller."""
    folder, authority, token = tmp_path_factory.mktemp("secured"), Authority(), new_token()
    cert, key = authority.issue("localhost", hosts=["127.0.0.1", "localhost"]).put(folder / "tls", "server")
    callers = folder / "callers.toml"
    callers.write_text(f'[web]\ntoken_sha256 = ["{token_hash(token)}"]\nmethods = ["assessor"]\ntenants = [""]\n')
    settings = {"RISKD_SERVER__TLS_CERT": cert, "RISKD_SERVER__TLS_KEY": key, "RISKD_SERVER__CALLERS": str(callers)}
    with serving(folder / "state", settings=settings) as running:
        yield running, authority, token


def tell(assessment: str) -> dict[str, object]:
    """A step: report that a session was established."""
    return {"do": "tell", "assessment": assessment}


def told(service: Service, assessment: str) -> list[str]:
    """The kinds of outcomes in the log of an assessment."""
    found = service.decisions()
    return [each.kind for each in found if isinstance(each, record.OutcomeRecord) and each.assessment_id == assessment]


def test_a_sign_in_is_assessed_and_its_outcome_reported(app: App, service: Service) -> None:
    """A sign-in without a challenge establishes a session and reports its outcome; a repeated attempt gets the same
    assessment."""
    step = sign_in("kim", f"{app.folder}-a")
    plays = (app.play(service.address, {**step, "do": "example"}, step, deadline=PATIENT) for _ in range(10))
    # the page's deadline of 150 ms is too short on a busy machine
    (established, assessment), again = next(came for came in plays if came[0][1])
    assert established
    eventually(lambda: told(service, assessment)[:1] == ["session_established"])
    assert (again["tier"], again["assessment"], again["challenged"]) == ("TIER_BASELINE", assessment, 0)


def test_the_file_of_the_page_runs_as_it_stands(tmp_path: Path, service: Service) -> None:
    """The page's file runs as it is, and prints the decision and the assessment id."""
    app = pages.python_app(tmp_path)
    file = tmp_path / "client.py"
    file.write_text(file.read_text().replace("127.0.0.1:50551", service.address).replace("0.15", str(PATIENT)))
    assert app.run([sys.executable, "-S", "client.py"]).stdout.startswith("(True, '")


def test_the_program_of_the_go_page_runs_as_it_stands(tmp_path: Path, service: Service) -> None:
    """The page's program runs as it is, and prints the decision and the assessment id; its code is formatted."""
    app = pages.go_app(tmp_path)
    assert app.run(["gofmt", "-l", "."]).stdout == ""
    for name, shown, meant in (
        ("main.go", "127.0.0.1:50551", service.address),
        ("risk/client.go", "150 * time.Millisecond", "5 * time.Second"),
    ):
        file = app.folder / name
        file.write_text(file.read_text().replace(shown, meant))
    assert re.fullmatch(r"true [0-9a-f]{32}\n", app.run(["go", "run", "."]).stdout)


@pytest.mark.parametrize("app", ["java"], indirect=True)
def test_the_program_of_the_java_page_runs_as_it_stands(app: App, tmp_path: Path, service: Service) -> None:
    """The page's program runs as it is, and prints the decision and the assessment id."""
    mine = structs.replace(app, folder=shutil.copytree(app.folder, tmp_path / "java"))
    files = {
        "com/example/risk/Main.java": ("127.0.0.1:50551", service.address),
        "com/example/risk/RiskClient.java": ("ofMillis(150)", "ofSeconds(5)"),
    }
    for name, (shown, meant) in files.items():
        file = mine.folder / name
        file.write_text(file.read_text().replace(shown, meant))
    assert mine.run([*pages.JAVAC, *files]).returncode == 0
    said = mine.run([*pages.JVM, "com.example.risk.Main"]).stdout
    assert re.fullmatch(r"true [0-9a-f]{32}\n", said)


def test_a_challenge_is_made_and_its_outcome_reported(app: App, service: Service) -> None:
    """A script is challenged once; without methods the challenge fails, with both it passes, and it is abandoned if
    nobody answers."""
    steps = [sign_in("lee", f"{app.folder}-b{len(amr)}", *amr, device=SCRIPT) for amr in ((), ("pwd", "otp"))]
    silent = {**sign_in("lee", f"{app.folder}-b", device=SCRIPT), "amr": None}
    failed, passed, ignored = app.play(service.address, *steps, silent, deadline=PATIENT)
    assert [(each["challenged"], each["established"]) for each in (failed, passed)] == [(1, False), (1, True)]
    assert (ignored["challenged"], ignored["established"]) == (1, False)
    eventually(lambda: told(service, passed["assessment"]) == ["challenge_passed", "session_established"])
    assert told(service, failed["assessment"]) == ["challenge_failed"]
    eventually(lambda: told(service, ignored["assessment"]) == ["challenge_abandoned"])


def test_deny_is_final(app: App, service: Service) -> None:
    """A denied attempt gets no challenge, no session and no outcome."""
    stuffer = "2.125.160.216"
    stuffing = [attempt(stuffer, subject=f"{app.folder}-{number}", **SCRIPT) for number in range(40)]
    for each in stuffing:
        each.credential_result = attempt_pb2.CREDENTIAL_RESULT_FAILED
    with service.stub() as stub:
        stub.BatchAssess(risk_pb2.BatchAssessRequest(requests=stuffing), timeout=PATIENT)
    step = sign_in("max", f"{app.folder}-c", "pwd", "otp", address=stuffer, device=SCRIPT)
    (denied,) = app.play(service.address, step, deadline=PATIENT)
    assert (denied["tier"], denied["challenged"], denied["established"]) == ("TIER_DENY", 0, False)
    assert told(service, denied["assessment"]) == []


def test_a_session_satisfies_by_what_it_says_of_its_authentication(app: App, service: Service) -> None:
    """A payment is challenged if its session says nothing of methods and time, and is not once it does."""
    shared = f"{app.folder}-pia"
    mfa = {"id": "s", "amr": ["pwd", "otp"], "authentication_time": {"seconds": int(time.time())}}
    journey = {"journey": "JOURNEY_PAYMENT", "credential_result": "CREDENTIAL_RESULT_NOT_CHECKED"}
    paying = [
        sign_in(shared, f"{shared}-{len(each)}", "pwd", "otp", **journey, session=each) for each in ({"id": "s"}, mfa)
    ]
    came = app.play(service.address, sign_in(shared, f"{shared}-a"), *paying, deadline=PATIENT)
    assert [(each["challenged"], each["established"]) for each in came] == [(0, True), (1, True), (0, True)]


def test_an_attempt_says_when_the_account_was_registered(app: App, service: Service) -> None:
    """The date arrives as it was sent."""
    step = sign_in("ida", f"{app.folder}-ida", registration_time={"seconds": 1_714_555_800})
    (came,) = app.play(service.address, step, deadline=PATIENT)
    found = [each for each in service.decisions() if isinstance(each, record.AssessmentRecord)]
    assert [each.registration_time for each in found if each.id == came["assessment"]] == [1_714_555_800]


JOURNEYS: Final = ("REGISTRATION", "LOGIN", "RECOVERY", "PROFILE_UPDATE", "PAYMENT", "SESSION")
FORCED: Final = {
    "of-anybody": "TIER_BASELINE",
    "test-step-up----------": "TIER_STEP_UP",
    "test-resistant--------": "TIER_PHISHING_RESISTANT",
    "test-deny-------------": "TIER_DENY",
}


@pytest.fixture(scope="module")
def forced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the policy for tests, made ready as the page says."""
    folder = tmp_path_factory.mktemp("forced")
    (folder / "testing").mkdir()
    (policy,) = pages.blocks(pages.PYTHON, "yaml")
    (folder / "testing" / "customer.yaml").write_text(policy)
    (copy,) = [words for words in pages.commands(pages.PYTHON) if words[0] == "cp"]
    subprocess.run([*copy[:-1], folder / copy[-1]], cwd=ROOT, check=True)
    with serving(folder / "state", settings={"RISKD_RELEASE__POLICIES": str(folder / "testing")}) as running:
        yield running


def test_the_service_for_tests_runs_beside_another() -> None:
    """The printed command shares no port and no state with a service of the default settings."""
    (serve,) = [words for words in pages.commands(pages.PYTHON) if words[:2] == ["riskd", "serve"]]
    args, default = build_parser().parse_args(serve[1:]), Settings()
    ports = {None, str(default.server.port), str(default.metrics.port)}
    assert ports.isdisjoint({args.port, args.metrics_port})
    assert [pair.partition("=")[0] for pair in args.set] == ["release.policies", "state.dir"]


def test_the_policy_for_tests_answers_by_the_device(app: App, forced: Service) -> None:
    """Whatever the step, and however suspicious the rest, the device alone chooses the tier."""
    steps = [
        sign_in(
            "tia",
            f"{app.folder}-{journey}-{device}",
            journey=f"JOURNEY_{journey}",
            device=SCRIPT | {"device_id": device},
        )
        for device in FORCED
        for journey in JOURNEYS
    ]
    came = app.play(forced.address, *steps, deadline=PATIENT)
    assert [each["tier"] for each in came] == [tier for tier in FORCED.values() for _ in JOURNEYS]


def test_a_code_by_mail_proves_a_recovery_whose_floor_is_baseline(service: Service, forced: Service) -> None:
    """Where the policy requires two factors, a single code teaches nothing."""
    taught = []
    for each in (service, forced):
        with each.stub() as stub:
            asked = attempt(subject="una")
            asked.journey = attempt_pb2.JOURNEY_RECOVERY
            assessment = stub.Assess(asked, timeout=PATIENT).assessment_id
            challenge = risk_pb2.Challenge(result=risk_pb2.Challenge.RESULT_PASSED, amr=["otp"])
            outcome = risk_pb2.RecordOutcomeRequest(assessment_id=assessment, challenge=challenge)
            taught.append(stub.RecordOutcome(outcome, timeout=PATIENT).taught_units)
    assert taught == [0, 1]


def test_a_mistake_is_explained_by_field(app: App, service: Service) -> None:
    """A refused request reports its reason and fields, and the flow continues as without an answer."""
    refused, (reason, fields) = app.play(service.address, sign_in("", "d", address="nowhere"), {"do": "mistake"})
    assert refused.items() >= {**WITHOUT_ANSWER, "challenged": 1, "established": False}.items()
    assert reason == "INVALID_ATTEMPT"
    assert sorted(fields) == ["domain", "journey", "network.client_ip", "subject"]
    assert all(fields.values())


class Moody:
    """Answers with the status code that the subject or assessment is named after; RECOVERS succeeds at the third
    call. It may say that it is not serving, and answers nevertheless."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.limits: dict[str, float | None] = {}

    def assess(self, request: risk_pb2.AssessRequest, context: grpc.ServicerContext) -> risk_pb2.AssessResponse:
        self._answer(request.subject, context)
        met = assessment_pb2.Requirement(tier=assessment_pb2.TIER_BASELINE, satisfied=True)
        return risk_pb2.AssessResponse(assessment_id=request.subject, requirement=met)

    def record(
        self, request: risk_pb2.RecordOutcomeRequest, context: grpc.ServicerContext
    ) -> risk_pb2.RecordOutcomeResponse:
        self._answer(request.assessment_id, context)
        return risk_pb2.RecordOutcomeResponse()

    def watch(self, _: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """NOT_SERVING, until the client leaves."""
        yield b"\x08\x02"
        left = threading.Event()
        if context.add_callback(left.set):
            left.wait()

    def _answer(self, name: str, context: grpc.ServicerContext) -> None:
        self.calls[name] += 1
        self.limits[name] = context.time_remaining()
        if name == "SILENT":
            time.sleep(2.0)
        elif name == "RECOVERS" and self.calls[name] < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        elif name in grpc.StatusCode.__members__:
            context.abort(grpc.StatusCode[name], "as you wish")


@contextmanager
def moody(*, serving: bool = True) -> Iterator[tuple[Moody, str]]:
    """A running one, and its address."""
    servicer, server = Moody(), grpc.server(ThreadPoolExecutor(4))
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Assess": grpc.unary_unary_rpc_method_handler(
            servicer.assess, risk_pb2.AssessRequest.FromString, risk_pb2.AssessResponse.SerializeToString
        ),
        "RecordOutcome": grpc.unary_unary_rpc_method_handler(
            servicer.record, risk_pb2.RecordOutcomeRequest.FromString, risk_pb2.RecordOutcomeResponse.SerializeToString
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("riskd.v1.RiskService", methods),))
    if not serving:
        health: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Watch": grpc.unary_stream_rpc_method_handler(servicer.watch)
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


RETRIED: Final = {"UNAVAILABLE", "CANCELLED"}
"""Codes that are retried because another server may succeed."""
KEPT: Final = {
    "UNAVAILABLE": True,
    "CANCELLED": True,
    "RESOURCE_EXHAUSTED": True,
    "ABORTED": True,
    "INTERNAL": True,
    "UNAUTHENTICATED": True,
    "PERMISSION_DENIED": True,
    "INVALID_ARGUMENT": False,
    "NOT_FOUND": False,
}
"""Whether an outcome that got this code must be reported again later."""


def tries(service: Moody) -> bool:
    """Whether each code was tried as often as the pages say."""
    return all(service.calls[code] == (3 if code in RETRIED else 1) for code in KEPT)


def test_temporary_errors_are_retried(app: App) -> None:
    """Temporary errors are tried three times in all; any other error is final."""
    with moody() as (service, target):
        steps = [sign_in(name, name) for name in ("RECOVERS", *KEPT)]
        recovered, *came = app.play(target, *steps, deadline=PATIENT)
        assert recovered["assessment"] == "RECOVERS"
        assert [each for each in came if not each.items() >= WITHOUT_ANSWER.items()] == []
        assert tries(service), service.calls


def test_all_addresses_are_used_and_a_dead_one_costs_nothing(app: App) -> None:
    """Calls are spread over all addresses of a name; if one is dead, the others answer all calls."""
    steps = [sign_in("anybody", f"h{number}") for number in range(40)]
    with moody() as (left, first), moody() as (right, second):
        for addresses in (f"{first},{second}", f"127.0.0.1:1,{second}"):
            came = app.play(f"ipv4:{addresses}", *steps, deadline=PATIENT)
            assert [each["assessment"] for each in came] == ["anybody"] * len(steps)
        assert left.calls["anybody"] > 0
        assert right.calls["anybody"] > left.calls["anybody"]


def test_a_server_that_is_not_serving_gets_no_calls(app: App) -> None:
    """Where gRPC checks health, calls go to the servers that serve. Node's does not, and Java's not without
    grpc-services, which Debian lacks."""
    steps = [sign_in("anybody", f"k{number}") for number in range(10)]
    with moody(serving=False) as (stopping, first), moody() as (_, second):
        came = app.play(f"ipv4:{first},{second}", *steps, deadline=PATIENT)
        assert [each["assessment"] for each in came] == ["anybody"] * len(steps)
        assert (stopping.calls["anybody"] > 0) == (app.language in ("node", "java"))


@contextmanager
def vanishing(target: str, gone: Callable[[], bool]) -> Iterator[str]:
    """A proxy to a server that at some point stops passing bytes without closing anything."""
    host, _, port = target.rpartition(":")
    ends: list[socket.socket] = []

    def relay(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while said := source.recv(65_536):
                if not gone():
                    sink.sendall(said)

    def accept() -> None:
        with suppress(OSError):
            while True:
                pair = listener.accept()[0], socket.create_connection((host, int(port)))
                ends.extend(pair)
                for one, other in (pair, pair[::-1]):
                    threading.Thread(target=relay, args=(one, other), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    for end in ends:
        with end, suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def test_a_vanished_server_is_detected(tmp_path: Path) -> None:
    """If a server vanishes without closing its connection, Node's pings detect it and calls go elsewhere."""
    app = pages.node_app(tmp_path)
    page = tmp_path / "client.mjs"
    page.write_text(page.read_text().replace("40_000", "1_000").replace("5_000", "500"))
    steps = [sign_in("anybody", f"i{number}") for number in range(30)]
    with moody() as (lost, first), moody() as (_, second), vanishing(first, lambda: lost.calls["anybody"] > 2) as way:
        came = app.play(f"ipv4:{way},{second}", *steps, deadline=1.0)
    assert lost.calls["anybody"] == 3
    assert [each["assessment"] for each in came[-15:]] == ["anybody"] * 15


def test_a_server_that_is_gone_is_tried_every_second(app: App) -> None:
    """A client tries to connect about every second for as long as a server is gone, and so is back soon after it. By
    gRPC's own rule it would wait longer each time, up to two minutes."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        came = thread.submit(refused, listener)
        app.play(f"127.0.0.1:{listener.getsockname()[1]}", sign_in("anybody", "g"), {"do": "pause", "seconds": 6.0})
        listener.shutdown(socket.SHUT_RDWR)
        assert came.result() >= 5, "by gRPC's own rule there are four"


def refused(listener: socket.socket) -> int:
    """Close every connection at once until the listener is shut down, and count them."""
    count = 0
    with suppress(OSError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


@pytest.mark.parametrize("language", ["python", "go"])
def test_the_kernel_gives_up_soon_on_a_server_that_acknowledges_nothing(language: str, tmp_path: Path) -> None:
    """In Python and Go, the ping settings set the kernel's TCP timeout to that of the page, instead of a quarter of an
    hour."""
    with moody() as (_, target):
        _, connections = pages.APPS[language](tmp_path).play(target, sign_in("anybody", "j"), {"do": "patience"})
    assert connections == [5_000]


def test_an_outcome_is_kept_until_riskd_knows_it(app: App) -> None:
    """An outcome is kept for a retry after a temporary error, and dropped if riskd will never accept it."""
    with moody() as (service, target):
        steps = [tell(name) for name in ("known", *KEPT)]
        assert app.play(target, *steps, deadline=PATIENT) == [True, *(not keep for keep in KEPT.values())]
        assert tries(service), service.calls


def test_in_go_an_outcome_is_reported_when_the_person_has_left(tmp_path: Path) -> None:
    """The context of a request ends with its connection; the outcome is reported all the same."""
    with moody() as (service, target):
        (known,) = pages.go_app(tmp_path).play(target, tell("known") | {"gone": True}, deadline=PATIENT)
        assert known
        assert service.calls["known"] == 1


INSUFFICIENT: Final = 'Bearer error="insufficient_user_authentication"'
STEP_UPS: Final[list[tuple[dict[str, object], str]]] = [
    ({"acr_values": ["phr", "phrh"], "max_age": "3600s"}, f'{INSUFFICIENT}, acr_values="phr phrh", max_age="3600"'),
    ({"max_age": "0s"}, f'{INSUFFICIENT}, max_age="0"'),
    ({}, INSUFFICIENT),
    ({"acr_values": ["mfa"], "satisfied": True}, ""),
    ({"tier": "TIER_DENY"}, ""),
]


@pytest.mark.parametrize("app", ["go", "java"], indirect=True)
def test_a_step_up_is_the_header_of_rfc_9470(app: App) -> None:
    """The header names what the requirement names, and is empty where nothing can be asked for."""
    steps: list[dict[str, object]] = [
        {"do": "step_up", "more": {"tier": "TIER_STEP_UP"} | required} for required, _ in STEP_UPS
    ]
    assert app.play("127.0.0.1:1", *steps) == [header for _, header in STEP_UPS]


def test_every_call_has_a_deadline(app: App) -> None:
    """A silent server is waited for as long as the page says, and no longer."""
    with moody() as (service, target):
        # the first call connects, which takes longer than 150 ms on a busy machine
        known, silent = app.play(target, tell("known"), sign_in("SILENT", "e"))
        assert silent.items() >= WITHOUT_ANSWER.items()
        assert silent["seconds"] < 1.9
        assert known
        limits = service.limits
        assert 0 < (limits["SILENT"] or 0) < 0.2  # 0.15, rounded up
        assert 0 < (limits["known"] or 0) < 1.1


def test_without_a_service_the_flow_falls_back_in_time(app: App) -> None:
    """Without a service the flow falls back by its deadline, and the outcome is kept."""
    came, known = app.play("127.0.0.1:1", sign_in("kim", "f", "pwd", "otp"), tell("f" * 32))
    assert came.items() >= {**WITHOUT_ANSWER, "challenged": 1, "established": True}.items()
    assert came["seconds"] < 2
    assert not known


def test_tls_and_a_token(app: App, secured: tuple[Service, Authority, str]) -> None:
    """Only a client that trusts the authority and has a caller's token is answered."""
    service, authority, token = secured
    shown = ((authority, token), (authority, f"riskd_{'x' * 43}"), (Authority(), token))
    for number, (trusted, word) in enumerate(shown):
        given = {"authorities": trusted.certificate.decode(), "token": word}
        (came,) = app.play(service.address, sign_in("kim", f"{app.folder}-g{number}"), deadline=PATIENT, **given)
        assert bool(came["assessment"]) == (number == 0)


@pytest.mark.parametrize("app", ["java"], indirect=True)
def test_in_java_a_token_is_not_sent_without_tls(app: App) -> None:
    """Without TLS a call with a token does not leave the process."""
    with moody() as (service, target):
        (came,) = app.play(target, sign_in("anybody", "l"), token=new_token())
        assert came.items() >= WITHOUT_ANSWER.items()
        assert not service.calls


@pytest.mark.parametrize("app", ["java"], indirect=True)
def test_in_java_a_certificate_identifies_a_caller(app: App, tmp_path: Path) -> None:
    """Of two certificates of the authority, only that of a caller is answered; without one nobody connects."""
    authority = Authority()
    cert, key = authority.issue("localhost", hosts=["127.0.0.1"]).put(tmp_path, "server")
    clients, callers = tmp_path / "ca.pem", tmp_path / "callers.toml"
    clients.write_bytes(authority.certificate)
    callers.write_text('[web]\ncertificates = ["CN=web"]\nmethods = ["assessor"]\ntenants = [""]\n')
    server = {"TLS_CERT": cert, "TLS_KEY": key, "TLS_CLIENT_CA": str(clients), "CALLERS": str(callers)}
    settings = {f"RISKD_SERVER__{name}": value for name, value in server.items()}
    with serving(tmp_path / "state", settings=settings) as service:
        for name in ("web", "stranger", None):
            shown = authority.issue(name) if name else None
            given = {"certificate": shown.certificate.decode(), "key": shown.key.decode()} if shown else {}
            step, authorities = sign_in("kim", f"{tmp_path}-{name}"), authority.certificate.decode()
            (came,) = app.play(service.address, step, deadline=PATIENT, authorities=authorities, **given)
            assert bool(came["assessment"]) == (name == "web")


def test_the_packages_of_the_page_are_those_that_are_locked() -> None:
    """The packages that the Node page installs are in the lock file, beside those of docs/identity-providers.md."""
    wanted = json.loads((pages.HERE / "package.json").read_text())
    (run,) = [words for words in pages.commands(pages.NODE) if words[:4] == ["npm", "install", "--prefix", "app"]]
    (develop,) = [words for words in pages.commands(pages.NODE) if words[:3] == ["npm", "install", "--save-dev"]]
    assert set(run[4:]) <= wanted["dependencies"].keys()
    assert sorted(develop[3:]) == sorted(wanted["devDependencies"])


MISSPELT: Final = {"user_agent": "user_agnet", '"JOURNEY_LOGIN"': '"JOURNEY_LOGON"', "requirement?.tier": "tier"}


def test_types_find_what_is_misspelt(tmp_path: Path, service: Service) -> None:
    """The page's typed code compiles and runs, and the compiler finds misspelt names."""
    app = pages.node_app(tmp_path)
    (typed,) = pages.blocks(pages.NODE, "ts")
    generate, check = [words[1:] for words in pages.commands(pages.NODE) if words[0] == "npx"]
    files = {"typed.mts": typed}
    files |= {f"misspelt{number}.mts": typed.replace(*each) for number, each in enumerate(MISSPELT.items())}
    for name, text in files.items():
        # the pages' kim has histories by now
        mine = text.replace("127.0.0.1:50551", service.address).replace("150", "5000").replace('"kim"', '"tyra"')
        (tmp_path / name).write_text(mine)

    made = app.run([f"node_modules/.bin/{generate[0]}", *generate[1:]])
    assert made.returncode == 0, made.stderr
    *command, file = [f"node_modules/.bin/{check[0]}", *check[1:]]
    assert file == "typed.mts"
    found = app.run([*command, *files]).stdout.splitlines()
    assert [line.partition("(")[0] for line in found] == [f"misspelt{number}.mts" for number in range(len(MISSPELT))]
    assert app.run(["node", "typed.mts"]).stdout == "TIER_BASELINE\n"


def test_a_shell_asks_without_generated_code(service: Service) -> None:
    """The page's shell commands use reflection, and print an answer or the reason of a refusal."""
    curl, outcome = [
        [
            str(Path(sys.executable).with_name("buf")),
            *(word.replace("127.0.0.1:50551", service.address) for word in rest),
        ]
        for program, *rest in pages.commands(pages.PYTHON)
        if program == "buf"
    ]
    answer = json.loads(subprocess.run(curl, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout)
    assert answer["requirement"]["tier"] == "TIER_BASELINE"
    told = [re.sub(r"[0-9a-f]{32}", answer["assessmentId"], word) for word in outcome]
    taught = subprocess.run(told, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    assert json.loads(taught) == {"taughtUnits": 1}
    spoilt = [word.replace('"journey": "JOURNEY_LOGIN", ', "") for word in curl]
    refusal = subprocess.run(spoilt, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert refusal.returncode
    said = json.loads(refusal.stderr)
    assert said["code"] == "invalid_argument"
    assert said["message"].startswith("journey: missing")
