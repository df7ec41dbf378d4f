"""docs/releases.md shows what `riskd release compare` prints, and commands for every replica on Kubernetes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from riskd.cli.main import build_parser
from tests.docs.rollout_example import PAGE, page
from tests.e2e.service import PATIENCE, ROOT

KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
KUBECTL: Final = """#!/bin/sh
case "$1" in
get) test "$*" = "get pods --selector {selector} --output name" && printf 'pod/riskd-0\\npod/riskd-1\\n' ;;
cp) test -d "$2" && echo "cp $3" >&2 ;;
exec) echo "$*" >&2 ;;
esac
"""
"""A cluster with two replicas, which says what it is asked to do."""


def test_the_page_shows_what_the_comparison_prints() -> None:
    """The output on the page is that of the example's log."""
    assert page() == PAGE.read_text(encoding="utf-8"), "update it: python -m tests.docs.rollout_example"


def run(shell: str, commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a shell that ends at the first failure makes of commands, with the programs in `folder`."""
    return subprocess.run(
        [shell, "-e", "-c", commands],
        cwd=folder,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.parametrize(("code", "rolled_back"), [(0, False), (1, True), (2, False)])
def test_a_rollout_is_stopped_if_the_exit_code_says_so(code: int, rolled_back: bool, tmp_path: Path) -> None:
    """The page's commands roll back at the exit code 1 alone, also in a script that ends at the first failure, and fail
    in no case."""
    (commands,) = re.findall(r"```sh\n([^`]*--exit-code.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    program(tmp_path / "riskd", f'#!/bin/sh\necho "$2"\ntest "$2" != compare || exit {code}\n')
    done = run("sh", commands, tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["compare", "rollback"] if rolled_back else ["compare"])


def test_a_replica_that_fails_keeps_no_other_from_a_rollback(tmp_path: Path) -> None:
    """Each replica is asked, and the failure of one is the result."""
    text = PAGE.read_text(encoding="utf-8").partition("```bash\n")[2]
    function = text[: text.index("\n}\n") + 3]
    kubectl = KUBECTL.format(selector="app.kubernetes.io/name=riskd")
    kubectl = kubectl.replace("exec)", "exec) test $2 != pod/riskd-0 &&")
    program(tmp_path / "kubectl", kubectl)
    done = run("bash", f"{function}on_each riskd release rollback", tmp_path)
    assert (done.returncode, done.stderr.splitlines()) == (1, ["exec pod/riskd-1 -- riskd release rollback"])


def test_a_rollout_on_kubernetes_reaches_every_replica(tmp_path: Path) -> None:
    """The page's commands put the candidate on the volume of each replica, and make, activate and roll it back on each,
    by words that riskd knows."""
    commands = "\n".join(re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    objects = yaml.safe_load_all((KUBERNETES / "statefulset.yaml").read_text(encoding="utf-8"))
    (spec,) = [each["spec"] for each in objects if each["kind"] == "StatefulSet"]
    ((label, value),) = spec["selector"]["matchLabels"].items()
    (container,) = spec["template"]["spec"]["containers"]
    (tmp_path / "policies").mkdir()
    program(tmp_path / "kubectl", KUBECTL.format(selector=f"{label}={value}"))
    done = run("bash", commands, tmp_path)
    assert done.returncode == 0
    asked = done.stderr.splitlines()
    assert asked[0].removeprefix("cp riskd-0:").rpartition("/")[0] in {
        mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")
    }
    first, second = ([line.replace(pod, "riskd-N") for line in asked if pod in line] for pod in ("riskd-0", "riskd-1"))
    assert first == second
    words = [line.removeprefix("exec pod/riskd-N -- ").split()[1:3] for line in first[1:]]
    assert words == [["release", action] for action in ("create", "activate", "rollback")]
    for line in commands.splitlines():
        if line.startswith("on_each riskd "):
            build_parser().parse_args(re.sub(r'"[^"]*"', "why", line).split()[2:])
