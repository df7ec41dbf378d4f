"""Nothing that riskd writes or prints identifies a person: a busy, failing service, and a search through all its
output."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from hashlib import md5, sha1, sha256
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest

from riskd._proto.riskd.v1 import attempt_pb2, risk_pb2, risk_pb2_grpc, subject_pb2, subject_pb2_grpc
from riskd.server.identity.callers import token_hash
from riskd.server.json_log import JsonFormatter
from tests.e2e.service import ROOT, Service, eventually, riskd, serving

ADDRESS = "2a02:c7f:1234:5678:9abc:def0:cafe:f00d"
FORWARDED = "2a02:c7f:4321:8765:abcd:beef:feed:face"
TOKEN = "riskd_canary-of-the-token-that-is-known"
CANARIES = {
    "subject": "canary-of-the-subject",
    "address": ADDRESS,
    "forwarded": FORWARDED,
    "user agent": "CanaryAgent/7.5 (of the browser)",
    "device id": "canary-of-the-device",
    "fingerprint": "canary-of-the-fingerprint",
    "session": "canary-of-the-session",
    "token": TOKEN,
    "wrong token": "riskd_canary-of-a-token-that-is-wrong",
    "token in a bad file": "riskd_canary-of-a-token-in-a-bad-file",
    "foreign tenant": "canary-of-a-foreign-tenant",
    "garbage": "canary-of-a-message-that-is-none",
    "pepper": "canary-of-the-pepper-that-keys",
    "imported subject": "canary-of-the-imported-subject",
    "imported address": "2a02:c7f:9999:8888:7777:6666:5555:4444",
}


def forms(canary: str) -> dict[str, bytes]:
    """The canary in every encoding in which it could be written, including unkeyed hashes, which a list of subjects can
    reverse."""
    raws = {"plain": canary.encode(), "utf-16": canary.encode("utf-16-le")}
    with suppress(ValueError):
        raws |= {"packed": ip_address(canary).packed, "exploded": ip_address(canary).exploded.encode()}
    raws |= {hash_.__name__: hash_(canary.encode()).digest() for hash_ in (md5, sha1, sha256)}
    found: dict[str, bytes] = {}
    for name, raw in raws.items():
        found |= {name: raw, f"{name}, reversed": raw[::-1], f"{name}, hex": raw.hex().encode()}
        found[f"{name}, HEX"] = raw.hex().upper().encode()
        found[f"{name}, quoted"] = quote(raw).encode()
        for shift in range(3):
            # The part of its base64 that does not depend on the bytes around it.
            whole = raw[shift:][: len(raw[shift:]) // 3 * 3]
            found[f"{name}, base64 at {shift}"] = base64.b64encode(whole)
            found[f"{name}, base64url at {shift}"] = base64.urlsafe_b64encode(whole)
    return found


ENCODED = {f"{name} ({form})": raw for name, canary in CANARIES.items() for form, raw in forms(canary).items()}


def seen(content: bytes) -> set[str]:
    """The canaries found in the content, each with its encoding."""
    return {name for name, raw in ENCODED.items() if raw in content}


@pytest.mark.parametrize("name", CANARIES)
def test_the_search_finds_what_it_looks_for(name: str) -> None:
    """The search finds a canary in every encoding, among other bytes and at any offset, and nothing where there is
    none."""
    assert seen(b"nothing of anybody" * 100) == set()
    for form, raw in forms(CANARIES[name]).items():
        assert f"{name} ({form})" in seen(b"x" * 7 + raw + b"y")
    for offset in range(3):
        text = base64.b64encode(b"z" * offset + CANARIES[name].encode() + b"zz")
        assert any("base64" in each for each in seen(text))


def attempt(**words: str) -> risk_pb2.AssessRequest:
    """An attempt with a canary in every field that could identify a person."""
    return risk_pb2.AssessRequest(
        tenant=words.get("tenant", "acme"),
        request_id=words.get("request_id", ""),
        domain=attempt_pb2.IDENTITY_DOMAIN_CUSTOMER,
        subject=words.get("subject", CANARIES["subject"]),
        journey=attempt_pb2.JOURNEY_LOGIN,
        credential_result=attempt_pb2.CREDENTIAL_RESULT_SUCCEEDED,
        network=attempt_pb2.Network(
            client_ip=words.get("ip", ADDRESS),
            forwarded=[FORWARDED, ADDRESS],
            ja4="t13d1516h2_8daaf6152771_b0da82dd1658",
        ),
        device=attempt_pb2.Device(
            user_agent=CANARIES["user agent"], device_id=CANARIES["device id"], fingerprint=CANARIES["fingerprint"]
        ),
        session=attempt_pb2.Session(id=CANARIES["session"]),
    )


def shown(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def drive(service: Service, callers: Path) -> list[str]:
    """Make every kind of call to a service, valid and invalid; return what the command line prints."""
    printed = []
    with service.channel() as channel:
        stub = risk_pb2_grpc.RiskServiceStub(channel)
        first = [attempt(request_id=f"r{number}") for number in range(20)]
        ids = [stub.Assess(each, timeout=10, metadata=shown(TOKEN)).assessment_id for each in first]
        stub.Assess(attempt(request_id="r1"), timeout=10, metadata=shown(TOKEN))
        batch = risk_pb2.BatchAssessRequest(requests=[attempt(), attempt(ip="999." + ADDRESS), attempt()])
        stub.BatchAssess(batch, timeout=10, metadata=shown(TOKEN))
        sent = [*batch.requests, attempt(tenant=CANARIES["foreign tenant"])]
        messages = [risk_pb2.StreamAssessRequest(request=each).SerializeToString() for each in sent]
        stream: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            "/riskd.v1.RiskService/StreamAssess"
        )
        list(stream(iter([*messages, CANARIES["garbage"].encode()]), timeout=10, metadata=shown(TOKEN)))
        for number, assessment in enumerate([*ids, "0" * 32, CANARIES["subject"]]):
            told = risk_pb2.RecordOutcomeRequest(assessment_id=assessment, tenant="acme")
            getattr(told, ("confirmed_legitimate", "confirmed_fraud", "session_established")[number % 3]).SetInParent()
            with suppress(grpc.RpcError):
                stub.RecordOutcome(told, timeout=10, metadata=shown(TOKEN))
        for subject in (CANARIES["subject"], CANARIES["subject"] * 400):
            event = risk_pb2.RecordSecurityEventRequest(
                tenant="acme", domain="IDENTITY_DOMAIN_CUSTOMER", subject=subject
            )
            event.account_disabled.hijacked = True
            with suppress(grpc.RpcError):
                stub.RecordSecurityEvent(event, timeout=10, metadata=shown(TOKEN))
        for request, token in (
            (attempt(ip=f"x{ADDRESS}"), TOKEN),
            (attempt(request_id="r1", ip=FORWARDED), TOKEN),
            (attempt(tenant=CANARIES["foreign tenant"]), TOKEN),
            (attempt(), CANARIES["wrong token"]),
            (attempt(subject=CANARIES["subject"] * 400), TOKEN),
        ):
            with pytest.raises(grpc.RpcError):
                stub.Assess(request, timeout=10, metadata=shown(token))
        raw: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/riskd.v1.RiskService/Assess")
        with pytest.raises(grpc.RpcError):
            raw(CANARIES["garbage"].encode(), timeout=10, metadata=shown(TOKEN))
        subjects = subject_pb2_grpc.SubjectServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            subjects.EraseSubject(subject_pb2.EraseSubjectRequest(subject=CANARIES["subject"]), timeout=10)
    good = callers.read_text()
    callers.write_text(good.replace(token_hash(TOKEN), CANARIES["token in a bad file"]))
    eventually(lambda: any(event["event"] == "files_refused" for event in service.events()))
    callers.write_text(good)
    service.process.send_signal(signal.SIGHUP)
    for action in ("show", "export"):
        done = riskd(
            *("subject", action, CANARIES["subject"], "--domain", "customer", "--tenant", "acme"),
            state=service.state,
            settings={"RISKD_PEPPER": CANARIES["pepper"]},
        )
        assert done.returncode == 0, done.stderr
        printed += [done.stdout, done.stderr]
    return printed


def imported(service: Service, settings: dict[str, str]) -> list[str]:
    """What an import beside the service prints."""
    line = json.loads((ROOT / "tests/data/imports/okta.jsonl").read_text().splitlines()[0])
    line["actor"]["id"] = line["actor"]["alternateId"] = CANARIES["imported subject"]
    line["client"]["ipAddress"] = CANARIES["imported address"]
    file = service.state.parent / "okta.jsonl"
    file.write_text(json.dumps(line) + "\n" + CANARIES["imported subject"] + " is no record\n")
    done = riskd("import", "okta", str(file), "--domain", "customer", state=service.state, settings=settings)
    return [done.stdout, done.stderr]


@pytest.mark.timeout(180)
def test_no_output_contains_plain_identifiers(tmp_path: Path) -> None:
    """Subjects, addresses, devices, sessions, tokens and the pepper appear, in any encoding, in no log line, file,
    store, metric or output, even at debug level and through refusals, broken files, an import and a dying worker."""
    callers, scratch = tmp_path / "callers.toml", tmp_path / "s" / "tmp"
    callers.write_text(
        f'[web]\ntoken_sha256 = ["{token_hash(TOKEN)}"]\ntenants = ["acme"]\n'
        'methods = ["assessor", "outcome_reporter", "event_reporter", "batch", "stream"]\n'
    )
    scratch.mkdir(parents=True)
    settings = {
        "RISKD_SERVER__CALLERS": str(callers),
        "RISKD_SERVER__LOG_LEVEL": "debug",
        "RISKD_PEPPER": CANARIES["pepper"],
        "TMPDIR": str(scratch),
    }
    with serving(tmp_path / "s", workers=2, settings=settings) as service:
        printed = [service.line, *drive(service, callers), *imported(service, settings)]
        assert all(re.search(r"^Max core file size +0 +0 ", limits(pid), re.MULTILINE) for pid in service.workers())
        dying = service.workers()[0]
        os.kill(dying, signal.SIGSEGV)
        eventually(lambda: service.workers()[0] != dying)
        printed.append(service.get("/metrics")[1])
        erased = riskd(
            *("subject", "erase", CANARIES["subject"], "--domain", "customer", "--tenant", "acme", "--yes"),
            state=service.state,
            settings=settings,
        )
        printed += [erased.stdout, erased.stderr]
        written = {file: file.read_bytes() for file in files(service.state)}
        assert service.stop() == 0
    written |= {file: file.read_bytes() for file in files(service.state)}
    assert {"data.mdb", "events.jsonl"} <= {file.name for file in written}
    assert sum(file.suffix == ".jsonl" for file in written) > 1
    assert 'grpc_code="Unauthenticated"' in printed[-3]
    found = {str(file.relative_to(tmp_path)): songs for file, content in written.items() if (songs := seen(content))}
    assert found == {}
    assert seen("\n".join(printed).encode()) == set()


def limits(pid: int) -> str:
    return Path(f"/proc/{pid}/limits").read_text()


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def line(record: logging.LogRecord) -> str:
    return JsonFormatter().format(record)


def test_texts_of_others_are_left_out() -> None:
    """An event has only the kind and the place of an exception, and only the place of a library's log line: their texts
    could quote a person."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    for name in ("riskd.test", "grpc._server"):
        logger = logging.Logger(name)  # noqa: LOG001 - of this test alone
        logger.addHandler(handler)
        try:
            int(CANARIES["subject"])
        except ValueError:
            logger.exception("failed" if name.startswith("riskd") else f"failed for {CANARIES['subject']}")
    ours, theirs = map(json.loads, stream.getvalue().splitlines())
    assert CANARIES["subject"] not in stream.getvalue()
    assert (ours["event"], ours["exception"]["kind"]) == ("failed", "ValueError")
    assert (theirs["event"], theirs["logger"]) == ("library", "grpc._server")
    assert "test_canaries.py" in theirs["at"] + str(ours["exception"]["place"])
