"""`riskd assess` and `riskd outcome`: ask a running service about an attempt, and report what followed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from riskd.cli.arguments import add_connection, lines_of, number, stdin
from riskd.cli.terminal import reading
from riskd.core.attempt import OUTCOMES, Outcome
from riskd.core.errors import InvalidAttempt, InvalidOutcome, Problem

FLAGS: Final = {
    "domain": ("domain", "identity domain: customer, workforce or machine"),
    "subject": ("subject", "identifier of the account"),
    "journey": ("journey", "login, registration, recovery, profile_update, payment or session"),
    "ip": ("network.client_ip", "address that the client connected from"),
    "user-agent": ("device.user_agent", "User-Agent header"),
    "device-id": ("device.device_id", "device identifier that the caller keeps in a cookie or keystore"),
    "credential": ("credential_result", "result of the first factor: not_checked, succeeded or failed"),
    "tenant": ("tenant", "tenant of the account"),
    "request-id": ("request_id", "id of the attempt; a repeat gets the first answer and counts once"),
}
"""Fields of riskd.v1.AssessRequest that have flags of their own."""
EXIT_CODES: Final = """\
exit codes: 0 answered; 2 the input or the request is invalid; 3 no answer in time (unavailable,
deadline passed, overloaded); 1 any other error."""
_ATTEMPT: Final = """\
An attempt as a line of JSON. Enum values may omit their prefix; field names are those of the proto or camel case:

  {"domain": "customer", "subject": "alex", "journey": "login", "network": {"client_ip": "86.150.20.30"}}
"""
_OUTCOME: Final = """\
An outcome as a line of JSON. Optional: time (ISO 8601 or epoch seconds), tenant, and of a challenge amr and seconds:

  {"assessment_id": "25d46d63b29f08affd1841846a15bb1f", "kind": "confirmed_fraud", "time": "2026-11-01T12:00:00Z"}
"""
_EXIT_TIER: Final = """\
With --exit-tier an answer exits with 10 plus the tier: BASELINE 11, STEP_UP 12,
PHISHING_RESISTANT 13, HARDWARE_BOUND 14, IDENTITY_PROOF 15, DENY 16."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `assess` and `outcome`."""
    _add_assess(commands)
    _add_outcome(commands)


def _add_assess(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "assess",
        description="Ask a running service to assess one attempt. The attempt comes from flags, from a file in the "
        "JSON form of riskd.v1.AssessRequest, or from both; flags override the file. Domain, "
        "subject, journey and address are required. With --stream the file has many attempts.",
        epilog=f"{_ATTEMPT}\n{EXIT_CODES}\n\n{_EXIT_TIER}",
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="JSON file, or - for standard input")
    parser.add_argument(
        "--stream",
        action="store_true",
        help="take each line of the file as an attempt, and print one answer per line, as JSON, in the same order; the "
        "exit code is 2 if an attempt was refused, and --timeout is the longest wait for an answer",
    )
    for flag, (path, meaning) in FLAGS.items():
        parser.add_argument(f"--{flag}", dest=path, metavar="TEXT", help=meaning)
    parser.add_argument(
        "--set",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="set any field, as in `device.timezone=Europe/Oslo`, `session.amr=pwd,otp` or `network.rtt=0.04s`; "
        "repeatable",
    )
    parser.add_argument("--exit-tier", action="store_true", help="exit with 10 plus the tier")
    add_connection(parser)
    parser.set_defaults(handler=_assess)


def _add_outcome(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "outcome",
        description="Report to a running service what happened after an assessment. riskd learns from nothing else. "
        "With --file, report many. If that is interrupted, it says after which line. A repeated outcome counts once, "
        "so the whole file can be given again, too.",
        epilog=f"{_OUTCOME}\n{EXIT_CODES}",
    )
    parser.add_argument("assessment_id", metavar="ID", nargs="?", help="id of the assessment, from its answer")
    parser.add_argument("kind", choices=OUTCOMES, metavar="KIND", nargs="?", help=f"one of: {', '.join(OUTCOMES)}")
    parser.add_argument(
        "--file",
        metavar="FILE",
        help="report the outcomes in a file, or with - on standard input, one a line, as JSON; the exit code is 2 if "
        "one was refused",
    )
    parser.add_argument(
        "--amr", metavar="METHODS", default="", help="methods that met the challenge, separated by commas: pwd,otp"
    )
    parser.add_argument("--seconds", metavar="N", type=number, help="time that the challenge took the subject")
    parser.add_argument("--tenant", metavar="NAME", default="", help="tenant of the assessed attempt")
    add_connection(parser)
    parser.set_defaults(handler=_outcome)


def _assess(args: argparse.Namespace) -> int:
    from riskd.cli.client import assess

    fields = [(path, value) for path, _ in FLAGS.values() if (value := vars(args)[path]) is not None]
    fields += [_pair(each) for each in args.set]
    if args.stream:
        from riskd.cli.client import stream

        with lines_of(args.file) as lines:
            return stream.run(args, lines, fields)
    from riskd.cli.client.request import assess_request

    return assess.run(args, lambda stub: stub.Assess, assess_request(_read(args.file), fields, args.file or ""))


def _outcome(args: argparse.Namespace) -> int:
    from riskd.cli.client import assess

    if args.file is not None:
        from riskd.cli.client import outcomes

        _refuse_beside_file(args)
        with lines_of(args.file) as lines:
            return outcomes.run(args, lines)
    if args.kind is None:
        remedy = "give both, or --file FILE with many outcomes"
        raise InvalidOutcome([Problem("ID and KIND", "are needed", remedy)])
    amr = tuple(method for method in args.amr.split(",") if method)
    outcome = Outcome(
        assessment_id=args.assessment_id, kind=args.kind, tenant=args.tenant, amr=amr, seconds=args.seconds
    )
    return assess.run(args, lambda stub: stub.RecordOutcome, assess.outcome_request(outcome))


def _refuse_beside_file(args: argparse.Namespace) -> None:
    """Raises InvalidOutcome for what the lines of a file say themselves."""
    given = {"ID": args.assessment_id, "--amr": args.amr, "--seconds": args.seconds, "--tenant": args.tenant}
    both = [flag for flag, value in given.items() if value not in (None, "")]
    if both:
        raise InvalidOutcome([Problem(flag, "goes into the lines of --file", "leave it out") for flag in both])


def _read(file: str | None) -> str:
    """The document, `{}` if there is none. Raises InvalidSettings."""
    if file is None:
        return "{}"
    with reading(file):
        return stdin().read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")


def _pair(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals:
        raise InvalidAttempt([Problem("--set", f"{text!r} has no `=`", "write --set device.timezone=Europe/Oslo")])
    return path, value
