"""The process tree seen from outside, with real processes, signals and monitor."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from riskd.config import load
from riskd.core.errors import InvalidSettings
from riskd.host.listener import Listener, Reply, Request
from riskd.server.processes import tree as processes
from riskd.server.processes.board import Board
from riskd.server.processes.supervisor import reserved, reserved_addresses
from riskd.server.processes.tree import BACKOFF_SECONDS, CRASHED, SETTLED_SECONDS, ProcessTree, Task

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0


class Tree:
    """A running `tree.py`, and the facts that it printed when it was ready."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.facts: dict[str, Any] = {}

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        word, _, facts = self.process.stdout.readline().partition(" ")
        assert word == "ready"
        self.facts = json.loads(facts)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.facts["metrics"].replace("/metrics", path), timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, series: str) -> float:
        lines = self.get("/metrics")[1].splitlines()
        return float(next((line.split()[-1] for line in lines if line.startswith(f"{series} ")), "nan"))

    def end(self) -> tuple[int, str]:
        out, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out


@contextmanager
def running(*kinds: str, grace: float = 5.0, hung: float = 60.0, refused: int = 0) -> Iterator[Tree]:
    command = [sys.executable, str(ROOT / "tests/server/tree.py"), f"{grace}/{hung}/{refused or ''}", *kinds]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, cwd=ROOT
    )
    with process:
        try:
            yield Tree(process)
        finally:
            process.kill()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_ready_once_all_serve_and_drained_at_sigterm() -> None:
    """The tree is ready once all workers serve; SIGTERM stops all of them, and the exit code is 0."""
    with running("serve", "serve") as tree:
        tree.wait_ready()
        assert tree.facts["address"] == "127.0.0.1:1"
        assert tree.get("/readyz")[0] == 200
        assert tree.get("/healthz") == (200, "ok\n")
        assert tree.get("/secret")[0] == 404
        assert tree.metric("riskd_workers_serving") == 2
        assert tree.metric('riskd_process_resident_bytes{process="worker-1"}') > 1_000_000
        tree.process.send_signal(signal.SIGTERM)
        assert tree.end() == (0, "")
        assert not any(alive(pid) for pid in tree.facts["pids"].values())


def test_files_are_not_polled_until_all_serve() -> None:
    """While workers load, no process polls files for changes."""
    with running("serve") as tree:
        tree.wait_ready()
        assert tree.facts["asked"] == 0


def test_a_killed_worker_is_replaced_and_its_counters_continue() -> None:
    """A killed worker is replaced by a new process, and its counts are kept."""
    with running("serve", "serve") as tree:
        tree.wait_ready()
        assert tree.metric('riskd_failures_total{part="store"}') == 2
        os.kill(tree.facts["pids"]["worker-0"], signal.SIGKILL)
        eventually(lambda: tree.metric('riskd_failures_total{part="store"}') == 3)
        eventually(lambda: tree.metric("riskd_workers_serving") == 2)
        assert tree.metric("riskd_worker_restarts_total") == 1
        assert tree.metric("riskd_workers") == 2


@pytest.mark.parametrize("times", [1, 1100])
def test_a_failed_fork_is_tried_again(times: int) -> None:
    """If a worker cannot be started, the supervisor keeps trying, and the other workers continue."""
    with running("serve", "serve", refused=times) as tree:
        tree.wait_ready()
        pids = tree.facts["pids"]
        os.kill(pids["worker-0"], signal.SIGKILL)
        eventually(lambda: tree.metric("riskd_worker_restarts_total") == times + 1)
        eventually(lambda: tree.metric("riskd_workers_serving") == 2)
        assert alive(pids["worker-1"])
        assert len(children(tree.process.pid)) == 3


def test_a_worker_is_replaced_once_there_are_files() -> None:
    """If the supervisor may open no more files, it keeps trying to replace a dead worker, and the others continue."""
    with running("serve", "serve") as tree:
        tree.wait_ready()
        pids, (_, most) = tree.facts["pids"], resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.prlimit(tree.process.pid, resource.RLIMIT_NOFILE, (3, most))
        os.kill(pids["worker-0"], signal.SIGKILL)
        eventually(lambda: tree.metric("riskd_worker_restarts_total") >= 2)
        assert alive(pids["worker-1"])
        resource.prlimit(tree.process.pid, resource.RLIMIT_NOFILE, (most, most))
        eventually(lambda: tree.metric("riskd_workers_serving") == 2)
        assert alive(pids["worker-1"])


