"""Commands that read a decision log find it through the settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from riskd.cli.main import build_parser, main
from riskd.config import data_directory
from tests.cli.parsers import parsers
from tests.offline.drift.world import rows, write

POLICIES = str(data_directory("policies"))
COMMANDS = {
    "backtest": ["policy", "backtest", POLICIES, "--domain", "customer"],
    "rules": ["policy", "rules", "--domain", "customer"],
    "calibrate": ["policy", "calibrate", "--domain", "customer", "--budget", "5%", "--presume-good"],
    "signals": ["policy", "signals", "--domain", "customer"],
    "drift": ["drift"],
    "explain": ["model", "explain", "customer"],
    "explain one": ["model", "explain", "customer", "--id", f"{7:032x}"],
    "diff": ["model", "diff", "customer", "hand-set-4", "simulated-7", "--log"],
    "replay": ["replay", "--processes", "1"],
}


def test_commands_with_a_log_accept_settings() -> None:
    """Every command with a `log` argument has the setting as its default, and accepts `--config` and `--set`."""
    found = []
    for name, parser in parsers(build_parser()):
        for log in (each for each in parser._actions if each.dest == "log"):
            found.append(name)
            flags = {flag for each in parser._actions for flag in each.option_strings}
            assert {"--config", "--set"} <= flags, name
            assert not log.required, name
            assert "log.dir" in str(log.help), name
    assert len(found) >= len(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_log_of_the_settings_is_read(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is found through the settings file or the environment; if it is missing, the message names the path and
    the setting."""
    settings, place = tmp_path / "riskd.toml", tmp_path / "decisions"
    settings.write_text(f'[log]\ndir = "{place}"\n')
    monkeypatch.setenv("RISKD_STATE__DIR", str(tmp_path / "state"))
    words = COMMANDS[command]
    assert main([*words, *out(command, tmp_path, 0), "--config", str(settings)]) == 2
    said = capsys.readouterr().err
    assert str(place) in said
    assert "log.dir" in said
    write(place, rows(1, 300))
    code = main([*words, *out(command, tmp_path, 1), "--config", str(settings)])
    of_the_file = capsys.readouterr()
    assert (code in (0, 1), bool(of_the_file.out)) == (True, True), of_the_file.err
    monkeypatch.setenv("RISKD_LOG__DIR", str(place))
    assert main([*words, *out(command, tmp_path, 2)]) == code
    assert timeless(capsys.readouterr().out) == timeless(of_the_file.out)


def timeless(said: str) -> str:
    """The output without durations."""
    return re.sub(r"[\d.]+ s, [\d,]+ a second", "", said)


def out(command: str, directory: Path, number: int) -> list[str]:
    return ["--out", str(directory / f"out-{number}")] if command == "replay" else []
