"""The commands of the runbooks work as written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.service import ROOT, Service, attempt, riskd, serving

MACHINE: Final = "/var/lib/riskd"
"""The state directory in docs/operations.md and the runbooks."""
PAGES: Final = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
COMMANDS: Final = {
    line: page.stem
    for page in PAGES
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("riskd ")
}
"""Every command, and a page that shows it."""
SOUGHT: Final = [
    (page.stem, name)
    for page in PAGES
    for names in re.findall(
        r"^journalctl -u riskd\S* .*\| grep (?:-E )?'?([\w|]+)'?$", page.read_text("utf-8"), re.MULTILINE
    )
    for name in names.split("|")
]
"""Log events, or parts of their names, that a page greps for."""
LACKING: Final = {
    "riskd drift": (2, "has no earlier decisions of customer"),
    "riskd policy calibrate": (2, "decisions not known to be good or fraud"),
    "riskd geo status --dir": (3, "holds no geo database"),
    "riskd release compare": (2, "no release was rolled out"),
    "riskd events check": (2, "streams.yaml: cannot be read: No such file or directory"),
}
"""Commands that a service with one sign-in cannot answer: no past, no outcomes, no rollout, no file, no receiver."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("runbooks") / "state") as running:
        running.assess(attempt())
        for activation in ("shadow", "follow") * 3:
            assert riskd("release", activation, state=running.state).returncode == 0
        yield running


def test_there_is_something_to_follow() -> None:
    """Commands are found on several pages."""
    assert len(set(COMMANDS.values())) >= 8


@pytest.mark.parametrize(("page", "name"), SOUGHT)
def test_an_event_that_a_runbook_looks_for_is_logged(page: str, name: str) -> None:
    """Every event that a runbook greps for is logged by some module."""
    del page
    quoted = re.compile(rf'"[a-z_]*{name}[a-z_]*[":]')
    assert any(quoted.search(path.read_text(encoding="utf-8")) for path in (ROOT / "riskd").rglob("*.py"))


@pytest.mark.parametrize("line", COMMANDS, ids=[f"{page}-{number}" for number, page in enumerate(COMMANDS.values())])
def test_a_command_of_a_runbook_answers(line: str, service: Service, tmp_path: Path) -> None:
    """With the service's settings each command exits with 0 and prints something, or names what is missing here."""
    words = shlex.split(line.replace(MACHINE, str(service.state)).replace("/var/tmp", str(tmp_path)))
    done = riskd(*words[1:], state=service.state)
    code, said = next((told for begin, told in LACKING.items() if line.startswith(begin)), (0, ""))
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert said in done.stderr
    assert code or done.stdout or "--check" in words
