"""The command line: registers the subcommands, and turns riskd's own errors into text and exit code 2."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Final, NoReturn

from riskd.cli import (
    assess,
    caller,
    drift,
    errors,
    evaluate,
    features,
    geo,
    history,
    imports,
    metrics,
    pepper,
    release,
    replay,
    serve,
    settings,
    subject,
    tenant,
    train,
)
from riskd.cli.demo import command as demo
from riskd.cli.events import command as events
from riskd.cli.log import command as log
from riskd.cli.model import command as model
from riskd.cli.policy import command as policy
from riskd.cli.simulate import command as simulate
from riskd.cli.terminal import complain
from riskd.core.errors import Problem, RiskdError
from riskd.version import version

REFUSED: Final = 2
INTERRUPTED: Final = 130
UNREAD: Final = 141
"""What a shell reports for a program that SIGPIPE ended: the reader of the output went away."""
_PLAIN: Final = "exit codes: 0 done; 2 refused: stderr says what is wrong and how to fix it"
"""For commands that have no other exit codes."""
GROUPS: Final = (
    ("Run", (serve, assess, events, demo)),
    ("Set up", (geo, policy, model, release, caller, imports)),
    ("Learn", (simulate, replay, train, evaluate, drift)),
    ("Keep and erase", (subject, tenant, log, pepper)),
    ("Look things up", (settings, metrics, features, history, errors)),
)
"""Every subcommand, in the order of the help. Each module has `add_parser`, which sets `handler`. The first sentence
of the parser's description is the subcommand's line in the top-level help."""


class _Help(argparse.HelpFormatter):
    """Wraps texts to the width of the terminal, by paragraphs. Those with examples or lists stay as they are: they have
    indented lines, or begin with `#`."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        parts = text.strip("\n").split("\n\n")
        return "\n\n".join(
            part if "\n  " in part or part.startswith((" ", "#")) else fill(part, width, indent) for part in parts
        )


class _Version(argparse.Action):
    """Looks the version up when it is asked for, which takes as long as a tenth of the start."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(f"riskd {version()}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="riskd",
        description="Adaptive, risk-based authentication: how likely it is that a sign-in is not the account owner's, "
        "and what to require.",
        formatter_class=_Help,
        usage="riskd [--version] COMMAND ...",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show program's version number and exit")
    commands = parser.add_subparsers(metavar="COMMAND", help=argparse.SUPPRESS, prog="riskd")
    lines = []
    for title, modules in GROUPS:
        before = set(commands.choices)
        for module in modules:
            module.add_parser(commands)
        added = [name for name in commands.choices if name not in before]
        lines += [f"{title}:", *(_line(name, commands.choices[name]) for name in added), ""]
    _complete(parser)
    parser.epilog = "\n".join([*lines, "For details: riskd COMMAND --help"])
    return parser


def _width() -> int:
    return max(shutil.get_terminal_size().columns - 2, 40)


def _line(name: str, parser: argparse.ArgumentParser) -> str:
    """A command and its purpose, wrapped to the width of the terminal."""
    sentence = (parser.description or "").partition(". ")[0].rstrip(".")
    purpose = sentence[:1].lower() + sentence[1:]
    return textwrap.fill(purpose, _width(), initial_indent=f"  {name:<10} ", subsequent_indent=" " * 13)


def _complete(parser: argparse.ArgumentParser) -> None:
    """Turn the description of every subcommand into a sentence, and list the exit codes in every command's help.

    Many commands use the same words as their line in the list above and as their description.
    """
    if parser.get_default("handler") and "exit codes: " not in (parser.epilog or ""):
        parser.epilog = "\n\n".join(filter(None, (parser.epilog, _PLAIN)))
    for action in parser._actions:  # noqa: SLF001 - argparse has no public access to subcommands
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for below in action.choices.values():
                text = below.description or ""
                below.description = text[:1].upper() + text[1:] + ("" if text.endswith((".", ")")) else ".")
                below.formatter_class = _Help
                _complete(below)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 2 when riskd refuses its input."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own messages on stderr only repeat riskd's
    try:
        code = _run(argv)
        sys.stdout.flush()
    except RiskdError as error:
        for problem in error.problems:
            complain(problem)
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except UnicodeEncodeError:
        # Python represents such bytes of the arguments, and those that `stdin` reads, as lone surrogates.
        complain("an argument or standard input is not UTF-8")
        return REFUSED
    except (BrokenPipeError, SystemExit) as error:
        # The reader has gone, so nothing more is flushed. rich turns this into SystemExit(1), but 1 has a meaning here.
        if not isinstance(error, BrokenPipeError) and not isinstance(error.__context__, BrokenPipeError):
            raise
        silence()
        return UNREAD
    except OSError as error:
        # Commands report errors of their input files themselves. What is left is mostly a full disk.
        remedy = "run this as the user of the service" if isinstance(error, PermissionError) else ""
        complain(Problem(str(error.filename or "standard output"), error.strerror or str(error), remedy))
        silence()
        return REFUSED
    return code


def _run(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit:
        sys.stdout.flush()  # the help, whose reader may have gone
        raise
    if "handler" not in args:
        parser.print_help()
        return REFUSED
    code: int = args.handler(args)
    return code


def silence() -> None:
    """Discard unwritten output: the interpreter would otherwise flush it once more at exit, and report the failure."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
