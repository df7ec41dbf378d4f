"""`riskd events`: registers its actions."""

from __future__ import annotations

import argparse

from riskd.cli.events import check, decode, receive, tell


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `events` and its actions."""
    events = commands.add_parser(
        "events",
        description="Report to a running service what other parties say about accounts (CAEP 1.0, RISC 1.0), by "
        "hand or from their transmitters (SSF 1.0).",
    )
    actions = events.add_subparsers(required=True, metavar="ACTION")
    for group in (tell, receive, check, decode):
        group.add_actions(actions)
