"""`riskd events check`: whether a streams file is right, and whether its transmitters answer."""

from __future__ import annotations

import argparse
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from riskd.cli.extras import require
from riskd.cli.terminal import print_json, print_table
from riskd.wording import quantity

if TYPE_CHECKING:
    from riskd.shared_signals.stream import Stream

SILENT = 1
WHY = "tokens of transmitters are verified by joserfc"


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `events check`."""
    purpose = "check a streams file, and ask its transmitters for their keys and for nothing else"
    parser = actions.add_parser(
        "check",
        help=purpose,
        description=f"{purpose}. All mistakes of the file are told at once. A transmitter that is polled is asked for "
        "no event, so none is taken.",
        epilog="exit codes: 0 right, and all answer; 1 a transmitter does not answer as it should; 2 the file is "
        "refused",
    )
    add_streams(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(handler=_run)


def add_streams(parser: argparse.ArgumentParser) -> None:
    """The flag that every action has."""
    parser.add_argument("--streams", metavar="FILE", required=True, help="streams file: docs/shared-signals.md")


class Row(Struct, frozen=True):
    """What was found of a stream, in words."""

    stream: str
    answers: bool
    keys: str
    delivery: str


def _run(args: argparse.Namespace) -> int:
    require("joserfc", WHY, extra="events")
    from riskd.shared_signals.streams_file import read_streams

    rows = [_asked(stream) for stream in read_streams(Path(args.streams))]
    if args.json:
        print_json(rows)
    else:
        cells = [(row.stream, "ok" if row.answers else "NO", row.keys, row.delivery) for row in rows]
        print_table(("stream", "answers", "keys", "delivery"), cells)
    return 0 if all(row.answers for row in rows) else SILENT


def _asked(stream: Stream) -> Row:
    from riskd.shared_signals.bearer import Bearer
    from riskd.shared_signals.keys import Keys
    from riskd.shared_signals.poll import ask
    from riskd.shared_signals.stream import Away, Poll
    from riskd.shared_signals.web import Web

    web, answers = Web(stream.ca_file), True
    try:
        keys = quantity(Keys(stream, web).fetch(), "key")
    except Away as error:
        answers, keys = False, error.why
    if not isinstance(stream.delivery, Poll):
        return Row(stream.name, answers, keys, f"waits for events at {stream.delivery.path}")
    try:
        bearer = Bearer(stream.delivery.bearer, web)
        status = ask(web, stream.delivery.endpoint, bearer, most=0, at_once=True).status
    except Away as error:
        return Row(stream.name, False, keys, error.why)
    if status != HTTPStatus.OK:
        return Row(stream.name, False, keys, f"the endpoint answers {status}")
    return Row(stream.name, answers, keys, "the endpoint answers")
