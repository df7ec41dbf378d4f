"""`riskd log find`: lists the decisions about one account, or its security events, newest first."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from riskd.cli.arguments import add_log, add_subject, subject_of, whole_number
from riskd.cli.log.events import particulars, reported_by
from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import print_json, print_table, progress, report_unreadable
from riskd.config import obtain_peppers, pepper_file
from riskd.core.errors import InvalidSettings, Problem
from riskd.core.pseudonym import Pseudonyms
from riskd.core.record import SecurityEventRecord
from riskd.wording import quantity, when

if TYPE_CHECKING:
    from riskd.offline.on_record import Listed

UNKNOWN = 1
LAST = 20


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `log find`."""
    find = actions.add_parser(
        "find",
        help="list the latest decisions about one account",
        description="List the latest decisions about one account, newest first: what was required, why, and what "
        "followed. `riskd log show` explains one of them in full. With --events, list the security events that other "
        "parties reported. The log holds only pseudonyms, so run this with the settings and the pepper of the service.",
        epilog="exit codes: 0 found; 1 the log has nothing about the account; 2 refused: an invalid identifier, wrong "
        "settings, or a directory that cannot be read",
    )
    add_subject(find)
    find.add_argument(
        "--events", action="store_true", help="list security events instead: what was reported, by whom, and when"
    )
    find.add_argument(
        "--last", metavar="N", type=whole_number, default=LAST, help=f"list at most the N latest (default: {LAST})"
    )
    add_arguments(find)
    add_log(find)
    find.add_argument("--json", action="store_true", help="print JSON")
    find.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.counts import Counts
    from riskd.offline.on_record import account

    settings = given(args, {"log.dir": args.log}).settings
    subject = subject_of(args)
    _refuse_to_make_one(pepper_file(settings))
    first, *layers = obtain_peppers(settings)
    names = Pseudonyms(first, layers).at_each_layer(args.tenant, args.domain, "subject", subject)
    counts = Counts()
    with progress() as begin:
        listed = account(Path(settings.log.dir), names, begin, counts)
    report_unreadable(counts["unreadable"], counts.first)
    every: Sequence[Listed | SecurityEventRecord] = listed.events if args.events else listed.assessments
    if args.json:
        print_json(every[: args.last])
    elif args.events and every:
        _print_events(listed.events[: args.last])
    elif every:
        _print_assessments(listed.assessments[: args.last])
    else:
        print(f"{settings.log.dir} has nothing about this account.")
        print("Check its spelling, the tenant and the settings. If there are several replicas, each has its own log.")
        print("Its lines may also have been erased, or have expired.")
    if not args.json and len(every) > args.last:
        print(f"and {len(every) - args.last:,} older (--last)")
    if not args.json and not args.events and listed.events:
        print(f"and {quantity(len(listed.events), 'security event')} (--events)")
    return 0 if every else UNKNOWN


def _print_assessments(assessments: list[Listed]) -> None:
    print_table(
        ("assessed", "journey", "required", "reasons", "outcomes", "assessment"),
        [
            (
                when(each.time),
                each.journey,
                f"{each.tier}{', satisfied' if each.satisfied else ''}",
                ", ".join(each.reasons),
                ", ".join(each.outcomes),
                each.id,
            )
            for each in assessments
        ],
    )


def _print_events(events: list[SecurityEventRecord]) -> None:
    print_table(
        ("time", "event", "details", "reported by"),
        [(when(each.time), each.kind, particulars(each), reported_by(each)) for each in events],
    )


def _refuse_to_make_one(pepper: Path | None) -> None:
    """A new pepper would find nobody. Raises InvalidSettings if there is none yet."""
    if pepper is not None and not pepper.exists():
        remedy = "run this with the settings and as the user of the service that wrote the log"
        raise InvalidSettings([Problem("secrets.pepper_file", f"{pepper} does not exist", remedy)])
