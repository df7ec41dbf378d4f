"""The command line as a script uses it: without a terminal, a home or a place to write, and with readers that leave."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Final, TextIO
from unittest.mock import patch

import pytest

from riskd.cli.main import build_parser, main
from tests.cli.parsers import parsers
from tests.e2e.service import LONDON, ROOT, environment, told
from tests.offline import made_log, made_rows

WHO: Final = "--domain customer zoë"
PAST: Final = "--log {world}/decisions --domain customer"
EXPORT: Final = f"--domain customer --dry-run {ROOT}/tests/data/imports"
NOWHERE: Final = "--target 127.0.0.1:1 --timeout 1"
NONE: Final = "0" * 16
DONE: Final = {
    "geo status": "",
    "geo lookup": LONDON,
    "policy check": f"{ROOT}/data/policies/customer.yaml",
    "policy test": "",
    "policy diff": f"{ROOT}/data/policies {ROOT}/data/policies",
    "policy backtest": f"{PAST} {ROOT}/data/policies",
    "policy rules": PAST,
    "policy calibrate": f"{PAST} --budget 1%",
    "policy signals": PAST,
    "policy variables": "",
    "model list": "",
    "model show": "customer",
    "model verify": "",
    "model promote": "customer simulated-7 --models {models} --force zoë",
    "model explain": "customer --log {world}/decisions --rows 5",
    "model diff": "customer hand-set-4 simulated-7 --log {world}/decisions --rows 50",
    "model reference": "--log {world}/decisions {models}/customer/hand-set-4",
    "model weights": "{models}/customer/hand-set-4",
    "model seal": "{models}/customer/hand-set-4",
    "release create": "--reason zoë",
    "release list": "",
    "release follow": "--timeout 1",
    "caller new": "web",
    "import okta": f"{EXPORT}/okta.json",
    "import entra": f"{EXPORT}/entra.json",
    "import auth0": f"{EXPORT}/auth0.json",
    "import keycloak": f"{EXPORT}/keycloak.json",
    "import ocsf": f"{EXPORT}/ocsf.jsonl",
    "import rba-dataset": f"{EXPORT}/rba_dataset.csv",
    "import decision-log": "{world}/decisions --until 2020-01-01",
    "simulate": "--assumptions",
    "replay": "{world}/decisions --out {out} --processes 1",
    "drift": PAST,
    "log": "",
    "log show": f"{NONE * 2} --log {{world}}/decisions",
    "log export": "{world}/decisions",
    "settings": "",
    "metrics": "",
    "features": "",
    "history": "",
    "errors": "",
}
"""Commands that do what they are asked. Some of them find nothing, or a difference, and say so with 1."""
REFUSED: Final = {
    "serve": "--workers 0",
    "assess": f"--domain customer --subject zoë --journey login --ip {LONDON} {NOWHERE}",
    "outcome": f"{NONE * 2} challenge_passed {NOWHERE}",
    "events tell": f"--domain customer --subject zoë account_disabled {NOWHERE}",
    "events receive": "--streams {state}/zoë.yaml",
    "events check": "--streams {state}/zoë.yaml",
    "events decode": "--streams {state}/zoë.yaml",
    "demo": "--no-geo --workers 0",
    "geo install": "--dir /proc/zoë",
    "model sign": "--key {state}/zoë.pem {models}/customer/hand-set-4",
    "model rollback": "customer --models {models}",
    "release show": "",
    "release shadow": "--timeout 1",
    "release activate": f"{NONE} --timeout 1",
    "release rollback": "--timeout 1",
    "release diff": f"{NONE} {NONE}",
    "release compare": "--log {world}/decisions",
    "caller list": "{state}/zoë.yaml",
    "train": f"{PAST} --out {{out}} --trees 2",
    "evaluate": f"{PAST} {{models}}/customer/hand-set-4",
    "subject show": f"{WHO} {NOWHERE}",
    "subject export": f"{WHO} {NOWHERE}",
    "subject erase": f"{WHO} --yes {NOWHERE}",
    "tenant erase": "zoë --yes",
    "log compact": "",
    "log find": f"{WHO} --log {{world}}/decisions",
    "log query": "--from {state}/zoë 'SELECT 1'",
    "pepper status": "",
    "pepper rotate": "",
}
"""Commands that cannot do it here: there is no service, store, key or file, or too little to learn from."""
HARSH: Final = {"LC_ALL": "C", "COLUMNS": "40", "NO_COLOR": "1", "PYTHONIOENCODING": "ascii"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decision log with labels."""
    return made_log.write(tmp_path_factory.mktemp("world"), made_rows.rows(100))


def arguments(words: str, state: Path, world: Path | None = None) -> list[str]:
    """A command with a state of its own."""
    (state / "models").parent.mkdir()
    if "{models}" in words:
        shutil.copytree(ROOT / "models", state / "models")
    return shlex.split(words.format(world=world, state=state, models=state / "models", out=state / "out"))


