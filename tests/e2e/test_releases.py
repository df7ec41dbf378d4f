"""Releases from outside: swapped under load, rolled out, and managed through socket and port."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Final

import grpc
import pytest

from riskd._proto.riskd.v1 import release_pb2, release_pb2_grpc, risk_pb2, risk_pb2_grpc
from riskd.core.activation import ActivationRequest
from riskd.core.record import AssessmentRecord
from tests.e2e.service import EAGER, START, Service, attempt, eventually, riskd, serving, told
from tests.releases.candidates import created, releases

RATE: Final = 1000
"""The intended number of attempts per second."""
SWAP: Final = 0.1
SWAPS: Final = 20
MINUTES: Final = {2 * 60: "2m", 3 * 60: "3m"}


def whole(release: str) -> ActivationRequest:
    """A request to activate the release for all subjects."""
    return ActivationRequest(release=release, actor="test")


def lived_for(answer: risk_pb2.AssessResponse, begun: float) -> int:
    """Seconds that an answer is valid for, rounded to minutes, which identifies its policy."""
    return round((answer.valid_until_time.ToNanoseconds() / 1e9 - begun) / 60) * 60


class Load:
    """Callers that run until stopped, with their answers and errors."""

    def __init__(self, service: Service, callers: int) -> None:
        self.answered: Counter[tuple[str, int]] = Counter()
        self.errors: list[str] = []
        self._service = service
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call, args=(number, callers)) for number in range(callers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int, callers: int) -> None:
        found: Counter[tuple[str, int]] = Counter()
        with self._service.stub() as stub:
            due = time.monotonic()
            while not self._stop.is_set():
                due = max(due + callers / RATE, time.monotonic() - 0.1)
                self._stop.wait(max(0.0, due - time.monotonic()))
                begun = time.time()
                try:
                    answer = stub.Assess(attempt(subject=f"s-{number}-{sum(found.values()) % 50}"), timeout=10)
                    found[answer.release, lived_for(answer, begun)] += 1
                except grpc.RpcError as error:
                    self.errors.append(str(error))
        with self._lock:
            self.answered += found


def test_no_answer_is_of_two_releases(tmp_path: Path) -> None:
    """While two workers swap two releases every 100 ms under load, no call fails and each answer is of the release that
    it names."""
    state = tmp_path / "s"
    ids = {created(state, valid_for): seconds for seconds, valid_for in MINUTES.items()}
    releases(state).activate(whole(next(iter(ids))))
    with serving(state, workers=2) as service:
        host = releases(state)
        with Load(service, 8) as load:
            for swap in range(SWAPS):
                begun = time.monotonic()
                done = host.activate(whole(list(ids)[swap % 2]), 20.0)
                assert done.late == ()
                time.sleep(max(0.0, SWAP - (time.monotonic() - begun)))
        assert load.errors == []
        assert set(load.answered) == set(ids.items())
        assert not [event for event in service.events() if event["event"] in ("release_refused", "internal_error")]
        logged = logged_releases(service)
        told = Counter({release: count for (release, _), count in load.answered.items()})
        assert logged == told


def logged_releases(service: Service) -> Counter[str]:
    """The number of logged decisions by release."""
    return Counter(line.release for line in service.decisions() if isinstance(line, AssessmentRecord))


def test_workers_start_with_what_is_active(tmp_path: Path) -> None:
    """A service, and a worker that replaces a dead one, start with the active release; SIGHUP does not change it, and
    the metrics name it."""
    state = tmp_path / "s"
    first, second = (created(state, valid_for) for valid_for in MINUTES.values())
    releases(state).activate(whole(first))
    with serving(state, workers=2) as service:
        assert f"release {first}" in service.line
        done = riskd("release", "activate", second[:6], "--reason", "better", "--json", state=state)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["activation"]["release"] == second
        before = service.workers()
        os.kill(before[1], signal.SIGKILL)
        eventually(lambda: service.workers()[1] != before[1])
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: sum(event["event"] == "reloaded" for event in service.events()) == 2)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: service.assess(attempt()), range(16)))
        assert {answer.release for answer in answers} == {second}
        named = {(dict(key)["release"], dict(key)["role"]) for key in service.samples("riskd_release_info")}
        assert named == {(second, "active")}
        assert releases(state).rollback("test", "").late == ()
        assert service.assess(attempt()).release == first


def test_a_refused_release_leaves_the_last_good_one_active(tmp_path: Path) -> None:
    """A damaged release is refused by name, and the service keeps the previous one."""
    state = tmp_path / "s"
    first, second = (created(state, valid_for) for valid_for in MINUTES.values())
    releases(state).activate(whole(first))
    with serving(state, workers=2) as service:
        (releases(state).files.folders(second)[0] / "machine.yaml").write_text("domain: [")
        done = riskd("release", "activate", second, state=state)
        assert (done.returncode, done.stdout) == (2, "")
        assert "machine.yaml" in done.stderr
        assert service.assess(attempt()).release == first


@pytest.mark.parametrize("way", ["follow", "again"])
def test_a_service_that_cannot_load_the_active_release_says_how_to_go_on(tmp_path: Path, way: str) -> None:
    """If the active release has another hash now, because it was edited or this version has other features, a start is
    refused, and each of the ways that the message names leads on."""
    state = tmp_path / "s"
    first = created(state, "2m")
    releases(state).activate(whole(first))
    folders = releases(state).files.folders(first)
    policy = folders[0] / "customer.yaml"
    policy.write_text(policy.read_text().replace("valid_for: 2m", "valid_for: 3m"))
    refused = riskd(*START, state=state)
    assert refused.returncode == 2
    (said,) = told(refused.stderr)
    assert "was changed, or made by a riskd with other features" in said
    assert "first stop other versions of riskd" in said
    if way == "follow":
        assert "`riskd release follow`" in said
        assert riskd("release", "follow", state=state).returncode == 0
    else:
        assert "`riskd release create --policies --models`" in said
        again = ("--policies", str(folders[0]), "--models", str(folders[1]), "--json")
        made = riskd("release", "create", *again, state=state)
        assert riskd("release", "activate", json.loads(made.stdout)["release"]["id"], state=state).returncode == 0
    with serving(state) as service:
        begun = time.time()
        assert (lived_for(service.assess(attempt()), begun) == 180) == (way == "again")


def test_the_share_of_a_candidate_is_kept(tmp_path: Path) -> None:
    """At 30 %, three tenths of the subjects get the candidate within five standard deviations, always the same ones on
    any worker; at 60 % they keep it; log, metrics and the comparison of both releases agree."""
    state = tmp_path / "s"
    first, second = (created(state, valid_for) for valid_for in MINUTES.values())
    releases(state).activate(whole(first))
    names = [f"subject-{number}" for number in range(400)]
    with serving(state, workers=2) as service:

        def decided() -> dict[str, str]:
            with ExitStack() as stack, ThreadPoolExecutor(4) as pool:
                stubs = cycle([stack.enter_context(service.stub()) for _ in range(8)])  # of both workers
                return dict(zip(names, pool.map(ask, names, stubs), strict=True))

        def ask(name: str, stub: risk_pb2_grpc.RiskServiceStub) -> str:
            begun = time.time()
            answer = stub.Assess(attempt(subject=name), timeout=10)
            assert {first: 120, second: 180}[answer.release] == lived_for(answer, begun)
            return answer.release

        assert riskd("release", "activate", second, "--percent", "30", state=state).returncode == 0
        assert riskd("release", "compare", "--exit-code", state=state).returncode == 2  # nothing to compare yet
        once = decided()
        few = {name for name, release in once.items() if release == second}
        assert abs(len(few) - 120) < 5 * (400 * 0.3 * 0.7) ** 0.5
        assert decided() == once
        assert service.metric("riskd_rollout_assessments_total", role="candidate") == 2 * len(few)
        assert logged_releases(service)[second] == 2 * len(few)
        assert compared(state) == (800 - 2 * len(few), 2 * len(few))
        assert riskd("release", "activate", second, "--percent", "60", state=state).returncode == 0
        more = {name for name, release in decided().items() if release == second}
        assert few < more
        assert abs(len(more) - 240) < 5 * (400 * 0.6 * 0.4) ** 0.5
        assert compared(state) == (400 - len(more), len(more))


def compared(state: Path) -> tuple[int, int]:
    """The decisions of both releases, as `riskd release compare` counts them."""
    done = riskd("release", "compare", "--json", "--exit-code", state=state)
    assert done.returncode == 0, done.stderr
    (domain,) = json.loads(done.stdout)["domains"]
    assert {figure["active"]["total"] for figure in domain["figures"]} == {domain["figures"][0]["active"]["total"]}
    return domain["figures"][0]["active"]["total"], domain["figures"][0]["candidate"]["total"]


def test_the_service_on_the_socket(tmp_path: Path) -> None:
    """ReleaseService answers riskd's user on the socket and nobody on the port; errors explain the mistake."""
    state = tmp_path / "s"
    first, second = (created(state, valid_for) for valid_for in MINUTES.values())
    with serving(state, workers=2) as service:
        socket = state / "releases.sock"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        with service.channel() as channel, pytest.raises(grpc.RpcError) as closed:
            release_pb2_grpc.ReleaseServiceStub(channel).ListReleases(release_pb2.ListReleasesRequest(), timeout=5)
        assert closed.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with grpc.insecure_channel(f"unix:{socket}", EAGER) as channel:
            _asked(release_pb2_grpc.ReleaseServiceStub(channel), first, second)
        assert service.assess(attempt()).release not in (first, second)


