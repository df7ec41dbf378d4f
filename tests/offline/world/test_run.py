"""A world simulated with the real engine: its files, and how tiers affect visits."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest

from riskd.adapters.decision_log import DECISIONS
from riskd.cli.main import main
from riskd.config.paths import data_directory
from riskd.core import record
from riskd.core.errors import InvalidSettings
from riskd.core.requirement import Tier, accepts
from riskd.offline.decision_rows import read_rows
from riskd.offline.rows import FRAUD, GOOD
from riskd.offline.truth import FILE as TRUTH
from riskd.offline.truth import read_truth
from riskd.offline.world.run import Made, read_made, run
from riskd.progress import Progress, ignore_progress
from tests.decision_log import read_segments
from tests.offline.world.small import SmallGeo, world
from tests.shipped import shipped_release

RELEASE: Final = shipped_release()
WANTED: Final = {"users": 60, "days": 30, "seed": 11, "attack_share": 0.2}


WEIGHTS = [part for wrong in ("theft=1", "targeted=much", "spraying=-1") for part in ("--weight", wrong)]


def lived(out: Path, **wanted: object) -> Made:
    made, _ = run(world(**wanted), RELEASE, SmallGeo(), out, ignore_progress, version="test", varied=None)
    return made


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("worlds") / "one"
    lived(out, **WANTED)
    return out


def test_the_same_seed_leaves_the_same_bytes(tmp_path: Path) -> None:
    """Two runs with one seed write identical files; another seed does not."""

    def files(out: Path) -> dict[str, bytes]:
        return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}

    for name, seed in (("one", 11), ("again", 11), ("other", 12)):
        lived(tmp_path / name, users=15, days=10, seed=seed, attack_share=0.15)
    assert files(tmp_path / "again") == files(tmp_path / "one")
    assert files(tmp_path / "other")["truth.jsonl"] != files(tmp_path / "one")["truth.jsonl"]


def test_the_truth_covers_every_assessment_once(directory: Path) -> None:
    """The truth has one line for each logged assessment, in order."""
    logged = [
        line.id
        for line in map(record.decode, read_segments(directory / DECISIONS))
        if isinstance(line, record.AssessmentRecord)
    ]
    told = (directory / TRUTH).read_bytes().count(b"\n")
    assert list(read_truth(directory / TRUTH)) == logged
    assert told == len(logged) == sum(read_made(directory).assessments.values())


def test_no_session_begins_below_its_requirement(directory: Path) -> None:
    """A session begins only if nothing is required or the challenge was passed with accepted methods."""
    asked: dict[str, record.AssessmentRecord] = {}
    passed: set[str] = set()
    for line in map(record.decode, read_segments(directory / DECISIONS)):
        if isinstance(line, record.AssessmentRecord):
            asked[line.id] = line
        elif isinstance(line, record.OutcomeRecord):
            one = asked[line.assessment_id]
            ladder = RELEASE.policies[one.domain].ladder
            if line.kind == "challenge_passed":
                assert one.tier not in ("BASELINE", "DENY")
                assert accepts(tuple(tuple(each) for each in ladder[Tier[one.tier]].combinations), line.amr)
                passed.add(one.id)
            elif line.kind in ("session_established", "recovery_completed"):
                assert one.satisfied or one.tier == "BASELINE" or one.id in passed
                assert one.credential_result != "failed"
            elif line.kind.startswith(("challenge", "recovery")):
                assert one.id not in passed


def test_fraud_is_reported_of_attackers_alone_and_days_later(directory: Path) -> None:
    """Fraud is reported only for attackers and legitimacy only for owners."""
    truths = read_truth(directory / TRUTH)
    told: dict[str, list[bool]] = defaultdict(list)
    for line in map(record.decode, read_segments(directory / DECISIONS)):
        if isinstance(line, record.OutcomeRecord):
            told[line.kind].append(bool(truths[line.assessment_id].attack))
    assert told["confirmed_fraud"]
    assert all(told["confirmed_fraud"])
    assert told["confirmed_legitimate"]
    assert not any(told["confirmed_legitimate"])


def test_its_log_is_read_as_rows(directory: Path) -> None:
    """Labels come late from outcomes; attack classes and segments come from the truth."""
    rows = read_rows(directory / DECISIONS, "customer", truth=directory / TRUTH)
    assert {GOOD, FRAUD} < set(rows.labels.tolist())
    assert "" not in rows.attacks[rows.labels == FRAUD]
    assert (rows.known[rows.labels == FRAUD] > rows.times[rows.labels == FRAUD] + 3600).all()
    assert {"mobile", "new_user"} <= {each for told in rows.segments for each in str(told).split()}


def test_a_backtest_decides_its_log_as_the_engine_did(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A backtest of the shipped policies over the simulated log has no differences."""
    policies, log = str(data_directory("policies")), str(directory / DECISIONS)
    assert main(["policy", "backtest", policies, "--log", log, "--processes", "1", "--exit-code"]) == 0
    assert capsys.readouterr().out


