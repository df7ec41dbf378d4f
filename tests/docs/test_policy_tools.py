"""The outputs in docs/policy.md are what the commands print."""

from __future__ import annotations

from tests.docs.policy_tools import BLOCK, PAGE, written


def test_the_page_shows_what_the_commands_print() -> None:
    """Each output in docs/policy.md is what its command prints now; `python -m tests.docs.policy_tools` rewrites
    them."""
    page = PAGE.read_text(encoding="utf-8")
    commands = [command for command, _ in BLOCK.findall(page)]
    assert {command.split()[2] for command in commands} == {"test", "diff", "backtest", "rules", "calibrate"}
    assert written(page) == page, "update it: python -m tests.docs.policy_tools"
