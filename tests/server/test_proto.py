"""The protos: fully documented, and their generated code is up to date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc

ROOT = Path(__file__).parents[2]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)


def test_the_protos_follow_the_style_and_every_name_has_a_comment() -> None:
    """buf's STANDARD and COMMENTS rules hold; the comments are the public documentation."""
    lint = run(str(Path(sys.executable).with_name("buf")), "lint")
    assert (lint.stdout, lint.stderr, lint.returncode) == ("", "", 0)


def test_the_generated_code_is_up_to_date() -> None:
    """The committed code is what the protos generate."""
    check = run(sys.executable, "proto/generate.py", "--check")
    assert check.returncode == 0, check.stdout


def test_reflection_sees_the_paths_that_clients_compile() -> None:
    """Descriptors have the file and package names of the protos, wherever the generated code is."""
    assert risk_pb2.DESCRIPTOR.name == "riskd/v1/risk.proto"
    assert risk_pb2.DESCRIPTOR.package == "riskd.v1"
    assert hasattr(risk_pb2_grpc, "RiskServiceStub")
