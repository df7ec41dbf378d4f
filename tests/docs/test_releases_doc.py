"""docs/releases.md shows what `riskd release compare` prints, and commands for every replica on Kubernetes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Final

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


def test_a_rollout_on_kubernetes_reaches_every_replica(tmp_path: Path) -> None:
    """The page's commands put the candidate on the volume of each replica, and make, activate and roll it back on each,
    by words that riskd knows."""
    commands = "\n".join(re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    objects = yaml.safe_load_all((KUBERNETES / "statefulset.yaml").read_text(encoding="utf-8"))
    (spec,) = [each["spec"] for each in objects if each["kind"] == "StatefulSet"]
    ((label, value),) = spec["selector"]["matchLabels"].items()
    (container,) = spec["template"]["spec"]["containers"]
    (tmp_path / "policies").mkdir()
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL.format(selector=f"{label}={value}"))
    kubectl.chmod(0o755)
    done = subprocess.run(
        ["bash", "-e", "-c", commands],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
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
