"""`riskd errors`: what each error on the wire means, and what to do about it."""

from __future__ import annotations

import argparse
from textwrap import TextWrapper

from riskd.cli.arguments import add_form
from riskd.cli.terminal import print_json

_WRAPPER = TextWrapper(100, initial_indent="  ", subsequent_indent="    ")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `errors`."""
    parser = commands.add_parser(
        "errors",
        description="List the errors that callers can get, and what the caller and the operator do about each.",
    )
    add_form(parser, "docs/errors.md")
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.server.faults import FAULTS, page

    if args.markdown:
        print(page(), end="")
    elif args.json:
        rows = {
            reason: {
                "code": fault.code.name,
                "meaning": fault.meaning,
                "caller": fault.caller,
                "operator": fault.operator,
            }
            for reason, fault in FAULTS.items()
        }
        print_json(rows)
    else:
        for reason, fault in FAULTS.items():
            paragraphs = (fault.meaning, f"Caller: {fault.caller}", f"Operator: {fault.operator}")
            print(f"{reason} ({fault.code.name})", *(_WRAPPER.fill(text) for text in paragraphs), sep="\n", end="\n\n")
    return 0
