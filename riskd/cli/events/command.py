"""`riskd events`: collects its actions."""

from __future__ import annotations

import argparse

from riskd.cli.events import check, decode, receive


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `events` and its actions."""
    events = commands.add_parser(
        "events",
        description="Hear security events of other parties (Shared Signals: SSF 1.0, CAEP 1.0, RISC 1.0), and tell "
        "them a running service.",
    )
    actions = events.add_subparsers(required=True, metavar="ACTION")
    receive.add_parser(actions)
    check.add_parser(actions)
    decode.add_parser(actions)
