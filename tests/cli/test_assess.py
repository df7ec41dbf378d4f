"""`riskd assess` and `riskd outcome` against a served RiskService."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from msgspec.structs import replace

from riskd.cli import assess
from riskd.cli.client.assess import event_request, outcome_request
from riskd.cli.client.status import BAD_INPUT, FAILED, NO_ANSWER
from riskd.cli.events import command as events
from riskd.core.assessment import Assessment
from riskd.core.attempt import EVENTS, OUTCOMES, Attempt, Behaviour, Outcome, SecurityEvent
from riskd.core.errors import InvalidAttempt, InvalidEvent, InvalidOutcome, InvalidSettings, Problem
from riskd.core.requirement import Tier
from riskd.server import translate
from tests.security.authority import Authority
from tests.server.world import ANYWHERE, ASSESSMENT, Running, served

LOGIN = ("assess", "--domain", "customer", "--subject", "u-1", "--journey", "login", "--ip", "192.0.2.7")


@pytest.fixture
def running() -> Iterator[Running]:
    with served() as service:
        yield service


def run(*arguments: str) -> int:
    """Run one command line; its own errors are raised."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    for each in (assess, events):
        each.add_parser(commands)
    args = parser.parse_args(arguments)
    code: int = args.handler(args)
    return code


def target(running: Running) -> tuple[str, str]:
    return ("--target", f"127.0.0.1:{running.service.port}")


def test_flags_and_fields_arrive_in_the_core(running: Running) -> None:
    """Every kind of field can be given on the command line: words, lists, numbers, booleans, times, durations."""
    fields = (
        "device.languages=en,no",
        "device.mobile=true",
        "behaviour.form_duration=1.5s",
        "behaviour.pointer_events=7",
        "session.authentication_time=2026-01-01T00:00:00Z",
        "federation.protocol=oidc",
        "consent.purposes=device",
        "attributes.plan.kind=gold",
    )
    settings = [part for field in fields for part in ("--set", field)]
    assert run(*LOGIN, *settings, "--credential", "succeeded", *target(running)) == 0
    ((attempt, _),) = running.engine.attempts
    assert (attempt.domain, attempt.subject, attempt.journey) == ("customer", "u-1", "login")
    assert (attempt.credential_result, attempt.network.client_ip) == ("succeeded", "192.0.2.7")
    assert attempt.device is not None
    assert attempt.session is not None
    assert attempt.federation is not None
    assert (attempt.device.languages, attempt.device.mobile) == (("en", "no"), True)
    assert attempt.behaviour == Behaviour(form_seconds=1.5, pointer_events=7)
    assert (attempt.session.authentication_time, attempt.federation.protocol) == (1_767_225_600.0, "oidc")
    assert (attempt.consent, attempt.attributes) == (("device",), {"plan.kind": "gold"})


def test_a_file_is_the_json_form_of_the_request_and_flags_win(running: Running, tmp_path: Path) -> None:
    """A file holds the request in protobuf's JSON form, with either spelling of names; flags override it."""
    file = tmp_path / "attempt.json"
    file.write_text('{"subject": "u-2", "journey": "JOURNEY_PAYMENT", "network": {"clientIp": "192.0.2.9"}}')
    assert run("assess", str(file), "--subject", "u-3", *target(running)) == 0
    ((attempt, _),) = running.engine.attempts
    assert (attempt.subject, attempt.journey, attempt.network.client_ip) == ("u-3", "payment", "192.0.2.9")


