"""The programs in `benchmarks/` behave as commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from benchmarks import backtest
from benchmarks.bounds import PARTS
from riskd.config import data_directory
from riskd.offline.policies.backtest import Backtest, run

ROOT: Final = Path(__file__).parents[1]
PROGRAMS: Final = sorted(
    path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")
)
SCRIPT: Final = """
from benchmarks import program
def main():
    while True:
        print("a line")
program(main)
"""


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_benchmark_is_a_program(path: Path) -> None:
    """Each benchmark is run by `program`, which handles a closed output."""
    assert path.read_text(encoding="utf-8").rpartition('if __name__ == "__main__":\n')[2].startswith("    program(main")


def test_a_closed_output_ends_a_benchmark_quietly() -> None:
    """With a closed output, as in `| head`, a benchmark ends without a traceback, with the exit code of SIGPIPE."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "a line\n"
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == ("", 141)


@pytest.mark.slow
def test_the_log_of_the_backtest_is_decided_again_without_differences(tmp_path: Path) -> None:
    """Every line that `benchmarks.backtest` writes is readable, and the policy that decided changes nothing."""
    backtest.write(tmp_path, 60)
    policy = data_directory("policies") / "customer.yaml"
    tally = run(Backtest(log=tmp_path, policies=((str(policy), policy.read_text(encoding="utf-8")),)))
    assert (tally.counts["replayed"], tally.counts["unreadable"]) == (60, 0)
    assert not tally.examples


def test_bounds_replaces_functions_that_exist() -> None:
    """`benchmarks.bounds` replaces functions by their names, which a type checker does not follow."""
    replaced = [(module, name) for _, functions in PARTS for module, name, _ in functions]
    assert [f"{module.__name__}.{name}" for module, name in replaced if not hasattr(module, name)] == []
