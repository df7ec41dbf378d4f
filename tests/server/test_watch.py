"""Files that are read again: the newest content wins, whoever triggers the reload."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from riskd.adapters.null import NullMeter
from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.config import Settings
from riskd.config.settings import Server
from riskd.core.errors import InvalidFile, Problem
from riskd.metrics.memory import MeterMemory
from riskd.server.identity import watch
from riskd.server.identity.callers import Callers
from riskd.server.identity.callers_file import read_callers
from riskd.server.identity.watch import Watched, watching
from riskd.server.processes import worker
from tests.doubles import CountingMeter
from tests.e2e.service import eventually


def test_the_last_to_be_read_is_what_holds(tmp_path: Path) -> None:
    """A poll and SIGHUP may reload at the same time. The one that read the older content must not install it last, or a
    revoked token would stay valid."""
    file, installed, go_on, reading = tmp_path / "callers.toml", [""], threading.Event(), threading.Event()
    file.write_text("older")

    def reload() -> None:
        content = file.read_text()
        reading.set()
        if content == "older":
            go_on.wait(30)
        installed[0] = content

    watched = Watched("callers", [str(file)], reload, NullMeter())
    first, second = (threading.Thread(target=watched.reload) for _ in range(2))
    first.start()
    assert reading.wait(30)
    file.write_text("newer")
    second.start()
    second.join(0.3)
    go_on.set()
    first.join()
    second.join()
    assert installed == ["newer"]


class Reloaded:
    """A file that is reloaded: what was taken of it, and what the meter was told."""

    def __init__(self, file: Path) -> None:
        self.file, self.taken, self.meter = file, list[str](), CountingMeter()
        self.write("first")
        self.watched = Watched("callers", [str(file), ""], self.take, self.meter)

    def write(self, content: str) -> None:
        self.file.write_text(content)

    def take(self) -> None:
        content = self.file.read_text()
        if content.startswith("bad"):
            raise InvalidFile([Problem(str(self.file), "is bad", "mend it")])
        self.taken.append(content)

    def polled(self) -> tuple[list[str], int]:
        """What was taken, and how often it was refused, after three further polls."""
        for _ in range(3):
            self.watched.poll()
        return self.taken, self.meter.told["failed", "callers"]


def test_a_file_is_reloaded_once_for_each_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change is taken once, or refused and counted once. What SIGHUP has reloaded is no change any more, and a file
    that is not set is none."""
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    callers = Reloaded(tmp_path / "callers.toml")
    (here / "file").touch()
    assert callers.polled() == ([], 0)
    callers.write("the second")
    assert callers.polled() == (["the second"], 0)
    callers.write("bad")
    assert callers.polled() == (["the second"], 1)
    callers.write("the third one")
    callers.watched.reload()
    assert callers.polled() == (["the second", "the third one"], 1)
    callers.write("bad again")
    callers.watched.reload()
    assert callers.polled() == (["the second", "the third one"], 2)


def test_files_are_polled_while_a_worker_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread polls the files, and does what else is due; without files there is none."""
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)
    callers, also = Reloaded(tmp_path / "callers.toml"), threading.Event()
    with watching([callers.watched], also.set):
        callers.write("the second")
        eventually(lambda: callers.taken == ["the second"])
        assert also.wait(30)
    with watching([], also.set):
        assert "watch" not in [thread.name for thread in threading.enumerate()]


def test_a_change_while_a_worker_starts_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers that are removed just after the file was first read are unknown after the next polls."""
    file, watched = tmp_path / "callers.toml", list[Watched]()
    entry = 'token_sha256 = ["{}"]\nmethods = ["assessor"]\ntenants = [""]\n'

    def read_and_changed(path: Path, *, mutual: bool) -> Callers:
        found = read_callers(path, mutual=mutual)
        monkeypatch.setattr(worker, "read_callers", read_callers)
        path.write_text(f"[newer]\n{entry.format('cd' * 32)}")
        return found

    file.write_text(f"[older]\n{entry.format('ab' * 32)}")
    monkeypatch.setattr(worker, "read_callers", read_and_changed)
    guard = worker.open_guard(Settings(server=Server(callers=str(file))), PrometheusMeter(MeterMemory(1), 0), watched)
    assert guard is not None
    for _ in range(2):
        watched[0].poll()
    assert [caller.name for caller in guard._callers.all] == ["newer"]