def test_the_table_says_what_the_answer_says(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """The table shows the requirement, the reasons with contributions, the gaps, and the assessment id."""
    run(*LOGIN, *target(running))
    said = capsys.readouterr().out
    for part in ("STEP_UP", "0.2500 (medium)", "AAL2", "phr", "300 s", "hwk | pwd+otp", "NEW_DEVICE", "+1.50"):
        assert part in said
    for part in ("This device is new", "behaviour", "not_sent", "90%", ASSESSMENT.id):
        assert part in said


def test_json_is_the_json_form_of_the_response(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints the whole response, zeros included."""
    run(*LOGIN, "--json", *target(running))
    said = json.loads(capsys.readouterr().out)
    assert said["requirement"]["tier"] == "TIER_STEP_UP"
    assert said["degraded"] is False


def test_scripts_can_branch_on_the_tier(running: Running) -> None:
    """With `--exit-tier`, the exit code is 10 plus the tier."""
    assert run(*LOGIN, "--exit-tier", *target(running)) == 10 + Tier.STEP_UP


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("--set", "device.colour=red"), "device.colour"),
        (("--set", "subject.first=x"), "subject.first"),
        (("--set", "device=x"), "device"),
        (("--set", "journey=logon"), "journey"),
        (("--credential", "checked"), "credential_result"),
        (("--set", "device.mobile=perhaps"), "device.mobile"),
        (("--set", "event_time=yesterday"), "event_time"),
        (("--set", "subject"), "--set"),
        (("/nowhere/attempt.json",), "/nowhere/attempt.json"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(arguments: tuple[str, ...], where: str) -> None:
    """The error names the field or flag as the caller wrote it."""
    with pytest.raises((InvalidAttempt, InvalidSettings)) as caught:
        run("assess", *arguments)
    assert [problem.where for problem in caught.value.problems] == [where]


@pytest.mark.parametrize("word", ["checked", "fail", "unspecified", ""])
def test_an_unknown_name_is_reported_with_the_valid_ones(word: str) -> None:
    """An unknown or abbreviated word is refused with the list of valid ones."""
    with pytest.raises(InvalidAttempt) as caught:
        run(*LOGIN, "--credential", word)
    assert caught.value.problems[0].what == f"{word!r} is not one of not_checked, succeeded, failed"


@pytest.mark.parametrize("document", ["[]", "", '"login"', "null"])
def test_a_file_without_an_object_is_no_empty_attempt(document: str, tmp_path: Path) -> None:
    """A file that is no JSON object is refused as that, not for missing fields."""
    file = tmp_path / "attempt.json"
    file.write_text(document)
    with pytest.raises(InvalidAttempt) as caught:
        run("assess", str(file))
    assert [problem.what for problem in caught.value.problems] == ["is not a JSON object"]


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    """All mistakes of a command line are reported at once."""
    file = tmp_path / "attempt.json"
    file.write_text("{")
    with pytest.raises(InvalidAttempt) as caught:
        run("assess", str(file), "--set", "a=1", "--set", "b=2")
    assert [problem.where for problem in caught.value.problems] == [str(file), "a", "b"]


SAID = [
    ('{"domain": "customers"}', "domain: 'customers' is not one of customer, workforce, machine"),
    ('{"subjct": "x"}', "subjct: riskd.v1.AssessRequest has no field 'subjct' (did you mean subject?)"),
    ('{"network": {"rtt": "40ms"}}', "network.rtt: '40ms' is not a duration (write seconds, such as 0.04s)"),
    ('{"eventTime": "today"}', "event_time: 'today' is not a time (write it as 2026-01-31T12:00:00Z)"),
    ('{"device": "phone"}', "device: is a group of fields (set one of them, such as device.user_agent)"),
    ('{"subject": 7}', "subject: expected string or bytes-like object, got 'int'"),
    (
        '{"subject": "x"',
        "FILE:1:16: is not JSON: Expecting ',' delimiter (write the JSON form of riskd.v1.AssessRequest)",
    ),
]


@pytest.mark.parametrize(("document", "said"), SAID)
def test_a_mistake_in_a_file_has_its_field_and_remedy(document: str, said: str, tmp_path: Path) -> None:
    """A mistake in a file is reported by field with a remedy, in riskd's words."""
    file = tmp_path / "attempt.json"
    file.write_text(document)
    with pytest.raises(InvalidAttempt) as caught:
        run("assess", str(file))
    assert str(caught.value).replace(str(file), "FILE") == said


def test_a_file_may_be_as_short_as_the_flags(running: Running, tmp_path: Path) -> None:
    """In a file, enum words may lack their prefix, and null means absent."""
    file = tmp_path / "attempt.json"
    file.write_text(
        '{"domain": "machine", "subject": "s", "journey": "session", "network": {"client_ip": "192.0.2.9"},'
        ' "credentialResult": "CREDENTIAL_RESULT_FAILED", "federation": {"protocol": "saml"}, "tenant": null}'
    )
    assert run("assess", str(file), *target(running)) == 0
    ((attempt, _),) = running.engine.attempts
    assert (attempt.domain, attempt.journey, attempt.tenant) == ("machine", "session", "")
    assert attempt.federation is not None
    assert (attempt.credential_result, attempt.federation.protocol) == ("failed", "saml")


def test_each_flag_adds_to_what_was_said_before(running: Running, tmp_path: Path) -> None:
    """Entries of a map from the file and from flags are merged."""
    file = tmp_path / "attempt.json"
    file.write_text('{"attributes": {"a": "1", "b": "2"}}')
    more = ("--set", "attributes.b=3", "--set", "attributes.c=4")
    assert run(LOGIN[0], str(file), *LOGIN[1:], *more, *target(running)) == 0
    ((attempt, _),) = running.engine.attempts
    assert attempt.attributes == {"a": "1", "b": "3", "c": "4"}


def test_violations_are_listed_and_exit_2(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """Violations from the service are listed by field, and the exit code is 2."""

    def refuse(attempt: Attempt) -> NoReturn:
        raise InvalidAttempt([Problem("subject", "missing", "send one"), Problem("network.rtt_ms", "too long")])

    running.engine.answer = refuse
    assert run("assess", *target(running)) == BAD_INPUT
    said = capsys.readouterr().err
    assert "INVALID_ARGUMENT INVALID_ATTEMPT" in said
    assert "  subject: missing; send one" in said
    assert "  network.rtt: too long" in said


def test_no_answer_in_time_exits_3(capsys: pytest.CaptureFixture[str]) -> None:
    """If no server answers, the exit code is 3 and the message suggests `riskd serve`."""
    assert run(*LOGIN, "--target", "127.0.0.1:1") == NO_ANSWER
    said = capsys.readouterr().err
    assert said.startswith("riskd: UNAVAILABLE:")
    assert "`riskd serve`" in said


def test_other_errors_exit_1(running: Running) -> None:
    """An unknown assessment gives exit code 1."""
    assert run("outcome", "f" * 32, "confirmed_fraud", *target(running)) == FAILED


def test_an_outcome_is_reported(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """Kind, methods and duration arrive, and the taught units are printed."""
    arguments = ("outcome", ASSESSMENT.id, "challenge_passed", "--amr", "pwd,otp", "--seconds", "4.5")
    assert run(*arguments, *target(running)) == 0
    ((outcome, _),) = running.engine.outcomes
    assert outcome == Outcome(assessment_id=ASSESSMENT.id, kind="challenge_passed", amr=("pwd", "otp"), seconds=4.5)
    assert capsys.readouterr().out == "recorded; the attempt has taught 3 units of trust\n"


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("f" * 31, "confirmed_fraud"), "assessment_id"),
        (("f" * 32, "challenge_passed", "--seconds", "1e300"), "seconds"),
    ],
)
def test_an_invalid_outcome_is_refused_before_anything_is_sent(arguments: tuple[str, ...], where: str) -> None:
    """The error names what is wrong with the outcome, whether or not a service is running."""
    with pytest.raises(InvalidOutcome) as caught:
        run("outcome", *arguments, "--target", "127.0.0.1:1")
    assert [problem.where for problem in caught.value.problems] == [where]


@pytest.mark.parametrize("kind", OUTCOMES)
def test_every_outcome_can_be_reported(kind: str) -> None:
    """The command line can report every kind of outcome."""
    outcome = Outcome(assessment_id="a" * 32, kind=kind, tenant="t")
    assert translate.outcome(outcome_request(outcome)) == outcome


def test_methods_without_a_challenge_are_refused() -> None:
    """Methods with an outcome that has none are refused, not ignored."""
    with pytest.raises(InvalidOutcome):
        outcome_request(Outcome(assessment_id="a" * 32, kind="confirmed_fraud", amr=("pwd",)))


ABOUT = ("--domain", "workforce", "--subject", "u-1")


def test_a_security_event_is_reported(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """A security event arrives with all its fields."""
    more = ("--level", "high", "--issuer", "https://idp.example", "--tenant", "acme", "--time", "2026-01-31T12:00Z")
    assert run("events", "tell", "risk_level_change", *ABOUT, *more, *target(running)) == 0
    assert run("events", "tell", "account_disabled", *ABOUT, "--hijacked", "--json", *target(running)) == 0
    assert [event for event, _ in running.engine.events] == [
        SecurityEvent(
            domain="workforce",
            subject="u-1",
            kind="risk_level_change",
            tenant="acme",
            time=1_769_860_800.0,
            issuer="https://idp.example",
            level="high",
        ),
        SecurityEvent(domain="workforce", subject="u-1", kind="account_disabled", hijacked=True),
    ]
    assert capsys.readouterr().out == "recorded\n{}\n"


@pytest.mark.parametrize("kind", EVENTS)
def test_every_security_event_can_be_reported(kind: str) -> None:
    """The command line can report every kind of security event."""
    said = {"risk_level_change": {"level": "medium"}, "account_disabled": {"hijacked": True}}
    more = said.get(kind, {"credential_type": "pin"} if kind.startswith("credential") else {})
    event = SecurityEvent(domain="machine", subject="a", kind=kind, tenant="t", time=1.75e9, **more)  # type: ignore[arg-type]
    assert translate.security_event(event_request(event)) == event


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (("risk_level_change",), ["risk_level_change.level"]),
        (("credential_change",), ["credential_change.credential_type"]),
        (("account_enabled", "--level", "high", "--hijacked"), ["account_enabled.level", "account_enabled.hijacked"]),
    ],
)
def test_an_event_that_says_too_little_or_too_much_is_refused(words: tuple[str, ...], where: list[str]) -> None:
    """Missing and superfluous fields of an event are all reported at once."""
    with pytest.raises(InvalidEvent) as refused:
        run("events", "tell", *words, *ABOUT)
    assert [problem.where for problem in refused.value.problems] == where


