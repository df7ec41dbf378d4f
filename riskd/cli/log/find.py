"""`riskd log find`: lists the decisions about an account, or its security events, newest first; or those of many."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from riskd.cli.arguments import add_log, add_subject, lines_of, subject_of, subjects_in, whole_number
from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import print_json, print_table, progress, report_unreadable
from riskd.config import obtain_peppers, pepper_file
from riskd.core.errors import InvalidSettings, InvalidSubject, Problem
from riskd.core.pseudonym import Pseudonyms
from riskd.core.record import SecurityEventRecord
from riskd.core.validation import subject_violations
from riskd.wording import quantity, when

if TYPE_CHECKING:
    from riskd.offline.on_record import Account, Listed

UNKNOWN = 1
LAST = 20


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `log find`."""
    find = actions.add_parser(
        "find",
        help="list the latest decisions about one account",
        description="List the latest decisions about one account, newest first: what was required, why, and what "
        "followed. `riskd log show` explains one of them in full. With --events, list the security events that other "
        "parties reported. The log holds only pseudonyms, so run this with the settings and the pepper of the service.",
        epilog="exit codes: 0 found; 1 the log has nothing about the account, or about any in the file; 2 refused: an "
        "invalid identifier, wrong settings, or a file or directory that cannot be read",
    )
    add_subject(find, optional=True)
    find.add_argument(
        "--file",
        metavar="FILE",
        help="instead of SUBJECT: a file of accounts, or with - standard input, one a line; prints a line for each, "
        "with a JSON array, and reads the log once",
    )
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
    from riskd.offline.on_record import account, accounts

    settings = given(args, {"log.dir": args.log}).settings
    if (args.subject is None) == (args.file is None):
        raise InvalidSubject([Problem("SUBJECT, --file", "exactly one is needed", "name an account, or a file")])
    subjects = [subject_of(args)] if args.file is None else _subjects(args)
    _refuse_to_make_one(pepper_file(settings))
    first, *layers = obtain_peppers(settings)
    pseudonyms, counts = Pseudonyms(first, layers), Counts()
    names = [pseudonyms.at_each_layer(args.tenant, args.domain, "subject", subject) for subject in subjects]
    log = Path(settings.log.dir)
    with progress() as begin:
        found = [account(log, names[0], begin, counts)] if args.file is None else accounts(log, names, begin, counts)
    report_unreadable(counts["unreadable"], counts.first)
    if args.file is None:
        return _print(args, log, found[0])
    every = [one.events if args.events else one.assessments for one in found]
    for each in every:
        print(msgspec.json.encode(each[: args.last]).decode())
    return 0 if any(every) else UNKNOWN


def _subjects(args: argparse.Namespace) -> list[str]:
    """The accounts in the file. Raises InvalidSubject with all that are invalid, and InvalidSettings."""
    with lines_of(args.file) as lines:
        subjects = dict(subjects_in(lines))
    if wrong := [
        Problem(f"line {number}", f"{each.where}: {each.what}", each.remedy)
        for number, subject in subjects.items()
        for each in subject_violations(args.tenant, args.domain, subject)
    ]:
        raise InvalidSubject(wrong)
    return list(subjects.values())


def _print(args: argparse.Namespace, log: Path, listed: Account) -> int:
    """Print what was found about one account. Returns the exit code."""
    every: Sequence[Listed | SecurityEventRecord] = listed.events if args.events else listed.assessments
    if args.json:
        print_json(every[: args.last])
    elif args.events and every:
        _print_events(listed.events[: args.last])
    elif every:
        _print_assessments(listed.assessments[: args.last])
    else:
        print(f"{log} has nothing about this account.")
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


def particulars(one: SecurityEventRecord) -> str:
    """What an event says besides its kind: a level, a type of credential, or that the account was hijacked."""
    return one.level or one.credential_type or ("hijacked" if one.hijacked else "")


def reported_by(one: SecurityEventRecord) -> str:
    """Who reported an event: the issuer and the caller, as far as they are known."""
    if one.issuer and one.caller:
        return f"{one.issuer}, through {one.caller}"
    return one.issuer or one.caller or "the caller"


def _refuse_to_make_one(pepper: Path | None) -> None:
    """A new pepper would find nobody. Raises InvalidSettings if there is none yet."""
    if pepper is not None and not pepper.exists():
        remedy = "run this with the settings and as the user of the service that wrote the log"
        raise InvalidSettings([Problem("secrets.pepper_file", f"{pepper} does not exist", remedy)])
