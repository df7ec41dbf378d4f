"""riskd inside another program: the README's snippet, and the libraries that it does not load."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from riskd.config import load
from riskd.core.errors import InvalidSettings
from riskd.core.requirement import Tier
from riskd.wiring import open_engine
from tests.e2e.service import PATIENCE, ROOT, environment

UNWANTED = ("grpc", "redis", "sklearn", "scipy", "pandas", "prometheus_client", "riskd._proto", "riskd.metrics.table")


def snippet() -> str:
    """The first Python block below the heading `In process`."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## In process\n")[2].partition("\n## ")[0]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None, "README.md has no Python block below `## In process`"
    return found[1]


def test_the_snippet_of_the_readme(tmp_path: Path) -> None:
    """The snippet runs as it is, prints a tier, and loads neither grpc nor a training library."""
    program = f"{snippet()}\nimport sys\nprint([name for name in {UNWANTED!r} if name in sys.modules])\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tier, loaded = done.stdout.splitlines()
    assert tier in Tier.__members__
    assert loaded == "[]"


def test_a_start_that_was_refused_can_be_tried_again(tmp_path: Path) -> None:
    """A refused start leaves nothing open: in the same process, the next one begins once the mistake is mended."""
    settings = load(None, {}, {"state.dir": str(tmp_path)})
    log = Path(settings.log.dir)
    log.write_text("in the way")
    with pytest.raises(InvalidSettings, match=r"log\.dir"), open_engine(settings):
        pass
    log.unlink()
    with open_engine(settings):
        pass
