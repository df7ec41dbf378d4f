"""The command line: collects the sub-commands, and turns riskd's own errors into text and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from riskd.cli import (
    assess,
    caller,
    demo,
    drift,
    errors,
    evaluate,
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
from riskd.cli.version import version
from riskd.core.errors import RiskdError

REFUSED: Final = 2
INTERRUPTED: Final = 130
UNREAD: Final = 141
"""What a shell says of a program that SIGPIPE ended: no verdict, since nobody read it."""
GROUPS: Final = (
    ("Run", (serve, assess, demo)),
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
        lines += [f"{title}:", *(f"  {name:<10} {_purpose(commands.choices[name])}" for name in added), ""]
    parser.epilog = "\n".join([*lines, "riskd COMMAND --help says more."])
    return parser


def _purpose(parser: argparse.ArgumentParser) -> str:
    sentence = (parser.description or "").partition(". ")[0].rstrip(".")
    return sentence[:1].lower() + sentence[1:]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code, or 2 when riskd refuses what it was given."""
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
            print(f"riskd: {problem}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:
        # Whoever read has gone; nothing is left to flush to. rich makes SystemExit(1) of it, which is a verdict here.
        if not isinstance(error, BrokenPipeError) and not isinstance(error.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    return code
