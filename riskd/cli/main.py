"""The command line: collects the sub-commands, and turns riskd's own errors into text and exit code 2."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Final

from riskd.cli import (
    assess,
    caller,
    demo,
    drift,
    errors,
    evaluate,
    events,
    features,
    geo,
    history,
    imports,
    log,
    metrics,
    model,
    pepper,
    policy,
    release,
    replay,
    serve,
    settings,
    simulate,
    subject,
    train,
)
from riskd.cli.terminal import complain
from riskd.cli.version import version
from riskd.core.errors import RiskdError

REFUSED: Final = 2
INTERRUPTED: Final = 130
UNREAD: Final = 141
"""What a shell says of a program that SIGPIPE ended: no verdict, since nobody read it."""
_PLAIN: Final = "exit codes: 0 done; 2 refused, with what is wrong and how to mend it"
"""Of commands that have no others."""
GROUPS: Final = (
    ("Run", (serve, assess, events, demo)),
    ("Set up", (geo, policy, model, release, caller, imports)),
    ("Learn", (simulate, replay, train, evaluate, drift)),
    ("Keep and erase", (subject, log, pepper)),
    ("Look things up", (settings, metrics, features, history, errors)),
)
"""Every sub-command, in the order of the help. A module has `add_parser`, which sets `handler`; the first sentence
of its parser's description is its line in the help."""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="riskd",
        description="Adaptive, risk-based authentication: how likely a sign-in is not the owner's, what to require.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="riskd [--version] COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"riskd {version()}")
    commands = parser.add_subparsers(metavar="COMMAND", help=argparse.SUPPRESS, prog="riskd")
    lines = []
    for title, modules in GROUPS:
        before = set(commands.choices)
        for module in modules:
            module.add_parser(commands)
        added = [name for name in commands.choices if name not in before]
        lines += [f"{title}:", *(_line(name, commands.choices[name]) for name in added), ""]
    _complete(parser)
    parser.epilog = "\n".join([*lines, "riskd COMMAND --help says more."])
    return parser


def _width() -> int:
    return max(shutil.get_terminal_size().columns - 2, 40)


def _line(name: str, parser: argparse.ArgumentParser) -> str:
    """A command and its purpose, as wide as the terminal."""
    sentence = (parser.description or "").partition(". ")[0].rstrip(".")
    purpose = sentence[:1].lower() + sentence[1:]
    return textwrap.fill(purpose, _width(), initial_indent=f"  {name:<10} ", subsequent_indent=" " * 13)


def _complete(parser: argparse.ArgumentParser) -> None:
    """Make a sentence of every description below, whose words often are those of the line in the help above, and have
    every command tell its exit codes."""
    if parser.get_default("handler") and "exit codes: " not in (parser.epilog or ""):
        parser.epilog = "\n\n".join(filter(None, (parser.epilog, _PLAIN)))
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to its sub-commands
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for below in action.choices.values():
                text = below.description or ""
                below.description = text[:1].upper() + text[1:] + ("" if text.endswith((".", ")")) else ".")
                if below.formatter_class is argparse.RawDescriptionHelpFormatter:
                    below.description = textwrap.fill(below.description, _width())
                _complete(below)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code, or 2 when riskd refuses what it was given."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it would write beside what riskd says, and say no more
    parser = build_parser()
    args = parser.parse_args(argv)
    if "handler" not in args:
        parser.print_help()
        return REFUSED
    try:
        code: int = args.handler(args)
        sys.stdout.flush()
    except RiskdError as error:
        for problem in error.problems:
            complain(problem)
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:
        # Whoever read has gone; nothing is left to flush to. rich makes SystemExit(1) of it, which is a verdict here.
        if not isinstance(error, BrokenPipeError) and not isinstance(error.__context__, BrokenPipeError):
            raise
        silence()
        return UNREAD
    except OSError as error:
        # What a command works on is refused by the command; this is what it was not ready for, mostly a full disk.
        complain(f"{error.filename or 'what was to be printed'}: {error.strerror or error}")
        silence()
        return REFUSED
    return code


def silence() -> None:
    """Let what is not written yet go nowhere: the interpreter would try once more at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
