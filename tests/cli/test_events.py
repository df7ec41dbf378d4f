"""`riskd events`: checking streams files and tokens, and a receiver that survives being killed."""

from __future__ import annotations

import json
import signal
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from msgspec.structs import replace

from riskd._proto.riskd.v1 import attempt_pb2
from riskd.adapters.memory import MemoryStore
from riskd.cli import extras
from riskd.cli.client.events import sender
from riskd.cli.main import main
from riskd.core.attempt import SecurityEvent
from riskd.engine import Engine
from riskd.server.identity.callers import Caller, Callers, in_full, token_hash
from riskd.server.identity.guard import Guard
from riskd.shared_signals.stream import Away, Refused
from tests.bench import parts
from tests.doubles import ListLog
from tests.e2e.service import eventually
from tests.security.authority import Authority
from tests.server.world import served
from tests.shared_signals.process import receiving
from tests.shared_signals.service import Service, listening
from tests.shared_signals.transmitter import (
    BEARER,
    CAEP,
    RISC,
    Transmitter,
    bearer_file,
    claims,
    rsa_key,
    sign,
    transmitting,
)
from tests.shipped import shipped_release

STREAMS = """\
streams:
  idp:
    issuer: {issuer}
    audience: https://riskd.example.com
    domain: workforce
    tenant: acme
    subject: {{format: email}}
    poll: {{endpoint: {issuer}/poll, token_file: stream.token, interval: 1s}}
  pushed:
    issuer: {issuer}
    audience: https://riskd.example.com
    domain: customer
    subject: {{format: email}}
    push: {{path: /idp, token_file: stream.token}}
"""


@pytest.fixture
def transmitter() -> Iterator[Transmitter]:
    with transmitting() as found:
        yield found


@pytest.fixture
def streams(transmitter: Transmitter, tmp_path: Path) -> str:
    """A file of two streams from this transmitter."""
    bearer_file(tmp_path)
    file = tmp_path / "streams.yaml"
    file.write_text(STREAMS.format(issuer=transmitter.issuer), encoding="utf-8")
    return str(file)


def test_check_says_who_answers(transmitter: Transmitter, streams: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` reports for each stream whether its transmitter answers, without consuming events."""
    transmitter.queue()
    assert main(["events", "check", "--streams", streams]) == 0
    told = capsys.readouterr().out
    assert "1 key" in told
    assert "waits for events at /idp" in told
    assert len(transmitter.waiting) == 1
    transmitter.instead["/keys"] = lambda handler: handler.send_error(503)
    assert main(["events", "check", "--streams", streams, "--json"]) == 1
    (idp, pushed) = json.loads(capsys.readouterr().out)
    assert (idp["stream"], idp["answers"], idp["delivery"]) == ("idp", False, "the endpoint answers")
    assert "503" in pushed["keys"]


def test_check_reports_every_mistake(streams: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Mistakes of the file are reported with line and column, before any connection is made."""
    file = Path(streams)
    file.write_text(file.read_text().replace("workforce", "staff").replace("/idp", "idp"), encoding="utf-8")
    assert main(["events", "check", "--streams", streams]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"riskd: {streams}:5:13: unknown domain 'staff' (known: customer, workforce, machine)",
        f"riskd: {streams}:14:18: path 'idp' is not a path such as /okta",
    ]


def test_check_says_what_token_is_refused(
    transmitter: Transmitter, streams: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` reports that the transmitter refuses the receiver's token."""
    bearer_file(tmp_path, "another")
    assert main(["events", "check", "--streams", streams]) == 1
    assert "the endpoint answers 401" in capsys.readouterr().out


def caller(name: str, role: str, *tenants: str) -> Caller:
    return Caller(
        name=name, methods=frozenset(in_full(role)), tenants=frozenset(tenants), token_sha256=(token_hash(name),)
    )


@pytest.mark.parametrize(
    ("token", "may"),
    [("all", [True, True]), ("one", [True, False]), ("web", [False, False]), ("nobody", [False, False])],
)
def test_check_says_whether_the_caller_may_tell(
    streams: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], token: str, may: list[bool]
) -> None:
    """`check` reports for each stream whether the caller may report its events to the service, without reporting
    any."""
    callers = [caller("all", "event_reporter", "*"), caller("one", "event_reporter", "acme")]
    guard = Guard(Callers([*callers, caller("web", "assessor", "*")]))
    log, store = ListLog(), MemoryStore()
    (tmp_path / "caller.token").write_text(token)
    with served(behind=Engine(parts(log=log, store=store), shipped_release()), guard=guard) as running:
        service = ("--target", f"127.0.0.1:{running.service.port}", "--token-file", str(tmp_path / "caller.token"))
        code = main(["events", "check", "--streams", streams, *service, "--json"])
        found = json.loads(capsys.readouterr().out)
        assert main(["events", "check", "--streams", streams, *service]) == code
        assert ("may report" in capsys.readouterr().out) == (True in may)
    assert (code, [each["answers"] for each in found]) == (0 if all(may) else 1, may)
    assert [each["caller"] == "may report" for each in found] == may
    assert (log.lines, store.size()[0]) == ([], 0)