def test_restarts_come_ever_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that keeps dying is restarted after pauses that double up to a bound. After one that has lived for a
    while, they start again from the shortest."""
    now = 1000.0
    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=lambda: now))
    tree = ProcessTree([Task("worker-0", print)], Board(["worker-0"]), 0.0, print)
    tree._was_ready = True
    (child,), pauses = tree._children, list[float]()
    for lived in [0.0] * 9 + [SETTLED_SECONDS, 0.0]:
        child.started_at, now = now, now + lived
        tree._restart_later(child, CRASHED, {})
        pauses.append(child.backoff)
        assert child.start_at == now + child.backoff
    first, most = BACKOFF_SECONDS
    assert pauses == [*(first * 2**number for number in range(7)), most, most, first, 2 * first]


def test_killed_monitor_is_replaced() -> None:
    """The monitor is supervised like a worker."""
    with running("serve") as tree:
        tree.wait_ready()
        parent, monitor = tree.process.pid, tree.facts["pids"]["monitor"]
        os.kill(monitor, signal.SIGKILL)
        eventually(lambda: len(set(children(parent)) - {monitor}) == 2)
        tree.process.send_signal(signal.SIGTERM)
        assert tree.end()[0] == 0


def test_sighup_reaches_every_worker() -> None:
    """SIGHUP makes every worker reload."""
    with running("serve", "serve") as tree:
        tree.wait_ready()
        tree.process.send_signal(signal.SIGHUP)
        eventually(lambda: tree.metric('riskd_failures_total{part="reload"}') == 2)


def test_refused_configuration_ends_the_start() -> None:
    """If workers refuse the configuration, the tree ends with code 2 and prints each problem once."""
    with running("refuse", "refuse", "serve") as tree:
        assert tree.end() == (2, "problem store.kind: is wrong (mend it)\n")


def test_a_stop_is_no_refusal() -> None:
    """SIGTERM ends with 0 even if a replacement worker is just refusing a configuration that has become invalid."""
    with running("refuse_again") as tree:
        tree.wait_ready()
        os.kill(tree.facts["pids"]["worker-0"], signal.SIGKILL)
        eventually(lambda: tree.metric('riskd_failures_total{part="callers"}') == 1)
        tree.process.send_signal(signal.SIGTERM)
        assert tree.end() == (0, "")


def test_what_is_told_to_stop_is_never_ready() -> None:
    """A tree that is told to stop while a worker loads does not become ready when that worker serves."""
    with running("late") as tree:
        assert tree.end() == (0, "")


def test_crash_at_every_start_ends_the_start() -> None:
    """If a worker never comes up, the supervisor gives up after some tries."""
    with running("crash") as tree:
        assert tree.end() == (1, "")


def test_a_worker_that_does_not_drain_is_killed_after_the_grace_period() -> None:
    """A worker that does not stop is killed after the grace period."""
    with running("hang", grace=0.0) as tree:
        tree.wait_ready()
        tree.process.send_signal(signal.SIGTERM)
        assert tree.end()[0] == 0
        assert not alive(tree.facts["pids"]["worker-0"])


def test_only_the_hung_worker_is_replaced() -> None:
    """A worker that shows no sign of life is killed and replaced; the others are left alone."""
    with running("serve", "hang", hung=3.0) as tree:
        tree.wait_ready()
        pids = tree.facts["pids"]
        eventually(lambda: not alive(pids["worker-1"]))
        eventually(lambda: tree.metric("riskd_worker_restarts_total") >= 1)
        assert alive(pids["worker-0"])
        assert alive(pids["monitor"])


def test_a_hung_worker_that_does_not_die_does_not_serve() -> None:
    """A worker that hangs and cannot be killed, because it waits for a dead disk, no longer counts as serving: alerts
    and probes would take the service for a healthy one."""
    with running("serve", "stuck", hung=3.0) as tree:
        tree.wait_ready()
        eventually(lambda: tree.get("/readyz") == (200, "ready, without: store, worker-1\n"))
        assert tree.metric("riskd_workers_serving") == 1
        assert alive(tree.facts["pids"]["worker-1"])


def test_a_pause_of_the_whole_tree_is_no_hang() -> None:
    """If all processes are paused together, as in a frozen virtual machine, none is killed."""
    with running("serve", "serve", hung=6.0) as tree:  # a check each second, of which two in a row must fail
        tree.wait_ready()
        everybody = [*tree.facts["pids"].values(), tree.process.pid]
        for order, seconds in ((signal.SIGSTOP, 7.0), (signal.SIGCONT, 4.0)):
            for pid in everybody:
                os.kill(pid, order)
            time.sleep(seconds)
        assert all(alive(pid) for pid in everybody)
        assert tree.metric("riskd_worker_restarts_total") == 0


def test_second_signal_stops_at_once() -> None:
    """A second signal ends the tree without waiting for the grace period."""
    with running("hang", grace=600.0) as tree:
        tree.wait_ready()
        tree.process.send_signal(signal.SIGTERM)
        tree.process.send_signal(signal.SIGINT)
        assert tree.end()[0] == 0


def test_ready_as_long_as_any_worker_serves() -> None:
    """The tree is ready while any worker serves, and names the missing one."""
    with running("serve", "serve", refused=10**9) as tree:
        tree.wait_ready()
        os.kill(tree.facts["pids"]["worker-0"], signal.SIGKILL)
        eventually(lambda: tree.get("/readyz") == (200, "ready, without: store, worker-0\n"))
        os.kill(tree.facts["pids"]["worker-1"], signal.SIGKILL)
        eventually(lambda: tree.get("/readyz")[0] == 503)


def test_not_ready_while_a_worker_drains() -> None:
    """While workers drain, the monitor still runs and reports that the tree is not ready."""
    with running("serve", "hang", grace=600.0) as tree:
        tree.wait_ready()
        tree.process.send_signal(signal.SIGTERM)
        eventually(lambda: tree.get("/readyz")[0] == 503)
        eventually(lambda: tree.metric("riskd_workers_serving") == 1)
        os.kill(tree.facts["pids"]["worker-1"], signal.SIGKILL)
        assert tree.end()[0] == 0


def test_workers_die_with_a_killed_supervisor() -> None:
    """If the supervisor is killed, its workers end too, even one that ignores signals."""
    with running("serve", "hang") as tree:
        tree.wait_ready()
        tree.process.kill()
        tree.process.wait()
        eventually(lambda: not any(alive(pid) for pid in tree.facts["pids"].values()))


def test_a_port_is_held_against_others() -> None:
    """Two services cannot use the same port, although the workers of one share it."""
    with reserved("127.0.0.1", 0) as port:
        assert port > 0
        with pytest.raises(InvalidSettings, match=r"server\.port: cannot listen"), reserved("127.0.0.1", port):
            pass
    with reserved("127.0.0.1", port) as again:
        assert again == port


def unasked(_: Request) -> Reply:
    """No request comes."""
    raise AssertionError


@pytest.mark.parametrize(
    "listen", [reserved, partial(Listener, reply=unasked, setting="metrics.port", connections=1, seconds=1.0)]
)
def test_a_host_that_has_no_address_is_named(listen: Callable[[str, int], AbstractContextManager[object]]) -> None:
    """A host that is no address is refused with the reason."""
    with pytest.raises(InvalidSettings, match=r"cannot listen on ::1%none:0: (?!Unknown error)"), listen("::1%none", 0):
        pass


def test_all_addresses_that_cannot_be_had_are_named_at_once(tmp_path: Path) -> None:
    """A port and sockets that cannot be listened on are reported together."""
    (tmp_path / "file").touch()
    sockets = {f"{section}.socket": str(tmp_path / "file" / section) for section in ("subjects", "release")}
    with reserved("127.0.0.1", 0) as port:
        settings = load(None, {}, {"state.dir": str(tmp_path), "server.port": str(port), **sockets})
        with pytest.raises(InvalidSettings) as refused, reserved_addresses(settings):
            pass
    assert [problem.where for problem in refused.value.problems] == ["server.port", *sockets]


def test_supervisor_imports_nothing_that_must_not_fork() -> None:
    """The supervisor loads neither grpc nor the libraries that workers compute with."""
    code = "import riskd.server.processes.supervisor, sys; print({'grpc', 'google', 'numpy', 'lmdb'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ}
    )
    assert done.stdout == "set()\n"


def test_of_services_that_start_at_once_one_has_the_port() -> None:
    """Of services that start at once on one port, exactly one gets it, despite SO_REUSEPORT."""
    services = 8
    begin, end = threading.Barrier(services), threading.Barrier(services)

    def start(port: int) -> bool:
        begin.wait(PATIENCE)
        with ExitStack() as held:
            try:
                held.enter_context(reserved("127.0.0.1", port))
            except InvalidSettings:
                end.wait(PATIENCE)
                return False
            end.wait(PATIENCE)
            return True

    with ThreadPoolExecutor(services) as pool:
        for _ in range(12):
            with reserved("127.0.0.1", 0) as port:
                pass
            assert sum(pool.map(start, [port] * services)) == 1