def harsh(state: Path) -> dict[str, str]:
    """An environment without a home, in ASCII and on 40 columns."""
    return {name: value for name, value in environment(state).items() if name != "HOME"} | HARSH


def scripted(words: str, output: str, state: Path, world: Path | None = None) -> tuple[int, str, str]:
    """Exit code, output and errors of a command whose stdin is closed and whose output is redirected by a shell."""
    named = arguments(words, state, world)
    shell = f'"$@" <&- {output}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", shell, "bash", sys.executable, "-m", "riskd", *named],
        env=harsh(state),
        cwd="/proc",
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def printed(words: str, stdout: TextIO, state: Path, world: Path) -> int:
    """Exit code of a command in this process, which is quicker than `scripted`."""
    named = arguments(words, state, world)
    with (
        stdout,
        Path(os.devnull).open(encoding="utf-8") as stdin,
        patch.multiple(sys, stdin=stdin, stdout=stdout),
        patch.dict(os.environ, harsh(state), clear=True),
        chdir("/proc"),
    ):
        return main(named)


def full() -> TextIO:
    """A file on a full disk."""
    return Path("/dev/full").open("w", encoding="utf-8")


def left() -> TextIO:
    """A pipe whose reader has left."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w", encoding="utf-8")


def test_the_tables_have_every_command() -> None:
    """Every command is in one of the tables."""
    commands = [name for name, parser in parsers(build_parser()) if parser.get_default("handler")]
    assert sorted(commands) == sorted([*DONE, *REFUSED])


@pytest.mark.slow
@pytest.mark.parametrize("command", DONE)
def test_every_command_works_in_a_script(
    command: str, tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command works with a closed stdin, without a home, in a directory that cannot be written, in ASCII and on 40
    columns. If stdout is a full disk, it ends with 2 and one line; if its reader leaves, with 141 and none."""
    words = f"{command} {DONE[command]}"
    code, output, complained = scripted(words, "", tmp_path / "usual", world)
    assert code in (0, 1), complained
    assert output
    code = printed(words, full(), tmp_path / "full", world)
    assert (code, capsys.readouterr().err.splitlines()[-1]) == (2, "riskd: standard output: No space left on device")
    json = "--json" in dict(parsers(build_parser()))[command].format_help()
    code = printed(f"{words} --json" if json else words, left(), tmp_path / "left", world)
    assert (code, told(capsys.readouterr().err)) == (141, [])


@pytest.mark.slow
@pytest.mark.parametrize("command", REFUSED)
def test_every_command_is_refused_in_a_script(command: str, tmp_path: Path, world: Path) -> None:
    """There, a command that cannot do what it is asked ends with 2 or 3, prints nothing, and says why."""
    code, printed, complained = scripted(f"{command} {REFUSED[command]}", "", tmp_path / "usual", world)
    assert code in (2, 3)
    assert printed == ""
    assert told(complained)
    assert "Traceback" not in complained


@pytest.mark.parametrize("words", ["", "--help", "--version", "log compact --help", "features", "policy test"])
def test_a_process_ends_as_its_command_does(words: str, tmp_path: Path) -> None:
    """If nobody reads its output, or it cannot be written, the interpreter adds nothing to what the command or its help
    says."""
    assert scripted(words, "| true", tmp_path / "left") == (141, "", "")
    full = scripted(words, ">/dev/full", tmp_path / "full")
    assert full == (2, "", "riskd: standard output: No space left on device\n")


@pytest.mark.parametrize("words", ["features", "log export -", "assess --stream -"])
def test_streams_that_are_closed_are_empty(words: str, tmp_path: Path) -> None:
    """A command whose streams are all closed ends as if it read nothing, and prints nowhere."""
    assert scripted(words, ">&- 2>&-", tmp_path / "state") == (0, "", "")


@pytest.mark.parametrize(
    "words", ["subject show - --domain customer", "assess -", "subject erase zoë --domain customer"]
)
def test_an_input_that_is_missing_is_named(words: str, tmp_path: Path) -> None:
    """A command that needs what a closed stdin cannot give is refused with a message."""
    code, printed, complained = scripted(words, "", tmp_path / "state")
    assert (code, printed) == (2, "")
    assert complained.startswith("riskd: ")
    assert "Traceback" not in complained


INTERRUPTING: Final = """
import os, signal, sys
from riskd.__main__ import run

class Interrupting:
    def find_spec(name, path=None, target=None):
        if name == os.environ["AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting)
sys.exit(run())
"""


@pytest.mark.parametrize("module", ["riskd.cli.main", "riskd.cli.errors", "riskd.offline.inventory"])
def test_ctrl_c_is_quiet_from_the_start(module: str, tmp_path: Path) -> None:
    """Ctrl-C while the modules of the command line, or of a command, are imported ends it with 130, in silence."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTING, "history"],
        env=environment(tmp_path, {"AT": module}),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
