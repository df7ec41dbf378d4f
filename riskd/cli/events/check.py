"""`riskd events check`: checks the streams file, whether transmitters answer, and whether the caller may report
events."""

from __future__ import annotations

import argparse
from http import HTTPStatus
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from riskd.cli.arguments import add_connection
from riskd.cli.extras import require
from riskd.cli.terminal import print_json, print_table
from riskd.shared_signals.stream import Away, Poll, Stream
from riskd.wording import quantity

SILENT = 1


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `events check`."""
    purpose = "check a streams file, and whether its transmitters answer"
    parser = actions.add_parser(
        "check",
        help=purpose,
        description=f"{purpose}. Lists all mistakes of the file at once, fetches the keys of each transmitter, and "
        "polls for no events, so none is taken. With --target it also asks the service whether this caller may report "
        "the events of each stream, and reports none.",
        epilog="exit codes: 0 valid, and all answer; 1 a transmitter does not answer as it should, or the caller may "
        "not report to the service; 2 the file or a flag is invalid",
    )
    add_streams(parser)
    add_connection(parser, None, 5.0, printed=False, where="host and port of the service (default: do not ask it)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(handler=_run)


def add_streams(parser: argparse.ArgumentParser) -> None:
    """Add the flag that names the streams file, which `streams_of` reads."""
    parser.add_argument("--streams", metavar="FILE", required=True, help="streams file (see docs/shared-signals.md)")


def streams_of(args: argparse.Namespace) -> list[Stream]:
    """The streams in the file. Raises InvalidSettings without the extra `events`, and InvalidStreams."""
    require("joserfc", "tokens of transmitters are verified by joserfc", extra="events")
    from riskd.shared_signals.streams_file import read_streams

    return read_streams(Path(args.streams))


class Row(Struct, frozen=True):
    """The findings about one stream, in words."""

    stream: str
    answers: bool
    keys: str
    delivery: str
    caller: str | None = None
    """Whether the service lets it report events; None if that was not checked."""


def _run(args: argparse.Namespace) -> int:
    streams = streams_of(args)
    rows = [_asked(stream) for stream in streams] if args.target is None else _with_caller(args, streams)
    if args.json:
        print_json(rows)
    else:
        head = ("stream", "answers", "keys", "delivery", "caller")
        cells = [(row.stream, "ok" if row.answers else "NO", row.keys, row.delivery, row.caller or "") for row in rows]
        width = len(head) if args.target else len(head) - 1
        print_table(head[:width], [cell[:width] for cell in cells])
    return 0 if all(row.answers for row in rows) else SILENT


def _with_caller(args: argparse.Namespace, streams: list[Stream]) -> list[Row]:
    """Raises InvalidSettings."""
    from riskd.cli.client import connection, events

    metadata = connection.call_metadata(args)
    with connection.connect(args) as channel:
        check = events.checker(channel, args.timeout, metadata)
        answers = [(_asked(stream), check(stream)) for stream in streams]
    return [
        replace(row, answers=row.answers and why is None, caller="may report" if why is None else why)
        for row, why in answers
    ]


def _asked(stream: Stream) -> Row:
    from riskd.shared_signals.bearer import Bearer
    from riskd.shared_signals.keys import Keys
    from riskd.shared_signals.poll import ask
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
