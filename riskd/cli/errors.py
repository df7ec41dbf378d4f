"""`riskd errors`: what each error on the wire means, and what to do about it."""

from __future__ import annotations

import argparse
from textwrap import TextWrapper
from typing import TYPE_CHECKING

from riskd.cli.arguments import add_form, print_form

if TYPE_CHECKING:
    from riskd.server.faults import Fault

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

    rows = {
        reason: {"code": fault.code.name, "meaning": fault.meaning, "caller": fault.caller, "operator": fault.operator}
        for reason, fault in FAULTS.items()
    }
    return print_form(args, lambda: rows, page, lambda: "\n".join(map(_text, FAULTS, FAULTS.values())))


def _text(reason: str, fault: Fault) -> str:
    paragraphs = (fault.meaning, f"Caller: {fault.caller}", f"Operator: {fault.operator}")
    return "\n".join((f"{reason} ({fault.code.name})", *map(_WRAPPER.fill, paragraphs), ""))
