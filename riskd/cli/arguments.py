"""Flags that several commands share, and the parsers of their values."""

from __future__ import annotations

import argparse
import getpass
import io
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from riskd.cli import settings
from riskd.cli.terminal import print_json, reading
from riskd.core.attempt import DOMAINS
from riskd.core.errors import InvalidSettings, InvalidSubject, Problem
from riskd.core.validation import subject_violations

CONNECTION: Final = {
    "ca": "PEM certificates of the authorities that sign the server's certificate; without it, plaintext",
    "cert": "PEM certificate of the client, if the server requires one",
    "key": "PEM private key of --cert",
    "token-file": "file that holds the caller's token",
}
"""The flags that secure a client's connection. Each has an environment variable as its default."""
_ASSESSMENT_ID: Final = re.compile(r"[0-9a-f]{32}")


def moment(text: str) -> float:
    """An ISO 8601 date or time as epoch seconds; UTC if it has no timezone."""
    from riskd.offline.importers.event import moment as read

    seconds = read(text)
    if seconds is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date or time: write 2026-01-31 or 2026-01-31T12:00:00Z")
    return seconds


def whole_number(text: str, least: int = 1, most: int | None = None) -> int:
    """A whole number that is at least `least`, and at most `most` if there is such a bound."""
    if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
        span = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {span}")
    return int(text)


def number(text: str) -> float:
    """A finite number that is at least 0."""
    if not 0 <= (value := _float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return value


def deadline(text: str) -> float:
    """A number of seconds above 0."""
    if not 0 < (seconds := _float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a timeout: write a number of seconds above 0, such as 0.5")
    return seconds


def _float(text: str) -> float:
    """The number, or NaN, which fails every comparison."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def class_weight(text: str) -> tuple[str, float]:
    """The class and weight in `CLASS=N`. A weight that is not a number becomes NaN, which fails every bounds check."""
    name, _, weight = text.partition("=")
    return name, _float(weight)


def user() -> str:
    """The user who runs this process: the name, or the uid where it has no name, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        return f"uid {os.getuid()}"


def stdin() -> TextIO:
    """Standard input as UTF-8, whatever the locale. Other bytes become lone surrogates, which no command accepts. A
    byte order mark, with which some programs begin a file, is skipped."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")
    return sys.stdin


@contextmanager
def lines_of(file: str | None) -> Iterator[Iterable[str]]:
    """The lines of a document that may be long, or still growing, as in `stdin`. Raises InvalidSettings."""
    if file is None or file == "-":
        yield stdin()
        return
    with reading(file):
        opened = Path(file).open(encoding="utf-8-sig", errors="surrogateescape")  # noqa: SIM115 - below
    with opened:
        yield opened


def add_subject(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Add the arguments that name an account, which `subject_of` reads."""
    parser.add_argument(
        "subject",
        metavar="SUBJECT",
        nargs="?" if optional else None,
        help="account identifier, as sent in its attempts; - reads it from stdin",
    )
    parser.add_argument("--domain", required=True, choices=DOMAINS, help="identity domain")
    parser.add_argument("--tenant", metavar="NAME", default="", help="tenant (default: none)")


def subject_of(args: argparse.Namespace) -> str:
    """The account identifier: SUBJECT, or the first line of standard input. Raises InvalidSubject."""
    subject = stdin().readline().rstrip("\r\n") if args.subject == "-" else args.subject
    if wrong := subject_violations(args.tenant, args.domain, subject):
        raise InvalidSubject(wrong)
    return str(subject)


def subjects_in(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The account identifier in each line of a file, with the line's number from 1."""
    for number, line in enumerate(lines, 1):
        yield number, line.rstrip("\r\n")


def add_log(parser: argparse.ArgumentParser, what: str = "directory of the decision log") -> None:
    """Add the --log flag, which `log_of` reads. The parser must take settings, too."""
    parser.add_argument("--log", metavar="DIR", help=f"{what} (default: log.dir)")


def log_of(args: argparse.Namespace) -> str:
    """The directory that --log names, else the setting log.dir. Raises InvalidSettings."""
    return args.log or settings.given(args).settings.log.dir


def confirmed(whom: str, *, piped: bool = False) -> bool:
    """Ask for confirmation of an erasure. Raises InvalidSubject if nobody can be asked. `piped`: standard input has
    subjects."""
    if piped or not sys.stdin.isatty():
        what = "is needed: this is not a terminal, so riskd cannot ask for confirmation"
        raise InvalidSubject([Problem("--yes", what, "give --yes to erase without being asked")])
    print(f"Erase everything that is stored about {whom}? This cannot be undone. [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip() in ("y", "yes")  # '' at its end, by Ctrl-D


def assessment_id(text: str, where: str) -> str:
    """The id of an assessment, which the argument `where` gives. Raises InvalidSettings."""
    if not _ASSESSMENT_ID.fullmatch(text):
        remedy = "give the assessment_id of an answer: 32 hexadecimal digits in lower case"
        raise InvalidSettings([Problem(where, f"{text!r:.80} is not an assessment id", remedy)])
    return text


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
    add_times(parser)
    add_processes(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_times(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose decisions by time. Without them, the values include every decision."""
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


def add_form(parser: argparse.ArgumentParser, page: str) -> None:
    """Add the flags that print a table as JSON or as its reference page, which `print_form` reads."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--markdown", action="store_true", help=f"print the reference page {page}")


def print_form(
    args: argparse.Namespace, document: Callable[[], object], page: Callable[[], str], text: Callable[[], str]
) -> int:
    """Print a table for programs, as its reference page, or for people. Returns the exit code."""
    if args.json:
        print_json(document())
    else:
        print(page() if args.markdown else f"{text()}\n", end="")
    return 0


def add_processes(parser: argparse._ActionsContainer, what: str = "number of processes") -> None:
    """Add the flag that sets how many processes work at the same time. Without it, the value is None."""
    parser.add_argument("--processes", metavar="N", type=whole_number, help=f"{what} (default: one for each CPU)")


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
        type=deadline,
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
