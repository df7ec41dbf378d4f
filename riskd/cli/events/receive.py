"""`riskd events receive`: receives events from transmitters, and reports them to a running service."""

from __future__ import annotations

import argparse
import signal
import threading
from typing import TYPE_CHECKING

from riskd.cli.arguments import add_connection, whole_number
from riskd.cli.events.check import add_streams, streams_of
from riskd.config import is_loopback
from riskd.core.errors import InvalidSettings, Problem

if TYPE_CHECKING:
    import ssl

BROKEN = 1


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `events receive`."""
    purpose = "receive events from transmitters, verify them, and report them to a running service"
    parser = actions.add_parser(
        "receive",
        help=purpose,
        description=f"{purpose}, until it is stopped. It acknowledges a token once the service has recorded it, and "
        "keeps nothing itself, so it may be stopped or killed at any time, and several may run at once. It logs one "
        "JSON object per line.",
        epilog="exit codes: 0 stopped (SIGTERM, SIGINT) after finishing what was under way; 1 an internal error, which "
        "is in the log; 2 the streams file or a flag is invalid",
    )
    add_streams(parser)
    add_connection(parser, timeout=5.0, printed=False)
    listens = parser.add_argument_group("push streams")
    listens.add_argument(
        "--push-host", metavar="HOST", default="127.0.0.1", help="listen on this address (default: %(default)s)"
    )
    listens.add_argument("--push-port", metavar="PORT", type=_port, default=8936, help="default: %(default)s")
    listens.add_argument(
        "--certificate", metavar="FILE", help="PEM certificate chain; without it, plaintext on loopback only"
    )
    listens.add_argument("--certificate-key", metavar="FILE", help="PEM private key of --certificate")
    listens.add_argument(
        "--plaintext", action="store_true", help="listen in plaintext beyond loopback, behind an ingress that ends TLS"
    )
    seen = parser.add_argument_group("monitoring")
    seen.add_argument("--metrics-host", metavar="HOST", default="127.0.0.1", help="default: %(default)s")
    seen.add_argument(
        "--metrics-port", metavar="PORT", type=_port, help="serve /metrics, /healthz and /readyz on this port"
    )
    seen.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="default: %(default)s"
    )
    parser.set_defaults(handler=_run)


def _port(text: str) -> int:
    return whole_number(text, 0, 65535)


def _tls(args: argparse.Namespace) -> ssl.SSLContext | None:
    """The listener's certificate (TLS 1.2 or newer), or None if no file is named. Raises InvalidSettings."""
    import ssl

    from riskd.cli.client.connection import load_pair

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    pair = args.certificate, args.certificate_key
    if problems := list(load_pair(context, pair, ("--certificate", "--certificate-key"))):
        raise InvalidSettings(problems)
    return context if args.certificate else None


def _run(args: argparse.Namespace) -> int:
    streams = streams_of(args)
    from riskd.cli.client import connection, events
    from riskd.server import json_log
    from riskd.shared_signals.receiver import Address, Receiver

    tls, metadata = _tls(args), connection.call_metadata(args)
    if tls is None and not args.plaintext and not is_loopback(args.push_host):
        what = f"{args.push_host} would take tokens in plaintext, readable to anybody on the network path"
        remedy = "give --certificate, or --plaintext where an ingress ends TLS"
        raise InvalidSettings([Problem("--push-host", what, remedy)])
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    json_log.configure(args.log_level)
    page = None if args.metrics_port is None else Address(args.metrics_host, args.metrics_port)
    with connection.connect(args, events.RECONNECT) as channel:
        receiver = Receiver(streams, events.sender(channel, args.timeout, metadata))
        requested = receiver.run(stop, Address(args.push_host, args.push_port), page, tls)
    return 0 if requested else BROKEN
