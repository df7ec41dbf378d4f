"""docs/client.md as it stands: its modules are made, and its code, in an interpreter without riskd, asks real ones."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from riskd.core import record
from riskd.server.identity.callers import new_token, token_hash
from tests.e2e.service import LONDON, PATIENCE, ROOT, Service, eventually, serving
from tests.security.authority import Authority

PAGE: Final = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
CODE: Final = "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules, by the command of the page."""
    folder = tmp_path_factory.mktemp("app")
    (command,) = re.findall(r"^python (-m grpc_tools\.protoc .*)$", PAGE, re.MULTILINE)
    protos = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("proto/riskd/v1/*.proto"))]
    *words, pattern = shlex.split(command.replace("=app", f"={folder}"))
    assert pattern == "proto/riskd/v1/*.proto"
    subprocess.run([sys.executable, *words, *protos], cwd=ROOT, check=True, timeout=PATIENCE)
    (folder / "client.py").write_text(CODE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("client_doc")) as running:
        yield running


def played(app: Path, program: str, **given: object) -> Any:  # noqa: ANN401 - what the program prints last, as JSON
    """Run a program beside the page's code, in an interpreter that knows the libraries and not riskd."""
    begin = f"import json\nfrom client import *\nglobals().update({given!r})\n"
    begin += "assess.__defaults__ = (*assess.__defaults__[:-1], 5.0)\n"  # the machine is busy with other tests
    done = subprocess.run(
        [sys.executable, "-S", "-c", begin + program],
        env={"PYTHONPATH": sysconfig.get_path("purelib")},
        cwd=app,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def told(service: Service, assessment: str) -> list[str]:
    """The kinds of outcomes that the log has of an assessment."""
    found = service.decisions()
    return [each.kind for each in found if isinstance(each, record.OutcomeRecord) and each.assessment_id == assessment]


EXAMPLE: Final = "print(json.dumps(example(target, 'kim', address, lambda _: [], attempt)))"


def test_a_sign_in_is_asked_about_and_told_of(app: Path, service: Service) -> None:
    """What needs no challenge begins a session, and the log hears of it. The attempt, repeated, is the same one."""
    passed, assessment = played(app, EXAMPLE, target=service.address, address=LONDON, attempt="a-1")
    assert passed
    eventually(lambda: told(service, assessment) == ["session_established"])
    assert played(app, EXAMPLE, target=service.address, address=LONDON, attempt="a-1") == [True, assessment]


def test_a_challenge_is_put_and_told_of(app: Path, service: Service) -> None:
    """A script is challenged; without methods it goes no further, with both it does."""
    program = """
with connect(target) as channel:
    risk = risk_pb2_grpc.RiskServiceStub(channel)
    said = []
    for attempt, amr in (("b-1", []), ("b-2", ["pwd", "otp"])):
        requirement, assessment = assess(risk, attempt, "lee", address, user_agent="python-requests/2.32.3")
        said.append((requirement.satisfied, sign_in(risk, requirement, assessment, lambda _: amr), assessment))
print(json.dumps(said))
"""
    (_, first, failed), (_, second, passed) = played(app, program, target=service.address, address=LONDON)
    assert (first, second) == (False, True)
    eventually(lambda: told(service, passed) == ["challenge_passed", "session_established"])
    assert told(service, failed) == ["challenge_failed"]


def test_a_mistake_is_explained_by_field(app: Path, service: Service) -> None:
    """What riskd refuses has its reason and the field; the flow goes on without an answer."""
    program = """
with connect(target) as channel:
    risk = risk_pb2_grpc.RiskServiceStub(channel)
    requirement, assessment = assess(risk, "c-1", "", "nowhere")
    try:
        risk.Assess(risk_pb2.AssessRequest(), timeout=5)
    except grpc.RpcError as error:
        reason, fields = explain(error)
print(json.dumps([requirement == WITHOUT_ANSWER, assessment, reason, sorted(fields)]))
"""
    fields = ["domain", "journey", "network.client_ip", "subject"]
    assert played(app, program, target=service.address) == [True, "", "INVALID_ATTEMPT", fields]


def test_nobody_is_waited_for(app: Path) -> None:
    """With no service there the flow asks for what it asks for then, by its deadline; an outcome is to be kept."""
    program = """
import time
begun = time.monotonic()
with connect("127.0.0.1:1") as channel:
    risk = risk_pb2_grpc.RiskServiceStub(channel)
    requirement, assessment = assess(risk, "d-1", "kim", "192.0.2.7")
    seconds = time.monotonic() - begun
    kept = not tell(risk, "f" * 32, deadline=0.2, session_established=risk_pb2.SessionEstablished())
print(json.dumps([requirement == WITHOUT_ANSWER, assessment, seconds < 2, kept]))
"""
    assert played(app, program) == [True, "", True, True]


def test_tls_and_a_token(app: Path, tmp_path: Path) -> None:
    """Whoever shows the token of a caller is answered, over a connection that is encrypted."""
    authority = Authority()
    cert, key = authority.issue("localhost", hosts=["127.0.0.1", "localhost"]).put(tmp_path / "tls", "server")
    callers, token = tmp_path / "callers.toml", new_token()
    callers.write_text(f'[web]\ntoken_sha256 = ["{token_hash(token)}"]\nmethods = ["assessor"]\ntenants = [""]\n')
    settings = {"RISKD_SERVER__TLS_CERT": cert, "RISKD_SERVER__TLS_KEY": key, "RISKD_SERVER__CALLERS": str(callers)}
    program = """
said = []
for shown in (token, "riskd_" + "x" * 43):
    with connect(target, authorities.encode(), shown) as channel:
        requirement, assessment = assess(risk_pb2_grpc.RiskServiceStub(channel), "e-1", "kim", "192.0.2.7")
        said.append(bool(assessment))
print(json.dumps(said))
"""
    with serving(tmp_path / "state", settings=settings) as service:
        given = {"target": service.address, "authorities": authority.certificate.decode(), "token": token}
        assert played(app, program, **given) == [True, False]
