"""Files that are read again: the newest content wins, whoever triggers the reload."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from riskd.adapters.memory import NullMeter
from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.config import Settings
from riskd.config.settings import Server
from riskd.meter_memory import MeterMemory
from riskd.server.identity.callers import Callers
from riskd.server.identity.callers_file import read_callers
from riskd.server.processes import worker
from riskd.server.watch import Watched


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
