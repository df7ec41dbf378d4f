"""`riskd subject`: what is kept of one subject, all of it, and its erasure, from a running service."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from riskd.cli.arguments import add_connection
from riskd.cli.settings import add_arguments, given
from riskd.core.attempt import DOMAINS
from riskd.core.errors import InvalidSubject, Problem

_EXIT_CODES: Final = """\
exit codes: 0 answered; 2 bad input, or refused as invalid; 3 no answer in time, or not all could be erased (ask
again); 1 any other error. riskd neither stores nor logs the identifier; give - to keep it out of the list of
processes, too."""
_ACTIONS: Final = {
    "show": (10.0, "tell what is known of a subject, for support"),
    "export": (10.0, "print everything that is kept of a subject, one JSON object a line"),
    "erase": (30.0, "erase everything that is kept of a subject, and say by when the log has nothing of it"),
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `subject` and its actions."""
    subject = commands.add_parser("subject", description="Show, export or erase what is kept of one subject.")
    actions = subject.add_subparsers(required=True, metavar="ACTION")
    for action, (timeout, purpose) in _ACTIONS.items():
        parser = actions.add_parser(action, help=purpose, description=purpose, epilog=_EXIT_CODES)
        parser.add_argument(
            "subject", metavar="SUBJECT", help="identifier of the account, as in its attempts; - reads it from stdin"
        )
        parser.add_argument("--domain", required=True, choices=DOMAINS, help="identity domain")
        parser.add_argument("--tenant", metavar="NAME", default="", help="tenant (default: none)")
        add_connection(parser, target=None, timeout=timeout)
        add_arguments(parser)
        if action == "erase":
            parser.add_argument("--yes", action="store_true", help="do not ask whether to")
        parser.set_defaults(handler=_run, action=action)


def _run(args: argparse.Namespace) -> int:
    from riskd.cli.client import subject

    named = args.subject
    if args.target is None:
        args.target = f"unix:{given(args).settings.subjects.socket}"
    if args.subject == "-":
        args.subject = sys.stdin.readline().rstrip("\n")
    if args.action == "erase" and not args.yes:
        if named == "-" or not sys.stdin.isatty():
            raise InvalidSubject([Problem("--yes", "nobody can be asked", "give --yes to erase without a question")])
        if input(f"Erase everything that is kept of this {args.domain}? It cannot be undone. [y/N] ") not in (
            "y",
            "yes",
        ):
            print("Nothing was erased.")
            return 1
    return subject.run(args)