@pytest.fixture
def pems(tmp_path: Path) -> dict[str, str]:
    """PEM files by name."""
    authority = Authority()
    client, other = authority.issue("client"), authority.issue("other")
    contents = {"ca": authority.certificate, "cert": client.certificate, "key": client.key, "other": other.key}
    contents |= {
        "words": b"no PEM\n",
        "binary": b"\xff\xfe",
        "noted": "# Főtanúsítvány\n".encode() + authority.certificate,
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.pem").write_bytes(content)
    return {name: str(tmp_path / f"{name}.pem") for name in contents}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--ca", "/nowhere/ca.pem"), "/nowhere/ca.pem: cannot be read"),
        (("--ca", "words"), "words.pem: holds no PEM certificate"),
        (("--ca", "key"), "key.pem: holds no PEM certificate"),
        (("--ca", "binary"), "binary.pem: holds no PEM certificate"),
        (("--ca", "noted", "--cert", "cert"), "--cert: needs --key"),
        (("--ca", "ca", "--cert", "cert"), "--cert: needs --key"),
        (("--ca", "ca", "--key", "key"), "--key: needs --cert"),
        (("--ca", "ca", "--cert", "cert", "--key", "other"), "cannot be used: key values mismatch"),
        (("--ca", "ca", "--cert", "words", "--key", "key"), "cannot be used: not pem"),
        (("--cert", "cert", "--key", "key"), "--cert: is not used without TLS"),
    ],
)
def test_certificates_that_cannot_be_used_are_refused(flags: tuple[str, ...], said: str, pems: dict[str, str]) -> None:
    """An unusable certificate or key is refused by file or flag before anything is sent."""
    with pytest.raises(InvalidSettings, match=re.escape(said)):
        run(*LOGIN, *(pems.get(flag, flag) for flag in flags))


