"""Laws of the programs in `benchmarks/`: they end as commands do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

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
    """Each runs under `program`, which handles a closed standard output."""
    assert path.read_text(encoding="utf-8").rpartition('if __name__ == "__main__":\n')[2].startswith("    program(main")


def test_nobody_reads_on() -> None:
    """With `| head` it ends without a traceback, with the exit code of SIGPIPE."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "a line\n"
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == ("", 141)
