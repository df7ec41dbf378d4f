"""What must not be in the repository: registry hosts, paths of a machine, unfinished work and incomplete lock files."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
# Every pattern is split, so that this file does not match it.
FORBIDDEN = {
    "the host of a package registry": r"pypi\.o"
    r"rg|python"
    r"hosted|npm"
    r"js\.|crates\.i"
    r"o\b|(?<!google\.)golang\.o"  # google.golang.org is where Go's gRPC is imported from
    r"rg|yarn"
    r"pkg\.",
    "a path of somebody's machine": r"(?<![\w.])/(?:ho" r"me|ro" r"ot|Us" r"ers|wo" r"rk)/\w",
    "work left over": r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b",
    "a test that is not run": r"\bpytest\.sk" r"ip\b|\bmark\.(?:sk" r"ip|xf" r"ail)",
    "a method without a body": r"\bNotImple" r"mentedError\b",
}


def tracked() -> list[Path]:
    """Every file that is in the repository, or would be after `git add --all`, without generated code."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".", ":!riskd/_proto"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for entry in listed.split("\0") if entry and (path := ROOT / entry).is_file()]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_repository_is_clean(what: str) -> None:
    """No file names a registry or a path of a machine, and none has unfinished work or skipped tests."""
    pattern = re.compile(FORBIDDEN[what])
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in tracked()
        if pattern.search(text := path.read_text(errors="replace"))
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]

    assert found == []


def test_every_test_states_its_law() -> None:
    """Every test has a docstring, which states the law that it proves."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]

    assert silent == []


def test_no_test_imports_a_test_module() -> None:
    """No test imports from a test module: shared helpers are in modules of their own."""
    taken = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.module}"
        for folder in ("tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\bfrom [\w.]*test_", text := path.read_text())
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and "test_" in (node.module or "")
    ]

    assert taken == []


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_locks_are_complete_and_have_no_urls(lock: Path) -> None:
    """Each locked version has a hash, and no line says where to fetch it from."""
    entries = re.split(r"(?<!\\)\n", lock.read_text().strip())

    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []
    assert [entry for entry in entries if "://" in entry or "file:" in entry] == []


def test_the_npm_lock_is_complete_and_has_no_urls() -> None:
    """Each package in the npm lock has a hash, and none says where to fetch it from."""
    lock = json.loads((ROOT / "tests" / "e2e" / "clients" / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}

    assert packages
    assert [name for name, entry in packages.items() if "integrity" not in entry or "resolved" in entry] == []


def test_lock_satisfies_the_project() -> None:
    """Every dependency of pyproject.toml is locked to a version that pyproject.toml allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    entries = re.split(r"(?<!\\)\n", (ROOT / "requirements" / "run.txt").read_text().strip())
    locked = {
        requirement.name: requirement for requirement in map(Requirement, (entry.split("\\")[0] for entry in entries))
    }

    for wanted in map(Requirement, project["dependencies"]):
        version = str(locked[canonicalize_name(wanted.name)].specifier).removeprefix("==")
        assert wanted.specifier.contains(version), f"{wanted} is locked at {version}: run `make lock`"
