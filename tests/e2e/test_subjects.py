"""The rights of a subject, through socket, port, command line and files."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from riskd._proto.riskd.v1 import risk_pb2, subject_pb2, subject_pb2_grpc
from riskd._proto.riskd.v1.attempt_pb2 import IDENTITY_DOMAIN_CUSTOMER
from riskd.config import Settings
from riskd.core.learn import UNITS
from riskd.core.pseudonym import Pseudonyms
from riskd.core.stored import PLACE
from tests.e2e.service import EAGER, START, Service, attempt, eventually, riskd, serving, told

ANNE = "anne@example.org"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Service]:
    """A service of two workers, with its socket in the state directory."""
    with serving(tmp_path / "s", workers=2) as service:
        yield service


def lived(service: Service, who: str) -> str:
    """A proven sign-in; returns its assessment's id."""
    answer = service.assess(attempt(subject=who, request_id="r-1"))
    with service.stub() as stub:
        stub.RecordOutcome(
            risk_pb2.RecordOutcomeRequest(
                assessment_id=answer.assessment_id, confirmed_legitimate=risk_pb2.ConfirmedLegitimate()
            ),
            timeout=5,
        )
    return answer.assessment_id


def subject(service: Service, action: str, *arguments: str) -> dict[str, object]:
    """Run an action of `riskd subject`, and parse its JSON."""
    done = riskd("subject", action, ANNE, "--domain", "customer", "--json", *arguments, state=service.state)
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout)
    return said


def test_a_subject_is_shown_exported_and_erased(running: Service) -> None:
    """A subject's data are shown and exported in full; after an erasure and a compaction they are in no file, and
    nothing that riskd logs names the subject."""
    assessment = lived(running, ANNE)
    lived(running, "bert")
    assert subject(running, "show")["taughtUnits"] == str(UNITS)
    shown = riskd("subject", "show", ANNE, "--domain", "customer", state=running.state).stdout
    assert "known since   the week of 20" in shown, "riskd knows no day"
    done = riskd("subject", "export", ANNE, "--domain", "customer", state=running.state)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [record["kind"] for record in records]
    assert sorted(kinds) == ["activity", "decision_log", "decision_log", "profile", "receipt", "reply"]
    assert {record["content"].get("id") for record in records if record["kind"] in ("reply", "decision_log")} == {
        assessment,
        None,
    }

    erased = subject(running, "erase", "--yes")
    assert erased["erasedRecords"] == {"activity": "1", "profile": "1", "receipt": "1", "reply": "1"}
    assert subject(running, "show").get("knownSinceTime") is None
    assert riskd("subject", "export", ANNE, "--domain", "customer", state=running.state).stdout == ""
    with pytest.raises(grpc.RpcError) as unknown, running.stub() as stub:
        stub.RecordOutcome(
            risk_pb2.RecordOutcomeRequest(assessment_id=assessment, confirmed_fraud=risk_pb2.ConfirmedFraud()),
            timeout=5,
        )
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND

    assert json.loads(riskd("log", "--json", state=running.state).stdout)["erasures"] == 1
    assert running.stop() == 0
    compacted = riskd("log", "compact", "--json", state=running.state)
    done_now = json.loads(compacted.stdout)
    assert (done_now["lines"], done_now["left"]) == (2, 0)
    assert "erasures    0 pending" in riskd("log", state=running.state).stdout
    pepper = (running.state / "pepper").read_bytes().strip()
    place = Pseudonyms(pepper).digest("", "customer", "subject", ANNE)[:PLACE]
    files = [path for path in running.state.rglob("*") if path.is_file() and "store" not in path.parts]
    marks = (ANNE.encode(), place.hex().encode())
    assert [path for path in files if any(mark in path.read_bytes() for mark in marks)] == []
    assert len(running.decisions()) == 2


def test_only_the_user_itself_can_open_the_socket(service: Service) -> None:
    """Only riskd's user may use the socket; callers on the port can neither read nor erase."""
    socket = service.state / "subjects.sock"
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_ISSOCK(socket.stat().st_mode)
    with service.channel() as channel, pytest.raises(grpc.RpcError) as refused:
        subject_pb2_grpc.SubjectServiceStub(channel).EraseSubject(request(), timeout=5)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def request() -> subject_pb2.EraseSubjectRequest:
    return subject_pb2.EraseSubjectRequest(domain=IDENTITY_DOMAIN_CUSTOMER, subject=ANNE)


def test_on_the_port_where_the_operator_wants_it(tmp_path: Path) -> None:
    """With `subjects.serve` set to `port`, every worker answers there and counts it, and there is no socket."""
    with serving(tmp_path / "s", settings={"RISKD_SUBJECTS__SERVE": "port"}) as service:
        lived(service, ANNE)
        with service.channel() as channel:
            stub = subject_pb2_grpc.SubjectServiceStub(channel)
            erased = stub.EraseSubject(request(), timeout=5)
            assert erased.erased_records["receipt"] == 1
            assert time.time() < erased.log_erase_time.seconds < time.time() + 3 * 3600
            page = stub.ExportSubject(
                subject_pb2.ExportSubjectRequest(domain=IDENTITY_DOMAIN_CUSTOMER, subject=ANNE), timeout=5
            )
            assert not page.records
            for bad in ("?", "bA==x", "bP8="):
                with pytest.raises(grpc.RpcError) as refused:
                    stub.ExportSubject(
                        subject_pb2.ExportSubjectRequest(domain=IDENTITY_DOMAIN_CUSTOMER, subject=ANNE, page_token=bad),
                        timeout=5,
                    )
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert not (service.state / "subjects.sock").exists()
        handled = service.metric("grpc_server_handled_total", grpc_service="riskd.v1.SubjectService", grpc_code="OK")
        assert handled == 2