@pytest.mark.parametrize("behind", [0.0, 600.0])
def test_a_service_whose_clock_is_behind_is_waited_for(behind: float) -> None:
    """If the service's clock is behind, an event is not lost: the difference is reported, and the event is retried."""
    event = SecurityEvent(domain="customer", subject="alex", kind="account_enabled", time=time.time())
    engine = Engine(parts(clock=lambda: time.time() - behind), shipped_release())
    with served(behind=engine) as running:
        send = sender(running.channel, 10.0, ())
        if not behind:
            send(event)
            return
        with pytest.raises(Away, match="clock is more than five minutes behind this machine's") as away:
            send(event)
        assert away.value.part == "riskd"
        with pytest.raises(Refused, match="time"):
            send(replace(event, time=1.0))


def test_check_says_that_the_service_is_away(streams: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` asks the service only if it is named, and reports that it does not answer."""
    with served() as running:
        address = f"127.0.0.1:{running.service.port}"
    assert main(["events", "check", "--streams", streams, "--target", address]) == 1
    assert "it answers UNAVAILABLE" in capsys.readouterr().out


def test_decode_shows_the_event(
    transmitter: Transmitter, streams: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`decode` prints the event that the receiver would report, and reports nothing."""
    file = tmp_path / "token"
    told = claims(transmitter.issuer, RISC + "credential-compromise", {"credential_type": "password"}, jti="t-1")
    file.write_text(sign(told), encoding="ascii")
    arguments = ["events", "decode", "--streams", streams, "--stream", "idp", str(file)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    for each in ("credential-compromise", "recorded", "alex@example.com", "workforce", "acme", "password"):
        assert each in shown
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["jti"], found["told"]["kind"]) == ("t-1", "credential_compromise")


def test_decode_reports_why_a_token_is_refused(
    transmitter: Transmitter, streams: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`decode` exits with 1 for a refused token, 3 if keys cannot be fetched, and 2 for misuse."""
    file = tmp_path / "token"
    file.write_text(sign(claims(transmitter.issuer), rsa_key(1)), encoding="ascii")
    arguments = ["events", "decode", "--streams", streams, str(file)]
    assert main(arguments) == 2
    assert "idp, pushed" in capsys.readouterr().err
    assert main([*arguments, "--stream", "idp"]) == 1
    assert "authentication_failed" in capsys.readouterr().out
    transmitter.instead["/keys"] = lambda handler: handler.send_error(503)
    assert main([*arguments, "--stream", "idp"]) == 3
    assert "503" in capsys.readouterr().err
    file.write_text("\n")
    assert main([*arguments, "--stream", "idp"]) == 2


def test_a_killed_receiver_neither_loses_nor_repeats_events(transmitter: Transmitter, streams: str) -> None:
    """A receiver that is killed reports again after a restart, and riskd counts a repeat once."""
    sent = [transmitter.queue(sub_id={"format": "email", "email": f"u{number}@example.com"}) for number in range(5)]
    with listening(Service()) as service:
        service.slow = 0.2
        with receiving(streams, service.address) as (process, _):
            assert service.begun.wait(20)
            process.kill()
            process.wait()
        assert transmitter.acknowledged == []
        service.slow = 0.0
        with receiving(streams, service.address):
            eventually(lambda: transmitter.acknowledged == sent)
        assert set(service.subjects) == {f"u{number}@example.com" for number in range(5)}
        repeats = {each.SerializeToString(deterministic=True) for each in service.told}
        assert len(repeats) == 5


def test_a_receiver_that_is_stopped_ends_well(transmitter: Transmitter, streams: str) -> None:
    """At SIGTERM the receiver acknowledges what was recorded and ends cleanly."""
    sent = transmitter.queue()
    with listening(Service()) as service, receiving(streams, service.address) as (process, ports):
        eventually(lambda: bool(service.told))
        request = urllib.request.Request(
            f"http://127.0.0.1:{ports['push']}/idp",
            sign(claims(transmitter.issuer)).encode(),
            {"Authorization": f"Bearer {BEARER}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 202
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert set(transmitter.acknowledged) == {sent}
        polled, pushed = service.told
        assert (polled.tenant, polled.domain) == ("acme", attempt_pb2.IDENTITY_DOMAIN_WORKFORCE)
        assert polled.risk_level_change.current_level == attempt_pb2.RISK_LEVEL_HIGH
        assert polled.issuer == transmitter.issuer
        assert (pushed.tenant, pushed.domain) == ("", attempt_pb2.IDENTITY_DOMAIN_CUSTOMER)


def test_events_are_reported_after_a_service_outage(transmitter: Transmitter, streams: str) -> None:
    """Events that arrive while the service is down are reported soon after it is back."""
    service = Service()
    with listening(service):
        port = int(service.address.rpartition(":")[2])
    first = transmitter.queue()
    with receiving(streams, service.address):
        eventually(lambda: len(transmitter.questions) == 1)
        with listening(service, port):
            eventually(lambda: first in transmitter.acknowledged)
        second = transmitter.queue()
        eventually(lambda: second not in transmitter.acknowledged and len(transmitter.questions) > 1)
        with listening(service, port):
            eventually(lambda: second in transmitter.acknowledged)
    assert len(service.told) == 2


def test_the_caller_s_token_is_shown(transmitter: Transmitter, streams: str, tmp_path: Path) -> None:
    """The receiver sends its caller's token like other clients."""
    transmitter.queue(CAEP + "credential-change", {"credential_type": "password", "change_type": "update"})
    file = tmp_path / "caller.token"
    file.write_text("a-caller\n", encoding="ascii")
    with listening(Service()) as service, receiving(streams, service.address, "--token-file", str(file)):
        eventually(lambda: bool(service.told))
        assert service.metadata[0]["authorization"] == "Bearer a-caller"
        assert service.told[0].credential_change.credential_type == "password"


@pytest.mark.parametrize(
    ("code", "part", "refused"),
    [
        (grpc.StatusCode.UNAVAILABLE, "riskd", False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "riskd", False),
        (grpc.StatusCode.UNIMPLEMENTED, "riskd", False),
        (grpc.StatusCode.INTERNAL, "riskd", False),
        (grpc.StatusCode.PERMISSION_DENIED, "caller", False),
        (grpc.StatusCode.UNAUTHENTICATED, "caller", False),
        (grpc.StatusCode.INVALID_ARGUMENT, "", True),
    ],
    ids=lambda each: getattr(each, "name", None),
)
def test_only_events_that_riskd_refuses_are_refused_to_the_transmitter(
    transmitter: Transmitter, streams: str, code: grpc.StatusCode, part: str, refused: bool
) -> None:
    """Only events that riskd refuses are refused to the transmitter; others are retried, the failing side is counted,
    and no log line quotes the service."""
    sent = transmitter.queue()
    with listening(Service()) as service:
        service.fails = code
        with receiving(streams, service.address) as (process, ports):
            if refused:
                eventually(lambda: list(transmitter.refused) == [sent])
            else:
                eventually(lambda: service.calls > 1)
                with urllib.request.urlopen(f"http://127.0.0.1:{ports['page']}/metrics", timeout=5) as page:
                    assert f'riskd_events_failures_total{{part="{part}",stream="idp"}}' in page.read().decode()
                assert (transmitter.acknowledged, transmitter.refused) == ([], {})
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=10)
        assert "alex" not in told


def test_a_receiver_may_speak_tls(transmitter: Transmitter, streams: str, tmp_path: Path) -> None:
    """With its own certificate the receiver serves TLS and refuses plaintext."""
    certificate, key = Authority().issue("riskd", hosts=["127.0.0.1"]).put(tmp_path, "push")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    more = ("--certificate", certificate, "--certificate-key", key)
    with listening(Service()) as service, receiving(streams, service.address, *more) as (_, ports):
        address = f"127.0.0.1:{ports['push']}/idp"
        body, shown = sign(claims(transmitter.issuer)).encode(), {"Authorization": f"Bearer {BEARER}"}
        request = urllib.request.Request(f"https://{address}", body, shown)
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            assert answer.status == 202
        with pytest.raises((urllib.error.URLError, OSError)):
            urllib.request.urlopen(urllib.request.Request(f"http://{address}", body, shown), timeout=10)
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            assert answer.status == 202


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--certificate", "none.pem"], "--certificate: needs --certificate-key"),
        (
            ["--certificate", "none.pem", "--certificate-key", "none.key"],
            "none.pem: cannot be read: No such file or directory",
        ),
        (["--push-host", "0.0.0.0"], "--push-host: 0.0.0.0 would take tokens in plaintext"),
        (["--token-file", "none"], "none: cannot be read"),
        (["--target", "nowhere"], "--target: 'nowhere' is not HOST:PORT"),
    ],
)
def test_flags_that_cannot_be_used_are_refused(
    streams: str, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unusable flags are refused before anything is received."""
    assert main(["events", "receive", "--streams", streams, *flags]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("action", ["receive", "check", "decode"])
def test_without_the_extra_it_is_named(
    streams: str, action: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the `events` extra, the command says what to install."""
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    assert main(["events", action, "--streams", streams]) == 2
    assert "pip install '.[events]'" in capsys.readouterr().err
