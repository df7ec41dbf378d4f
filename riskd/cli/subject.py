"""`riskd subject`: show, export or erase all that a running service stores about a subject, or erase many."""

from __future__ import annotations

import argparse
from typing import Final

from riskd.cli.arguments import add_connection, add_subject, confirmed, lines_of, subject_of
from riskd.cli.settings import add_arguments, given
from riskd.core.errors import InvalidSubject, Problem

_EXIT_CODES: Final = """\
exit codes: 0 done; 1 any other error; 2 refused: invalid input; 3 no answer in time, or not everything could be erased
(run it again). riskd neither stores nor logs the identifier. To keep it out of the process list, too, give - as
SUBJECT and pass the identifier on stdin."""
_ACTIONS: Final = {
    "show": (10.0, "show a summary of what is stored about a subject, for support"),
    "export": (10.0, "print everything that is stored about a subject, one JSON object a line"),
    "erase": (30.0, "erase everything that is stored about one or many subjects, and print when the log is free of it"),
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `subject` and its actions."""
    subject = commands.add_parser("subject", description="Show, export or erase what is stored about a subject.")
    actions = subject.add_subparsers(required=True, metavar="ACTION")
    for action, (timeout, purpose) in _ACTIONS.items():
        parser = actions.add_parser(action, help=purpose, description=purpose, epilog=_EXIT_CODES)
        add_subject(parser, optional=action == "erase")
        add_connection(parser, target=None, timeout=timeout)
        add_arguments(parser)
        if action == "erase":
            parser.add_argument(
                "--file",
                metavar="FILE",
                help="erase the subjects in a file, or with - on standard input, one a line; the exit code is 2 if one "
                "was refused",
            )
            parser.add_argument("--yes", action="store_true", help="erase without asking for confirmation")
        parser.set_defaults(handler=_run, action=action)


def _run(args: argparse.Namespace) -> int:
    from riskd.cli.client import subject

    file, named = getattr(args, "file", None), args.subject
    if file is not None and named is not None:
        raise InvalidSubject([Problem("SUBJECT", "goes into a line of --file", "leave it out")])
    if file is None and named is None:
        raise InvalidSubject([Problem("SUBJECT", "is needed", "give it, or --file FILE with many subjects")])
    if file is None:
        args.subject = subject_of(args)
    if args.target is None:
        args.target = f"unix:{given(args).settings.subjects.socket}"
    whom = f"this {args.domain} subject" if file is None else f"each {args.domain} subject in {file}"
    if args.action == "erase" and not (args.yes or confirmed(whom, piped="-" in (named, file))):
        print("Nothing was erased.")
        return 1
    if file is None:
        return subject.run(args)
    with lines_of(file) as lines:
        return subject.erase_each(args, lines)