@pytest.mark.parametrize("words", ["localhost", "127.0.0.1", "::1", "127.0.0.1:", ":50551", "host:port"])
def test_a_target_has_a_port(words: str) -> None:
    """A target without a port is refused, because gRPC would use 443."""
    with pytest.raises(InvalidSettings, match="--target: "):
        run(*LOGIN, "--target", words)


def test_the_parser_loads_no_grpc() -> None:
    """Building the parser loads no grpc, so that `--help` is fast and workers can be forked."""
    program = "import sys, riskd.cli.assess; sys.exit('grpc' in sys.modules or 'google.protobuf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=30).returncode == 0


def lines(*subjects: str) -> str:
    return "".join(json.dumps({"subject": subject, "request_id": f"r-{subject}"}) + "\n" for subject in subjects)


def test_a_stream_answers_every_line_in_order(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--stream`, there is one answer per line, with the attempt's id; flags apply to all lines, and a refused
    attempt gives exit code 2."""

    def judge(attempt: Attempt) -> Assessment:
        if attempt.subject == "7":
            raise InvalidAttempt([Problem("subject", "is unlucky")])
        return replace(ASSESSMENT, id=attempt.subject)

    running.engine.answer = judge
    file = tmp_path / "attempts.jsonl"
    file.write_text(lines(*map(str, range(1000))) + "\n")
    assert run("assess", "--stream", str(file), "--domain", "customer", *target(running)) == BAD_INPUT
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["requestId"] for each in told] == [f"r-{number}" for number in range(1000)]
    assert [each["response"]["assessmentId"] for each in told if "response" in each] == [
        str(number) for number in range(1000) if number != 7
    ]
    assert "is unlucky" in told[7]["error"]["message"]
    assert {attempt.domain for attempt, _ in running.engine.attempts} == {"customer"}


def test_a_stream_that_ends_by_itself_is_followed_by_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the server ends a stream, the client opens another; every line gets one answer, and attempts without an id get
    one."""
    with served(replace(ANYWHERE, stream_age_s=0.1)) as running:

        def slow(attempt: Attempt) -> Assessment:
            time.sleep(0.001)
            return replace(ASSESSMENT, id=attempt.subject)

        running.engine.answer = slow
        file = tmp_path / "attempts.jsonl"
        file.write_text("".join(json.dumps({"subject": str(number)}) + "\n" for number in range(1000)))
        assert run("assess", "--stream", str(file), *target(running)) == 0
        assert len(running.meter.calls) > 2
        assert all(attempt.request_id for attempt, _ in running.engine.attempts)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["response"]["assessmentId"] for each in told] == [str(number) for number in range(1000)]


@pytest.mark.parametrize(
    "line",
    [b"{", b'{"subject": %s}' % (b"9" * 5000), b'{"a": %s' % (b"[" * 100_000), b'{"subject": "M\xfcller"}'],
    ids=["truncated", "a number too long", "nested too deeply", "not UTF-8"],
)
def test_a_stream_stops_at_a_line_that_is_no_attempt(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    """At an invalid line the stream stops; earlier lines are answered, and the line number is reported."""
    file = tmp_path / "attempts.jsonl"
    file.write_bytes(lines("1", "2").encode() + line + b"\n" + lines("3").encode())
    with file.open(encoding="utf-8") as opened:
        monkeypatch.setattr(sys, "stdin", opened)
        for named in (str(file), "-"):
            assert run("assess", "--stream", named, *target(running)) == BAD_INPUT
            told = capsys.readouterr()
            assert len(told.out.splitlines()) == 2
            assert "line 3" in told.err


def test_a_stream_without_answers_is_given_up(running: Running, tmp_path: Path) -> None:
    """A stream without answers for `--timeout` seconds ends with exit code 3, as without a server."""
    held = threading.Event()

    def never(_: Attempt) -> Assessment:
        assert held.wait(10)
        return ASSESSMENT

    running.engine.answer = never
    file = tmp_path / "attempts.jsonl"
    file.write_text(lines("1"))
    assert run("assess", "--stream", str(file), "--timeout", "0.3", *target(running)) == NO_ANSWER
    held.set()
    assert run("assess", "--stream", str(file), "--target", "127.0.0.1:1") == NO_ANSWER