def test_policies_are_judged_by_the_truth_of_a_simulation(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every attempt of an attacker is fraud, by class of attack, unless its credential was wrong; with `--labels
    outcomes` only confirmed fraud is."""
    arguments = ["policy", "backtest", str(data_directory("policies")), "--log", str(directory), "--json"]
    lines = [record.decode(line) for line in read_segments(directory / DECISIONS)]
    wrong = {
        line.id for line in lines if isinstance(line, record.AssessmentRecord) and line.credential_result == "failed"
    }
    everybody = read_truth(directory / TRUTH)
    truths = [each for name, each in everybody.items() if name not in wrong]
    assert main(arguments) == 0
    domains = json.loads(capsys.readouterr().out)["domains"]
    assert sum(each["total"]["fraud"] for each in domains) == sum(bool(each.attack) for each in truths)
    assert sum(each["total"]["good"] for each in domains) == sum(not each.attack for each in truths)
    told = {(group["value"], group["fraud"]) for each in domains for group in each["segments"]["class of attack"]}
    assert {name for name, _ in told} == {each.attack for each in everybody.values() if each.attack}
    assert main([*arguments, "--labels", "outcomes"]) == 0
    domains = json.loads(capsys.readouterr().out)["domains"]
    confirmed = {
        line.assessment_id
        for line in lines
        if isinstance(line, record.OutcomeRecord) and line.kind == "confirmed_fraud"
    }
    assert sum(each["total"]["fraud"] for each in domains) == len(confirmed - wrong)
    assert not any("class of attack" in each["segments"] for each in domains)


def test_the_truth_of_another_simulation_is_refused(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A truth that lacks an assessment of the log is refused, and the message names it."""
    (tmp_path / "truth.jsonl").write_bytes(b"")
    arguments = ["policy", "rules", "--log", str(directory), "--truth", str(tmp_path / "truth.jsonl")]
    assert main(arguments) == 2
    assert "lacks 1 assessment of the log" in capsys.readouterr().err


def test_an_existing_directory_is_not_overwritten(directory: Path) -> None:
    """A directory that is not empty is refused."""
    with pytest.raises(InvalidSettings, match="not empty"):
        lived(directory, **WANTED)


def test_a_world_that_was_broken_off_leaves_nothing(tmp_path: Path) -> None:
    """After Ctrl-C the output directory is empty, and the next run can use it."""

    def begin(_: str, total: int) -> Progress:
        def interrupted(done: int) -> None:
            assert 0 < done < total
            raise KeyboardInterrupt

        return interrupted

    with pytest.raises(KeyboardInterrupt):
        run(world(**WANTED), RELEASE, SmallGeo(), tmp_path, begin, version="test", varied=None)
    assert list(tmp_path.iterdir()) == []


def test_the_command_refuses_what_makes_no_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All bad arguments are reported at once; without databases the message says what to do."""
    assert main(["simulate", "--users", "0", "--days", "0", "--attack-share", "2", *WEIGHTS]) == 2
    said = capsys.readouterr().err
    assert all(flag in said for flag in ("--users", "--days", "--attack-share", "--out"))
    assert all(flaw in said for flaw in ("'theft'", "'targeted=much'", "'spraying=-1'"))
    none = ["--set", f"state.dir={tmp_path}", "--set", f"geo.dir={tmp_path}", "--set", "geo.city=", "--set", "geo.asn="]
    assert main(["simulate", "--out", str(tmp_path / "out"), *none]) == 2
    assert "riskd geo install" in capsys.readouterr().err
