"""docs/embedding.md as it stands: its module in a server that forks, and in an event loop."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

import riskd
from tests.decision_log import read_segments
from tests.e2e.service import PATIENCE, ROOT, environment, eventually
from tests.e2e.service import riskd as command

PAGE: Final = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
WORKERS: Final = 2
THREADS: Final = 4
SIGN_INS: Final = 5
"""Of each thread."""
SERVER: Final = """
import asyncio, os, signal, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of a fork beside threads
import riskd, risk

riskd.Engine.assess.__defaults__ = riskd.Engine.record.__defaults__ = (10.0,)  # this machine may be busy
WORKERS, THREADS, SIGN_INS = map(int, sys.argv[1:])

def request(subject, password=True):
    return risk.attempt(subject, "81.2.69.142", "Mozilla/5.0", f"{subject}-laptop", password=password, registered=1.7e9)

def sign_in(subject):
    for _ in range(SIGN_INS):
        assert risk.sign_in(request(subject), lambda requirement: ("pwd", "otp"))
    assert not risk.sign_in(request(subject, password=False), lambda requirement: ("pwd", "otp"))

def serve(worker):
    threads = [threading.Thread(target=sign_in, args=(f"{worker}-{number}",)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    risk.page()  # publishes what it has counted, of which a second would be lost
    os.kill(os.getpid(), signal.SIGKILL)  # a worker that crashes

def forked(run, *args):
    child = os.fork()
    if child:
        return child
    try:
        run(*args)
    except RuntimeError as error:
        os.write(1, f"{error}\\n".encode())
    finally:
        os._exit(1)

for worker in [forked(serve, worker) for worker in range(WORKERS)]:
    _, status = os.waitpid(worker, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, status

async def loop():
    async def one(subject):
        return await asyncio.to_thread(risk.engine().assess, request(subject))
    return await asyncio.gather(*(one(f"loop-{number}") for number in range(THREADS)))

assert {answer.causes for answer in asyncio.run(loop())} == {()}
os.waitpid(forked(lambda: risk.sign_in(request("late"), lambda _: None)), 0)  # as with --preload

from prometheus_client import CollectorRegistry, multiprocess
os.makedirs("other"), os.environ.update(PROMETHEUS_MULTIPROC_DIR="other")
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
registry.register(risk.METRICS)
assert risk.generate_latest(registry) == risk.page()
open("page", "wb").write(risk.page())
"""


def block(heading: str) -> str:
    """The first Python block below a heading."""
    found = re.search(rf"^## {heading}\n.*?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, f"docs/embedding.md has no Python block below `## {heading}`"
    return found[1]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The state of a server whose workers were forked, served and died, and what it printed."""
    folder = tmp_path_factory.mktemp("embedded")
    (folder / "risk.py").write_text(block("A sign-in"))
    (folder / "server.py").write_text(SERVER)
    done = subprocess.run(
        [sys.executable, "server.py", *map(str, (WORKERS, THREADS, SIGN_INS))],
        env=environment(folder / "state"),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "state", done.stdout


def lines(state: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_segments(state / "decisions")]


def test_workers_lose_nothing_that_they_answered(served: tuple[Path, str]) -> None:
    """Threads of several forked workers sign people in at the same time. Whatever they answered and learned is in the
    log, although each worker was killed, and each wrote segments of its own."""
    state, _ = served
    people = WORKERS * THREADS
    kinds = Counter(line["type"] for line in lines(state))
    assert kinds["assessment"] == people * (SIGN_INS + 1) + THREADS
    assert kinds["outcome"] >= people * SIGN_INS
    assert {line["registration_time"] for line in lines(state) if line["type"] == "assessment"} == {1.7e9}
    written = [path for path in (state / "decisions").glob("*.jsonl") if path.stat().st_size]
    assert len(written) == WORKERS + 1


def test_what_a_worker_learned_is_there_for_the_others(served: tuple[Path, str]) -> None:
    """An engine that is opened later finds the sign-ins that a killed worker recorded."""
    state, _ = served
    with riskd.open_engine(settings={"state.dir": str(state)}) as engine:
        subject = riskd.Subject(tenant="", domain="customer", subject=f"{WORKERS - 1}-{THREADS - 1}")
        assert engine.subjects.summary(subject).units > 0


def test_the_page_shows_what_all_processes_counted(served: tuple[Path, str]) -> None:
    """The page of one process counts the answers of all, those of killed ones included, as the log does; so does one
    that prometheus_client makes in its multi-process mode."""
    state, _ = served
    page = (state.parent / "page").read_text()
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    totals = Counter[str]()
    for sample in samples:
        totals[sample.name] += round(sample.value)
    kinds = Counter(line["type"] for line in lines(state))
    assert totals["riskd_assessments_total"] == totals["riskd_assessment_seconds_count"] == kinds["assessment"]
    assert totals["riskd_outcomes_total"] == kinds["outcome"]
    assert totals["riskd_sign_ins_total"] >= WORKERS * THREADS * SIGN_INS
    assert totals["riskd_failures_total"] == 0
    assert totals["riskd_workers_serving"] == 1
    assert len(list((state / "metrics").glob("*.counts"))) <= WORKERS


def test_a_fork_of_an_open_engine_is_told_where_to_open_one(served: tuple[Path, str]) -> None:
    """With `--preload` and an engine that was opened on import, the error names the mistake and the remedy."""
    _, said = served
    assert "forked" in said
    assert "call riskd.open_engine in each worker process, after the fork" in said


def test_an_engine_follows_the_files_of_the_policy(tmp_path: Path) -> None:
    """After an edit, `riskd release follow` makes an embedded engine decide by the new files, without a restart."""
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "data" / "policies", policies)
    settings = {"release.policies": str(policies), "store.kind": "memory", "geo.dir": str(tmp_path)}
    state = {f"RISKD_{key.upper().replace('.', '__')}": value for key, value in settings.items()}
    with riskd.open_engine(settings={**settings, "state.dir": str(tmp_path)}) as engine:
        before = engine.release.id
        policy = policies / "customer.yaml"
        policy.write_text(re.sub(r"^version: .*", "version: edited", policy.read_text(), count=1, flags=re.MULTILINE))
        assert engine.release.id == before
        done = command("release", "follow", state=tmp_path, settings=state)
        assert done.returncode == 0, done.stderr
        eventually(lambda: engine.release.id != before)
        assert engine.release.policies["customer"].version == "edited"