def test_the_service_on_the_port(tmp_path: Path) -> None:
    """With `release.serve` set to `port`, every worker answers there; beyond loopback that needs client
    certificates."""
    state = tmp_path / "s"
    first, second = (created(state, valid_for) for valid_for in MINUTES.values())
    with serving(state, workers=2, settings={"RISKD_RELEASE__SERVE": "port"}) as service, service.channel() as channel:
        assert not (state / "releases.sock").exists()
        _asked(release_pb2_grpc.ReleaseServiceStub(channel), first, second)
        handled = service.metric("grpc_server_handled_total", grpc_service="riskd.v1.ReleaseService", grpc_code="OK")
        assert handled == 8
    exposed = {"RISKD_RELEASE__SERVE": "port", "RISKD_SERVER__HOST": "0.0.0.0"}
    done = riskd("settings", "--check", state=state, settings=exposed)
    assert (done.returncode, "release.serve" in done.stderr) == (2, True)


def _asked(stub: release_pb2_grpc.ReleaseServiceStub, first: str, second: str) -> None:
    """A list, an activation, a rollout, rollbacks to the initial state, and four mistakes."""
    page = stub.ListReleases(release_pb2.ListReleasesRequest(page_size=2), timeout=10)
    held = page.activation.active_release_id
    assert [each.release_id for each in page.releases] == [held, second]
    rest = stub.ListReleases(release_pb2.ListReleasesRequest(page_token=page.next_page_token), timeout=10)
    assert ([each.release_id for each in rest.releases], rest.next_page_token) == ([first], "")
    stub.ActivateRelease(release_pb2.ActivateReleaseRequest(release_id=first, actor="sre", reason="why"), timeout=20)
    wish = release_pb2.ActivateReleaseRequest(release_id=second, percent=5, actor="sre")
    done = stub.ActivateRelease(wish, timeout=20)
    assert list(done.late_processes) == []
    assert (done.activation.active_release_id, done.activation.candidate_release_id) == (first, second)
    back = stub.RollbackRelease(release_pb2.RollbackReleaseRequest(actor="sre"), timeout=20).activation
    assert (back.active_release_id, back.candidate_release_id, back.restored_number) == (first, "", 2)
    assert stub.ListReleases(release_pb2.ListReleasesRequest(), timeout=10).activation == back
    assert stub.GetRelease(release_pb2.GetReleaseRequest(release_id=first), timeout=10).release.actor == "test"
    mistakes = [
        (release_pb2.ActivateReleaseRequest(release_id=first), grpc.StatusCode.INVALID_ARGUMENT),
        (release_pb2.ActivateReleaseRequest(release_id=first, percent=5, actor="x"), grpc.StatusCode.INVALID_ARGUMENT),
        (release_pb2.ActivateReleaseRequest(release_id="0" * 16, actor="x"), grpc.StatusCode.NOT_FOUND),
    ]
    for wish, code in mistakes:
        with pytest.raises(grpc.RpcError) as refused:
            stub.ActivateRelease(wish, timeout=10)
        assert refused.value.code() is code
    back = stub.RollbackRelease(release_pb2.RollbackReleaseRequest(actor="sre"), timeout=20).activation
    assert back.active_release_id == held
    with pytest.raises(grpc.RpcError) as refused:
        stub.RollbackRelease(release_pb2.RollbackReleaseRequest(actor="sre"), timeout=10)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
