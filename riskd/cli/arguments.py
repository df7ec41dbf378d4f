"""Flags that several commands have, and what may be said by them."""

from __future__ import annotations

import argparse
import getpass
import math
import os
from typing import Final

from riskd.cli import settings
from riskd.core.attempt import DOMAINS

CONNECTION: Final = {
    "ca": "PEM authorities of the server's certificate; without it, plaintext",
    "cert": "PEM certificate of the client, where the server asks for one",
    "key": "PEM private key of --cert",
    "token-file": "file with the token of the caller",
}
"""How a client is secured: flags, each with an environment variable that stands for it."""


def moment(text: str) -> float:
    """An ISO 8601 date or moment as epoch seconds, UTC where it names no zone."""
    from riskd.offline.importers.event import moment as read

    found = read(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a moment: write 2026-01-31 or 2026-01-31T12:00:00Z")
    return found


def whole_number(text: str, least: int = 1) -> int:
    """A whole number, `least` or more."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, {least} or more")
    return int(text)


def class_weight(told: str) -> tuple[str, float]:
    """Class and weight of `CLASS=N`; what is no number is NaN, which is within no bounds."""
    name, _, number = told.partition("=")
    try:
        return name, float(number)
    except ValueError:
        return name, math.nan


def user() -> str:
    """Who runs this process: a name, or the number of a user without one, as containers have them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        return f"uid {os.getuid()}"


def add_log(parser: argparse.ArgumentParser, what: str = "directory of the decision log") -> None:
    """The flag for `log_of`. The parser takes settings, too."""
    parser.add_argument("--log", metavar="DIR", help=f"{what} (default: log.dir)")


def log_of(args: argparse.Namespace) -> str:
    """The log that was named, else that of the settings. Raises InvalidSettings."""
    return args.log or settings.given(args).settings.log.dir


def add_span(parser: argparse.ArgumentParser, *, stored: bool = False) -> None:
    """The flags that choose the decisions of a log, of some domains and of a time, and who reads them.

    `stored`: of datasets, too, which may have a URL.
    """
    settings.add_arguments(parser)
    add_log(parser, "decision log, or its dataset, by directory or URL" if stored else "directory of the decision log")
    parser.add_argument(
        "--domain",
        choices=DOMAINS,
        action="append",
        help="identity domain; repeatable (default: every domain in the log)",
    )
    parser.add_argument(
        "--since", metavar="DATE", type=moment, default=0.0, help="decisions from this day on, as 2026-11-01 (UTC)"
    )
    parser.add_argument(
        "--until",
        metavar="DATE",
        type=moment,
        default=float("inf"),
        help="decisions before this day, as 2026-12-01 (UTC)",
    )
    parser.add_argument(
        "--processes", metavar="N", type=whole_number, help="number of processes (default: one for each CPU)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_connection(
    parser: argparse.ArgumentParser,
    target: str | None = "127.0.0.1:50551",
    timeout: float = 1.0,
    *,
    printed: bool = True,
    where: str = "",
) -> None:
    """The flags with which a command reaches a running service. `target` None: the command finds it by itself, or does
    what `where` says. `printed`: it prints what the service answers.
    """
    usual = "host and port (default: %(default)s)" if target else "host and port, or unix:PATH (default: the socket)"
    parser.add_argument("--target", metavar="HOST:PORT", default=target, help=where or usual)
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=_deadline, default=timeout, help="deadline (default: %(default)g)"
    )
    if printed:
        parser.add_argument("--json", action="store_true", help="print the JSON form of the response")
    for flag, meaning in CONNECTION.items():
        variable = f"RISKD_CLIENT_{flag}".upper().replace("-", "_")
        parser.add_argument(
            f"--{flag}", metavar="FILE", default=os.environ.get(variable) or None, help=f"{meaning} (${variable})"
        )


def _deadline(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no time to answer in: write seconds, such as 0.5")
    return seconds
