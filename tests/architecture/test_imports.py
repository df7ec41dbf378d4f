"""Import contracts, and modules that are actually loaded."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"google.protobuf", "grpc", "numpy", "pandas", "redis", "riskd._proto", "sklearn"}
WIRE = {"google.protobuf", "grpc", "riskd._proto"}
LIGHT = {
    "riskd": HEAVY,
    "riskd.core.assess": HEAVY - {"numpy"},
    "riskd.cli.main": HEAVY,
    "riskd.cli.serve": WIRE,
    "riskd.server.processes.http": WIRE,
    "riskd.server.processes.supervisor": WIRE,
}
"""Each module, and what importing it must not load. A process that has loaded grpc cannot safely fork."""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def exists(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_contracts_hold() -> None:
    """Every import contract in pyproject.toml is kept."""
    checked = run(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("module", [module for module in LIGHT if exists(module)])
def test_light_modules_stay_light(module: str) -> None:
    """Importing a light module does not load the heavy modules listed for it."""
    loaded = run(sys.executable, "-c", f"import sys, {module}; print(*sys.modules)")

    assert loaded.returncode == 0, loaded.stderr
    assert LIGHT[module] & set(loaded.stdout.split()) == set()


def test_the_command_line_starts_light() -> None:
    """What every command pays for, the parsers of all commands, loads neither heavy modules nor the table of user
    agents, nor what only some commands need of the standard library."""
    code = "import sys; from riskd.cli.main import build_parser; build_parser(); print(*sys.modules)"
    loaded = set(run(sys.executable, "-c", code).stdout.split())
    assert (HEAVY | {"ua_parser", "ssl", "importlib.metadata"}) & loaded == set()


def imported(node: ast.AST) -> set[str]:
    """The modules that an import statement names."""
    if isinstance(node, ast.Import):
        return {name.name for name in node.names}
    if isinstance(node, ast.ImportFrom):
        named = {f"{node.module}.{name.name}" for name in node.names}
        return {each if exists(each) else str(node.module) for each in named}
    return set()


def test_a_function_of_the_command_line_imports_only_what_would_slow_its_start() -> None:
    """An import inside a function is of a module that the start does not load; all others are at the top."""
    loaded = set(run(sys.executable, "-c", "import sys, riskd.cli.main; print(*sys.modules)").stdout.split())
    early = [
        f"{path}: {function.name}: {imported(each)}"
        for path in sorted((ROOT / "riskd" / "cli").rglob("*.py"))
        if "client" not in path.parts
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for each in ast.walk(function)
        if imported(each) & loaded
    ]
    assert early == []
