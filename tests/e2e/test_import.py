"""`riskd import` as a command: output, exit codes, and resuming after a kill."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

from riskd.adapters.lmdb_store import LmdbStore
from riskd.core.stored import history
from tests.e2e.service import ROOT, Service, attempt, environment, eventually, riskd

EXPORTS: Final = ROOT / "tests" / "data" / "imports"
SHIFT: Final = "300"
"""Weeks from the RBA dataset's year to one within the retention."""


def ocsf(number: int, when: float, people: int = 50) -> str:
    """A sign-in of one of some people, from an address that is unique among the first 25 600."""
    event = {
        "class_uid": 3002,
        "activity_id": 1,
        "status_id": 1,
        "time": int(when * 1000),
        "user": {"uid": f"person {number % people}"},
        "src_endpoint": {"ip": f"81.2.{69 + number // 256 % 100}.{number % 256}"},
        "http_request": {"user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
    }
    return json.dumps(event) + "\n"


def export(path: Path, count: int, people: int = 50) -> str:
    """A file of sign-ins over the last weeks, the last one two days ago."""
    until = time.time() - 2 * 86_400
    path.write_text("".join(ocsf(number, until - (count - number) * 600, people) for number in range(count)))
    return str(path)


def histories(state: Path) -> dict[bytes, object]:
    """Every history in the store below a state directory, without bookmarks."""
    store = LmdbStore(state / "store")
    try:
        with store._env.begin() as transaction:
            kept = {key: record for key, record in transaction.cursor() if key[:1] in b"PCAD"}
    finally:
        store.close()
    return {key: history(record, time.time()) for key, record in kept.items()}


def summaries(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The JSON summaries that it printed."""
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


PEPPER: Final = {"RISKD_PEPPER": "pepper of the import tests"}


@pytest.mark.slow
def test_a_killed_import_resumes_without_counting_twice(tmp_path: Path) -> None:
    """An import that was killed and restarted gives the same histories as one that was not."""
    file = export(tmp_path / "export", 6000)
    lines = Path(file).read_bytes()
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "riskd", "import", "ocsf", "-", "--domain", "customer"],
        env=environment(killed, PEPPER),
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(lines[: len(lines) * 2 // 3])
        process.stdin.flush()
        eventually(lambda: (killed / "store" / "data.mdb").exists())
        watched = LmdbStore(killed / "store")
        eventually(lambda: watched.size()[0] > 60)
        process.send_signal(signal.SIGKILL)
        process.wait()
        watched.close()

    (again,) = summaries(riskd("import", "ocsf", file, "--domain", "customer", "--json", state=killed, settings=PEPPER))
    (once,) = summaries(riskd("import", "ocsf", file, "--domain", "customer", "--json", state=whole, settings=PEPPER))
    assert 0 < again["resumed_at"] < 6000
    assert again["tally"] == once["tally"]
    assert once["tally"]["used"] == {"session_established": 6000}
    assert histories(killed) == histories(whole)


def test_a_running_service_knows_at_once(tmp_path: Path, service: Service) -> None:
    """A running service uses imported histories at once."""
    before = service.assess(attempt(subject="person 0"))
    done = riskd("import", "ocsf", export(tmp_path / "export", 200, 1), "--domain", "customer", state=service.state)
    assert done.returncode == 0, done.stderr
    after = service.assess(attempt(subject="person 0"))

    assert "history" in {gap.source for gap in before.gaps}
    assert "history" not in {gap.source for gap in after.gaps}


def test_a_summary_for_people(tmp_path: Path) -> None:
    """The summary has counts by outcome and reason with line numbers, also when there is nothing new."""
    command = (
        "import",
        "rba-dataset",
        str(EXPORTS / "rba_dataset.csv"),
        "--domain",
        "customer",
        "--shift-weeks",
        SHIFT,
    )
    done = riskd(*command, state=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "7 records in" in done.stdout
    assert "too_old: older than what a history keeps of such an event (line 2)" in done.stdout
    assert "0 records in 0.0 s (0/s), after 7 in earlier runs" in riskd(*command, state=tmp_path).stdout


def test_a_trial_needs_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    """A dry run needs neither pepper nor store, and creates nothing."""
    done = riskd("import", "okta", str(EXPORTS / "okta.json"), "--domain", "workforce", "--dry-run", state=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "would use" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == []


def test_the_wrong_source_is_noticed(tmp_path: Path) -> None:
    """If nothing could be used, the command asks whether the source is right."""
    done = riskd("import", "okta", str(EXPORTS / "auth0.json"), "--domain", "customer", "--dry-run", state=tmp_path)
    assert done.returncode == 0
    assert "nothing was used: is this an export of Okta System Log" in done.stdout


def test_damage_has_a_code_of_its_own(tmp_path: Path) -> None:
    """A damaged record gives exit code 1, and the rest is imported."""
    file = tmp_path / "export"
    file.write_text(ocsf(1, time.time() - 60) + "{damaged\n" + ocsf(2, time.time() - 60))
    done = riskd("import", "ocsf", str(file), "--domain", "customer", "--json", state=tmp_path)
    assert done.returncode == 1
    (summary,) = summaries(done)
    assert summary["tally"]["used"] == {"session_established": 2}
    assert summary["tally"]["unreadable"]["records"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/nowhere/export", "--domain", "customer"), "No such file"),
        (("-", "-", "--domain", "customer"), "named more than once"),
        (("-", "--domain", "customer", "--set", "store.kind=memory"), "lost when the import ends"),
        (("-",), "--domain"),
        (("-", "--domain", "customer", "--since", "yesterday"), "is not a date or time"),
        (("-", "--domain", "customer", "--limit", "0"), "is not a whole number of 1 or more"),
    ],
)
def test_what_is_refused(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """Bad arguments give exit code 2 and a remedy."""
    done = riskd("import", "ocsf", *arguments, state=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    """If the store cannot be written, the exit code is 3; what was committed stays, and the next run continues."""
    file = export(tmp_path / "export", 2000)
    full = subprocess.run(
        [sys.executable, "-m", "riskd", "import", "ocsf", file, "--domain", "customer"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000)),
    )
    assert full.returncode == 3, full.stdout
    assert "check that the disk has space" in full.stderr
    again = riskd("import", "ocsf", file, "--domain", "customer", "--json", state=tmp_path)
    assert again.returncode == 0
    assert 0 < summaries(again)[0]["resumed_at"] < 2000