def test_nowhere_where_the_operator_wants_that(tmp_path: Path) -> None:
    """With `off` neither port nor socket answers, and the command line says so."""
    with serving(tmp_path / "s", settings={"RISKD_SUBJECTS__SERVE": "off"}) as service:
        assert not (service.state / "subjects.sock").exists()
        done = riskd("subject", "show", ANNE, "--domain", "customer", state=service.state)
        assert (done.returncode, done.stdout) == (3, "")
        assert "UNAVAILABLE" in done.stderr
        assert ANNE not in done.stderr


def test_the_socket_outlives_its_worker(running: Service) -> None:
    """If the worker dies, its replacement listens on the socket again."""
    first = running.workers()[0]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: running.workers()[0] != first)
    path = f"unix:{running.state}/subjects.sock"
    with grpc.insecure_channel(path, EAGER) as channel:
        answer = subject_pb2_grpc.SubjectServiceStub(channel).EraseSubject(request(), timeout=10, wait_for_ready=True)
    assert not answer.erased_records


def test_a_socket_has_one_service(running: Service) -> None:
    """A second service with the same sockets is refused; with other sockets it serves beside the first, and its stop
    leaves the first one's alone."""
    done = riskd(*START, state=running.state)
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.partition(":")[0] for line in told(done.stderr)] == ["subjects.socket", "release.socket"]
    assert "another riskd serve listens" in done.stderr
    others = {f"RISKD_{section}__SOCKET": str(running.state / f"2-{section}") for section in ("SUBJECTS", "RELEASE")}
    with serving(running.state / "beside", settings={"RISKD_STATE__DIR": str(running.state), **others}) as second:
        lived(second, ANNE)
    assert subject(running, "show")["taughtUnits"] == str(UNITS)
    assert not Path(others["RISKD_SUBJECTS__SOCKET"]).exists()
    with serving(running.state / "beside", settings={"RISKD_STATE__DIR": str(running.state), **others}) as second:
        second.process.kill()
        second.process.wait()
        with serving(running.state / "beside", settings={"RISKD_STATE__DIR": str(running.state), **others}):
            assert Path(others["RISKD_SUBJECTS__SOCKET"]).is_socket()


def test_a_port_for_everybody_is_refused(tmp_path: Path) -> None:
    """Serving subjects on a port beyond loopback without client certificates is refused at the start."""
    settings = {"RISKD_SUBJECTS__SERVE": "port", "RISKD_SERVER__HOST": "0.0.0.0"}
    done = riskd("settings", "--check", state=tmp_path, settings=settings)
    assert done.returncode == 2
    assert "subjects.serve" in done.stderr
    assert Settings().subjects.serve == "socket"


def test_nothing_is_erased_unasked(service: Service) -> None:
    """Without a terminal and without `--yes`, an erasure is refused."""
    lived(service, ANNE)
    done = riskd("subject", "erase", ANNE, "--domain", "customer", state=service.state)
    assert (done.returncode, "--yes" in done.stderr) == (2, True)
    assert subject(service, "show")["taughtUnits"] == str(UNITS)


def test_many_subjects_are_erased_from_a_file(running: Service) -> None:
    """Each line of a file is a subject to erase; a line that is refused is named by its number, and stops no other. The
    file can be given again. The command asks for confirmation, and names no subject."""
    for who in (ANNE, "bert", "zoë", "cleo"):
        lived(running, who)
    file, named = running.state / "closed.txt", ("--domain", "customer")
    file.write_bytes(f"\ufeff{ANNE}\r\n\n{'x' * 257}\nbert\nnobody\n".encode() + b"\xff\nzo\xc3\xab")
    asked = riskd("subject", "erase", "--file", "closed.txt", *named, state=running.state)
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    done = riskd("subject", "erase", "--file", "closed.txt", *named, "--yes", "--json", state=running.state)
    said = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (2, "")
    assert (said["erased"], said["unknown"], said["refused"], said["done_lines"]) == (4, 1, 2, 7)
    assert [each["where"] for each in said["first_refused"]] == ["line 3", "line 6"]
    assert said["erased_records"] == {"activity": 3, "profile": 3, "receipt": 3, "reply": 3}
    assert said["log_erase_time"] > "2026"
    file.write_text(f"{ANNE}\nbert\nzoë\n")
    again = riskd("subject", "erase", "--file", "-", *named, "--yes", state=running.state, said=file.read_text())
    told_again = again.stdout.splitlines()
    assert (again.returncode, told_again[0]) == (0, "erased from the store: nothing was kept")
    assert told_again[2] == "erased 3 subjects; nothing was kept of 3 of them, refused 0"
    assert running.stop() == 0
    compacted = json.loads(riskd("log", "compact", "--json", state=running.state).stdout)
    assert (compacted["lines"], compacted["left"]) == (6, 0)
    assert len(running.decisions()) == 2
    late = riskd("subject", "erase", "--file", "closed.txt", *named, "--yes", state=running.state)
    assert (late.returncode, "after line 0; the rest: tail -n +1 FILE | riskd subject" in late.stderr) == (3, True)
    assert ANNE not in asked.stderr + done.stdout + again.stdout + late.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["anne", "--file", "x"], "SUBJECT: goes into a line of --file"),
        ([], "SUBJECT: is needed (give it, or --file FILE"),
    ],
)
def test_one_subject_or_a_file(words: list[str], said: str, tmp_path: Path) -> None:
    """A subject is given by itself, or many by a file, and never both."""
    done = riskd("subject", "erase", *words, "--domain", "customer", "--yes", state=tmp_path)
    assert (done.returncode, said in done.stderr) == (2, True)
