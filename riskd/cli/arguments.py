"""Flags that several commands share, and the parsers of their values."""

from __future__ import annotations

import argparse
import getpass
import math
import os
from pathlib import Path
from typing import Final

from riskd.cli import settings
from riskd.core.attempt import DOMAINS

CONNECTION: Final = {
    "ca": "PEM certificates of the authorities that sign the server's certificate; without it, plaintext",
    "cert": "PEM certificate of the client, if the server requires one",
    "key": "PEM private key of --cert",
    "token-file": "file that holds the caller's token",
}
"""The flags that secure a client's connection. Each has an environment variable as its default."""


def moment(text: str) -> float:
    """An ISO 8601 date or time as epoch seconds; UTC if it has no timezone."""
    from riskd.offline.importers.event import moment as read

    seconds = read(text)
    if seconds is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date or time: write 2026-01-31 or 2026-01-31T12:00:00Z")
    return seconds


def whole_number(text: str, least: int = 1) -> int:
    """A whole number that is at least `least`."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
    return int(text)


def class_weight(text: str) -> tuple[str, float]:
    """The class and weight in `CLASS=N`. A weight that is not a number becomes NaN, which fails every bounds check."""
    name, _, number = text.partition("=")
    try:
        return name, float(number)
    except ValueError:
        return name, math.nan


def user() -> str:
    """The user who runs this process: the name, or the uid where it has no name, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        return f"uid {os.getuid()}"


def add_log(parser: argparse.ArgumentParser, what: str = "directory of the decision log") -> None:
    """Add the --log flag, which `log_of` reads. The parser must take settings, too."""
    parser.add_argument("--log", metavar="DIR", help=f"{what} (default: log.dir)")


def log_of(args: argparse.Namespace) -> str:
    """The directory that --log names, else the setting log.dir. Raises InvalidSettings."""
    return args.log or settings.given(args).settings.log.dir


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where the labels of decisions come from."""
    parser.add_argument(
        "--truth", metavar="FILE", type=Path, help="truth.jsonl of a simulated log, if it is not beside it"
    )
    parser.add_argument(
        "--labels",
        choices=("truth", "outcomes"),
        help="where labels come from (default: the truth for simulated logs, outcomes for live ones)",
    )


def add_span(parser: argparse.ArgumentParser, *, stored: bool = False) -> None:
    """Add the flags that choose decisions of a log by identity domain and time, and the number of reading processes.

    `stored`: --log may also name a dataset, by directory or URL.
    """
    settings.add_arguments(parser)
    add_log(parser, "decision log or dataset: a directory or URL" if stored else "directory of the decision log")
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
    """Add the flags with which a command reaches a running service.

    `target`: the default address; None if the command finds it by itself, as the help text `where` explains.
    `printed`: the command prints the response, so it gets --json.
    """
    usual = (
        "address of the service (default: %(default)s)"
        if target
        else "address of the service, or unix:PATH (default: the socket that the settings name)"
    )
    parser.add_argument("--target", metavar="HOST:PORT", default=target, help=where or usual)
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_deadline,
        default=timeout,
        help="how long to wait for the answer (default: %(default)g)",
    )
    if printed:
        parser.add_argument("--json", action="store_true", help="print the response as JSON")
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
        raise argparse.ArgumentTypeError(f"{text!r} is not a timeout: write a number of seconds above 0, such as 0.5")
    return seconds
