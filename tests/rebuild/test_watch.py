"""The watch that rebuilds a damaged store: one process at a time, restarted if it dies, and ended with the monitor."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from riskd.adapters.lmdb_store import beside, due_until, note, open_or_begin
from riskd.config import Settings
from riskd.rebuild import watch as watching
from riskd.rebuild.watch import RebuildWatch, rebuilding
from tests.doubles import ListLog
from tests.e2e.service import ROOT, eventually
from tests.offline.town import Town
from tests.rebuild.world import deployment, held, logged, records

pytestmark = pytest.mark.timeout(300)  # on a busy machine: the process has a low priority


class Watched:
    """A deployment whose store was damaged, and its watch, moved by hand."""

    def __init__(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        log, now = ListLog(), time.time()
        self.town = Town(log)
        self.town.now = now - 86_400.0 * 60
        self.town.live(60)
        self.lines = log.lines
        self.settings = deployment(tmp_path)
        logged(self.settings, log.lines)
        store = Path(self.settings.store.path)
        open_or_begin(store, 64 << 20)[0].close()
        (store / "data.mdb").write_bytes(b"noise" * 5000)
        open_or_begin(store, 64 << 20)[0].close()
        self.watch = RebuildWatch(self.settings)
        self.now = 0.0
        self._caplog = caplog
        caplog.set_level(logging.INFO)

    def events(self) -> list[str]:
        return [each.getMessage() for each in self._caplog.records if each.name == "riskd.rebuild"]

    def until(self, condition: Callable[[], bool]) -> None:
        """Run the watch until the condition holds."""
        deadline = time.monotonic() + 200.0
        while not condition():
            assert time.monotonic() < deadline, self.events()
            self.watch.look(self.now)
            time.sleep(0.02)


@pytest.fixture
def watched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Watched:
    return Watched(tmp_path, caplog)


def child(caplog: pytest.LogCaptureFixture) -> int:
    """Pid of the rebuild that was started last."""
    fields = [getattr(each, "fields", {}) for each in caplog.records if each.getMessage() == "store_rebuild_started"]
    return int(fields[-1]["pid"])


def test_a_due_rebuild_is_done_and_reported(watched: Watched) -> None:
    """A due rebuild restores the histories, removes its note and updates the metrics; then there is nothing to do."""
    watched.until(lambda: "store_rebuild_finished" in watched.events())
    watched.watch.look(watched.now)
    assert held(watched.settings, time.time()) == records(watched.town.store, time.time())
    assert due_until(Path(watched.settings.store.path)) is None
    readings = watched.watch.readings
    assert readings["riskd_store_rebuild_pending"] == {(): 0.0}
    assert readings["riskd_store_rebuild_ratio"] == {("lines",): 1.0, ("records",): 1.0}
    assert readings["riskd_store_rebuild_lines"]["attempts",] == 60.0
    for _ in range(3):
        watched.watch.look(watched.now)
    assert watched.events() == ["store_rebuild_started", "store_rebuild_finished"]


def test_a_killed_rebuild_is_restarted_with_backoff(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """A killed rebuild is restarted after a growing pause, with the same result."""
    for pause in (1.0, 2.0):
        watched.watch.look(watched.now)
        assert watched.watch.readings["riskd_store_rebuild_pending"] == {(): 1.0}
        os.kill(child(caplog), signal.SIGKILL)
        before = watched.events().count("store_rebuild_failed")
        watched.until(lambda before=before: watched.events().count("store_rebuild_failed") > before)  # type: ignore[misc]
        begun = watched.events().count("store_rebuild_started")
        watched.now += pause - 0.1
        watched.watch.look(watched.now)
        assert watched.events().count("store_rebuild_started") == begun
        watched.now += 0.2
    watched.until(lambda: "store_rebuild_finished" in watched.events())
    assert held(watched.settings, time.time()) == records(watched.town.store, time.time())


def test_a_rebuild_goes_on_where_its_priority_is_fixed(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter of system calls that refuses a lower priority, as a container's or a unit's may, prevents no rebuild."""
    (tmp_path / "sitecustomize.py").write_text("import os\ndef nice(_): raise PermissionError\nos.nice = nice\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    watched.until(lambda: bool(watched.events()[1:]))
    assert watched.events() == ["store_rebuild_started", "store_rebuild_finished"]
    assert held(watched.settings, time.time()) == records(watched.town.store, time.time())


def test_a_failed_fork_is_tried_again(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no process can be started, that is reported and tried again after the same pause."""

    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", refused)
        watched.watch.look(watched.now)
    assert watched.events() == ["store_rebuild_failed"]
    assert watched.watch.readings["riskd_store_rebuild_pending"] == {(): 1.0}
    watched.now += 1.1
    watched.watch.look(watched.now)
    assert watched.events() == ["store_rebuild_failed", "store_rebuild_started"]
    watched.watch.close()


def test_an_unreadable_log_is_reported_and_tried_again(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """An unreadable segment is reported with a remedy; once it is repaired, everything is restored."""
    segment = next(Path(watched.settings.log.dir).glob("*.jsonl"))
    spoiled = segment.with_name(f"0{segment.name}.gz")
    spoiled.write_bytes(b"\x1f\x8b no gzip")
    watched.until(lambda: "store_rebuild_failed" in watched.events())
    assert "copy it again, or set it aside" in str([getattr(each, "fields", {}) for each in caplog.records])
    spoiled.unlink()
    watched.now += 10.0
    watched.until(lambda: "store_rebuild_finished" in watched.events())
    assert held(watched.settings, time.time()) == records(watched.town.store, time.time())


def test_a_rebuild_that_cannot_begin_says_why(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """If a file of the rebuild cannot be made, as on a full disk, the event names the file and the reason."""
    place = beside(Path(watched.settings.store.path))
    place.write_bytes(b"")
    watched.until(lambda: "store_rebuild_failed" in watched.events())
    problems = [vars(each)["fields"].get("problems") for each in caplog.records if hasattr(each, "fields")]
    assert [f"{place}: File exists"] in problems


def test_switched_off_nothing_is_begun(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `store.rebuild` false, no rebuild starts; the metric shows that one is due, and the note stays for the
    command."""
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.01)
    settings: Settings = replace(watched.settings, store=replace(watched.settings.store, rebuild=False))
    with rebuilding(settings) as watch:
        eventually(lambda: bool(watch.readings))
        time.sleep(0.1)
        assert watch.readings == {"riskd_store_rebuild_pending": {(): 1.0}}
    assert note(Path(settings.store.path)).exists()
    assert watched.events() == []


WATCHER = """
import sys, time
from riskd.config import load
from riskd.rebuild import watch
if __name__ == "__main__":
    one = watch.RebuildWatch(load(environ={}, flags=dict(pair.split("=", 1) for pair in sys.argv[1:])))
    one.look(0.0)
    print(one._process.pid, flush=True)
    time.sleep(60)
"""


def test_it_dies_with_the_monitor(watched: Watched, tmp_path: Path) -> None:
    """If the monitor is killed, the rebuild ends too, even if it waits for a disk. Ctrl-C in a terminal does not reach
    it, and so prints nothing about it."""
    chosen = watched.settings
    flags = {"state.dir": chosen.state.dir, "secrets.pepper_file": chosen.secrets.pepper_file}
    os.mkfifo(Path(chosen.log.dir) / "20260101T000000.000000-w0-9.jsonl")
    script = tmp_path / "watcher.py"
    script.write_text(WATCHER)
    command = [sys.executable, str(script), *(f"{key}={value}" for key, value in flags.items())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as monitor:
        assert monitor.stdout is not None
        pid = int(monitor.stdout.readline())
        time.sleep(2.0)
        assert alive(pid)
        assert os.getpgid(pid) != os.getpgid(monitor.pid)
        monitor.kill()
    deadline = time.monotonic() + 20.0
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
