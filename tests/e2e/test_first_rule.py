"""The first rule of docs/policy.md, from its settings to the answer, and the checks of a repository of policies."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from riskd.config import data_directory
from tests.e2e.service import ROOT, Service, environment, eventually, serving

PAGE: Final = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
PATIENCE: Final = 120
PEPPER: Final = {"RISKD_PEPPER": "0123456789abcdef0123456789abcdef"}
"""How many accounts a count is taken for depends on it."""


def blocks(heading: str, language: str) -> list[str]:
    """The blocks of code in a section."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def shell(script: str, folder: Path, status: int = 0) -> str:
    """What a script of the page prints, run with `riskd` on the path. It ends with this exit code."""
    tools = folder.parent / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "riskd").write_text(f'#!/bin/sh\nexec {sys.executable} -m riskd "$@"\n')
    (tools / "riskd").chmod(0o755)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-euc", script],
        cwd=folder,
        env=environment(folder, {"PATH": path, "HOME": str(folder.parent), **PEPPER}),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def written(folder: Path) -> Path:
    """A directory with the settings, the rule and the cases of the page."""
    folder.mkdir()
    (settings,) = blocks("A first rule", "toml")
    rule, cases = blocks("A first rule", "yaml")
    (folder / "riskd.toml").write_text(settings)
    shutil.copytree(data_directory("policies"), folder / "policies")
    policy, tests = folder / "policies" / "customer.yaml", folder / "policies" / "tests" / "customer.yaml"
    before = policy.read_text()
    assert before.count("\nrules:\n") == 1
    policy.write_text(before.replace("\nrules:\n", f"\n{rule}", 1))
    tests.write_text(tests.read_text() + cases)
    return folder


def shows(output: str, lines: str) -> None:
    """Each of the lines is in the output, whatever the spaces."""
    found = " ".join(output.split())
    assert [line for line in lines.splitlines() if " ".join(line.split()) not in found] == []


def test_a_first_rule_from_its_settings_to_the_answer(tmp_path: Path) -> None:
    """Every step of the page does what it says: the rule is checked and tested, hits the thirteenth account in shadow,
    would have asked it for a key, and asks the next one once it acts."""
    folder = written(tmp_path / "first")
    check, attempts, backtest, correct, another = blocks("A first rule", "sh")
    effect, answer, shown = blocks("A first rule", "text")
    shell(check, folder)
    policy = folder / "policies" / "customer.yaml"
    rule = policy.read_text()
    policy.write_text(rule.replace("counters: [payee_id]", "counters: [payee]"))
    assert "did you mean payee_id?" in shell(check, folder, status=2)
    policy.write_text(rule)

    settings = {"RISKD_CONFIG": str(folder / "riskd.toml"), "RISKD_SERVER__WATCH_S": "0.2", **PEPPER}
    with serving(folder, settings=settings) as service:
        assert "13 answered" in shell(sent(attempts, service), folder)
        tiers = [json.loads(line)["response"]["requirement"]["tier"] for line in lines(folder / "answers.jsonl")]
        assert tiers == ["TIER_STEP_UP"] * 13
        shows(shell(backtest, folder), effect)
        cases = folder / "next" / "tests" / "customer.yaml"
        first, second = re.findall(r"`(expect: .*?)`", PAGE)
        text = cases.read_text().replace("expect: {tier: BASELINE, shadow_hits: [payee_of_many]}", first)
        cases.write_text(text.replace("expect: {tier: BASELINE, shadow_hits: []}", second))
        shell(correct, folder)
        eventually(lambda: any(event["event"] == "activated" for event in service.events()))
        output = shell(sent(another, service), folder)
        shows(output, answer)
        (name,) = re.findall(r"\bassessment +([0-9a-f]{32})\b", output)
        shows(shell(f"riskd log show {name} --config riskd.toml", folder), shown)


def sent(script: str, service: Service) -> str:
    """The script with the address of this service."""
    return script.replace("riskd assess", f"riskd assess --target {service.address}")


def lines(file: Path) -> Sequence[str]:
    return file.read_text().splitlines()


def test_a_log_from_before_the_counter_is_lived_through_again(tmp_path: Path) -> None:
    """The counts that a log does not have are reported as unknown; after a replay with the rule in shadow, the acting
    rule is judged by them."""
    folder = written(tmp_path / "first")
    _, attempts, backtest, *_ = blocks("A first rule", "sh")
    settings = {"RISKD_CONFIG": str(folder / "riskd.toml"), **PEPPER}
    with serving(folder, settings={**settings, "RISKD_RELEASE__POLICIES": ""}) as service:
        shell(sent(attempts, service), folder)
    before = shell("\n".join(line for line in backtest.splitlines() if " rules " not in line), folder)
    assert "counts of decisions from before their counter" in before
    assert "0 decisions would be decided differently" in before
    replayed = PAGE.partition("**A log from before the counter**")[2].partition("\n")[0]
    replay, again = re.findall(r"`(riskd (?:replay|policy backtest \S+ --).*?)`", replayed)
    shell(replay, folder)
    assert "1 decision would be decided differently" in shell(again, folder)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of policies whose branch is what `origin/main` has."""
    folder = written(tmp_path / "repository")
    (hooks,) = blocks("In a repository", "yaml")
    (folder / ".pre-commit-config.yaml").write_text(hooks)
    with (folder / "riskd.toml").open("a") as settings:
        settings.write('[server]\ncallers = "/etc/riskd/callers.toml"\n')
    git = "git -c user.name=a -c user.email=a@example.com"
    shell(
        f"git init -q . && git add -A && {git} commit -qm one && git update-ref refs/remotes/origin/main HEAD", folder
    )
    return folder


def test_a_repository_checks_every_commit(repository: Path) -> None:
    """The hooks pass for what the service accepts, without the files that its settings name, and fail for a misspelt
    attribute."""
    run = "python -m pre_commit run --all-files"
    shell(run, repository)
    (repository / "riskd.toml").write_text((repository / "riskd.toml").read_text().replace("payee_id", "payee"))
    assert "'payee_id' is no attribute that the settings declare (did you mean payee?)" in shell(
        run, repository, status=1
    )


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("    shadow: true # first see whom it asks\n", "", 0),
        ("PHISHING_RESISTANT: 0.08", "PHISHING_RESISTANT: 0.1", 1),
    ],
    ids=["tighter", "looser"],
)
def test_a_change_that_can_loosen_waits_for_a_reviewer(old: str, new: str, status: int, repository: Path) -> None:
    """The commands of the pipeline pass for a change that can only tighten, and fail for one that can loosen."""
    policy, cases = repository / "policies" / "customer.yaml", repository / "policies" / "tests" / "customer.yaml"
    assert old in policy.read_text()
    policy.write_text(policy.read_text().replace(old, new))
    if not new:
        cases.write_text(cases.read_text().partition("  - description: The thirteenth account")[0])
    (script,) = blocks("In a repository", "sh")
    assert ("can only tighten" in shell(script, repository, status=status)) == (status == 0)
