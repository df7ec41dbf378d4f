"""`riskd events decode`: verifies one token, and prints the event that riskd would receive."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from msgspec import to_builtins

from riskd.cli.events.check import add_streams, streams_of
from riskd.cli.terminal import aligned, complain, print_json, reading
from riskd.core.errors import InvalidSettings, Problem
from riskd.shared_signals.stream import Away, Stream
from riskd.wording import when

WOULD_BE_REFUSED = 1
NO_KEYS = 3


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `events decode`."""
    purpose = "verify one security event token, and print what would be reported, or why it is refused"
    parser = actions.add_parser(
        "decode",
        help=purpose,
        description=f"{purpose}. Reports nothing. Fetches the keys of the transmitter.",
        epilog="exit codes: 0 it would be accepted; 1 it would be refused; 2 the streams file is invalid, or no token "
        "was given; 3 the keys of the transmitter cannot be fetched",
    )
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="file with the token, or - for standard input (default)"
    )
    add_streams(parser)
    parser.add_argument("--stream", metavar="NAME", help="stream on which it came (default: the only one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    stream = _stream(args, streams_of(args))
    from riskd.shared_signals.intake import REFUSED, understand
    from riskd.shared_signals.keys import Keys
    from riskd.shared_signals.web import Web

    token = _token(args.file)
    try:
        taken = understand(token, stream, Keys(stream, Web(stream.ca_file)), time.time())
    except Away as error:
        complain(f"{stream.name}: {error.why}")
        return NO_KEYS
    if args.json:
        print_json({"stream": stream.name, **to_builtins(taken)})
    else:
        rows = [("stream", stream.name), ("event", taken.event), ("token", taken.jti)]
        rows.append(("result", " ".join(filter(None, (taken.result, taken.err)))))
        rows.append(("because", taken.why))
        if event := taken.report:
            rows += [("subject", event.subject), ("domain", event.domain), ("tenant", event.tenant)]
            rows += [("at", when(event.time or 0.0)), ("level", event.level), ("credential", event.credential_type)]
            rows.append(("hijacked", "yes" if event.hijacked else ""))
        if taken.of is not None:
            rows.append(("status", taken.of.status))
        print(aligned([row for row in rows if row[1]]))
    return WOULD_BE_REFUSED if taken.result == REFUSED else 0


def _stream(args: argparse.Namespace, streams: list[Stream]) -> Stream:
    """The stream that the token belongs to. Raises InvalidSettings."""
    names = ", ".join(each.name for each in streams)
    if args.stream is None and len(streams) == 1:
        return streams[0]
    for each in streams:
        if each.name == args.stream:
            return each
    what = f"there is no stream {args.stream!r}" if args.stream else "the file has several streams"
    raise InvalidSettings([Problem("--stream", what, f"name one: {names}")])


def _token(file: str) -> str:
    """Raises InvalidSettings."""
    from riskd.shared_signals.token import TOKEN_BYTES

    with reading(file), sys.stdin.buffer if file == "-" else Path(file).open("rb") as opened:
        token = opened.read(TOKEN_BYTES + 2).decode("ascii", "replace").strip()
    if not token:
        raise InvalidSettings([Problem(file, "holds no token", "give a file, or the token on standard input")])
    return token
