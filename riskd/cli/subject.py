"""`riskd subject`: show, export or erase all that a running service stores about one subject."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from riskd.cli.arguments import add_connection, add_subject, subject_of
from riskd.cli.settings import add_arguments, given
from riskd.core.errors import InvalidSubject, Problem

_EXIT_CODES: Final = """\
exit codes: 0 done; 1 any other error; 2 refused: invalid input; 3 no answer in time, or not everything could be erased
(run it again). riskd neither stores nor logs the identifier. To keep it out of the process list, too, give - as
SUBJECT and pass the identifier on stdin."""
_ACTIONS: Final = {
    "show": (10.0, "show a summary of what is stored about a subject, for support"),
    "export": (10.0, "print everything that is stored about a subject, one JSON object a line"),
    "erase": (30.0, "erase everything that is stored about a subject, and print when the log will be free of it"),
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `subject` and its actions."""
    subject = commands.add_parser("subject", description="Show, export or erase what is stored about one subject.")
    actions = subject.add_subparsers(required=True, metavar="ACTION")
    for action, (timeout, purpose) in _ACTIONS.items():
        parser = actions.add_parser(action, help=purpose, description=purpose, epilog=_EXIT_CODES)
        add_subject(parser)
        add_connection(parser, target=None, timeout=timeout)
        add_arguments(parser)
        if action == "erase":
            parser.add_argument("--yes", action="store_true", help="erase without asking for confirmation")
        parser.set_defaults(handler=_run, action=action)


def _run(args: argparse.Namespace) -> int:
    from riskd.cli.client import subject

    named, args.subject = args.subject, subject_of(args)
    if args.target is None:
        args.target = f"unix:{given(args).settings.subjects.socket}"
    if args.action == "erase" and not args.yes:
        if named == "-" or not sys.stdin.isatty():
            what = "is needed: this is not a terminal, so riskd cannot ask for confirmation"
            raise InvalidSubject([Problem("--yes", what, "give --yes to erase without being asked")])
        question = f"Erase everything that is stored about this {args.domain} subject? This cannot be undone. [y/N] "
        print(question, end="", flush=True)
        if sys.stdin.readline().strip() not in ("y", "yes"):  # '' at its end, by Ctrl-D
            print("Nothing was erased.")
            return 1
    return subject.run(args)
