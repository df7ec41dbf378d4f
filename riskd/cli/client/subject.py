"""The client half of `riskd subject`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Final

import grpc
from google.protobuf.json_format import MessageToDict, MessageToJson
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table

from riskd._proto.riskd.v1 import subject_pb2, subject_pb2_grpc
from riskd.cli.arguments import subjects_in
from riskd.cli.client.connection import PATIENT, call_metadata, connect
from riskd.cli.client.lines import Report, call_each
from riskd.cli.client.status import failed
from riskd.cli.terminal import print_json, print_section
from riskd.core.validation import subject_violations
from riskd.wording import quantity

WINDOW: Final = 4
"""How many erasures may wait for an answer at a time. A service does one after another."""


def run(args: argparse.Namespace) -> int:
    """Make the call and print the response. Returns the exit code."""
    action = {"show": _show, "export": _export, "erase": _erase}[args.action]
    try:
        with connect(args) as channel:
            action(subject_pb2_grpc.SubjectServiceStub(channel), args)
    except grpc.RpcError as error:
        return failed(error)
    return 0


def _domain(args: argparse.Namespace) -> str:
    return f"IDENTITY_DOMAIN_{args.domain.upper()}"


def _show(stub: subject_pb2_grpc.SubjectServiceStub, args: argparse.Namespace) -> None:
    request = subject_pb2.GetSubjectSummaryRequest(tenant=args.tenant, domain=_domain(args), subject=args.subject)
    known = stub.GetSubjectSummary(request, timeout=args.timeout, metadata=call_metadata(args))
    if args.json:
        print(MessageToJson(known, always_print_fields_with_no_presence=True))
        return
    console, grid = Console(), Table.grid(padding=(0, 2))
    since = f"the week of {_day(known.known_since_time)}" if known.HasField("known_since_time") else "unknown"
    grid.add_row("known since", since)
    if known.HasField("last_sign_in_time"):
        grid.add_row("last sign-in", _minute(known.last_sign_in_time))
    grid.add_row("taught", quantity(known.taught_units, "unit"))
    attempts = quantity(round(known.attempt_count), "attempt")
    grid.add_row("last 24 h", f"{attempts}, {known.failure_count:.0f} of them failed")
    for step in known.sensitive_steps:
        grid.add_row(step.kind, _minute(step.event_time))
    console.print(grid)
    print_section(
        ("seen", "value", "first week", "last week", "units", "trust"),
        [
            (
                each.table,
                each.value,
                _day(each.first_week_time),
                _day(each.last_week_time),
                str(each.taught_units),
                f"{each.trust:.1f}",
            )
            for each in known.seen_values
        ],
    )
    print_section(
        ("assessed", "journey", "tier", "taught", "outcomes", "open until", "assessment"),
        [
            (
                _minute(each.event_time),
                each.journey,
                each.tier,
                str(each.taught_units),
                ", ".join(each.outcomes),
                _day(each.expire_time),
                each.assessment_id,
            )
            for each in known.open_receipts
        ],
    )


def _export(stub: subject_pb2_grpc.SubjectServiceStub, args: argparse.Namespace) -> None:
    """Print a line for each record. The count goes to stderr if that is a terminal and standard output is not."""
    request = subject_pb2.ExportSubjectRequest(tenant=args.tenant, domain=_domain(args), subject=args.subject)
    count, watched = 0, sys.stderr.isatty() and not sys.stdout.isatty()
    while True:
        page = stub.ExportSubject(request, timeout=args.timeout, metadata=call_metadata(args))
        for record in page.records:
            line = MessageToDict(record, preserving_proto_field_name=True)
            line["content"] = json.loads(line.pop("json"))
            print(json.dumps(line, ensure_ascii=False))
        count += len(page.records)
        if watched:
            print(f"\r{quantity(count, 'record')}", end="", file=sys.stderr, flush=True)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    if watched:
        print(file=sys.stderr)


def _erase(stub: subject_pb2_grpc.SubjectServiceStub, args: argparse.Namespace) -> None:
    erased = stub.EraseSubject(_erasure(args, args.subject), timeout=args.timeout, metadata=call_metadata(args))
    if args.json:
        print(MessageToJson(erased, always_print_fields_with_no_presence=True))
        return
    _print_erased(erased.erased_records, erased.log_erase_time, "it")


def erase_each(args: argparse.Namespace, lines: Iterable[str]) -> int:
    """Erase the subject of each line. Returns the exit code. If it is interrupted, it says how far it came."""
    report, records, unknown, log_by = Report(), Counter[str](), 0, Timestamp()

    def accepted(erased: subject_pb2.EraseSubjectResponse) -> None:
        nonlocal unknown, log_by
        records.update(erased.erased_records)
        unknown += not erased.erased_records
        log_by = max(log_by, erased.log_erase_time, key=Timestamp.ToMicroseconds)

    with connect(args, PATIENT) as channel:
        erase = subject_pb2_grpc.SubjectServiceStub(channel).EraseSubject.future
        call = partial(erase, timeout=args.timeout, metadata=call_metadata(args))
        call_each(call, _erasures(args, lines, report), report, WINDOW, accepted)
    if args.json:
        until = log_by.ToJsonString() if report.accepted else None
        counts = {"unknown": unknown, "erased_records": records, "log_erase_time": until}
        print_json({**report.as_json("erased"), **counts})
    else:
        report.complain()
        if report.accepted:
            _print_erased(records, log_by, "them")
        of_them = f"; nothing was kept of {unknown:,} of them" if unknown else ""
        print(f"erased {quantity(report.accepted, 'subject')}{of_them}, refused {report.refused:,}")
    tenant = f" --tenant {shlex.quote(args.tenant)}" if args.tenant else ""
    return report.exit_code(f"riskd subject erase --domain {args.domain}{tenant} --yes --file -")


def _erasures(
    args: argparse.Namespace, lines: Iterable[str], report: Report
) -> Iterator[tuple[int, str, subject_pb2.EraseSubjectRequest]]:
    """The request of each line, with the line's number and subject. Skips empty lines, and refuses invalid ones."""
    for number, subject in subjects_in(lines):
        if wrong := subject_violations(args.tenant, args.domain, subject) if subject else []:
            report.refuse(number, "; ".join(map(str, wrong)))
        elif subject:
            yield number, subject, _erasure(args, subject)


def _erasure(args: argparse.Namespace, subject: str) -> subject_pb2.EraseSubjectRequest:
    return subject_pb2.EraseSubjectRequest(tenant=args.tenant, domain=_domain(args), subject=subject)


def _print_erased(records: Mapping[str, int], log_by: Timestamp, of: str) -> None:
    counts = ", ".join(f"{kind} {count}" for kind, count in sorted(records.items()))
    print(f"erased from the store: {counts or 'nothing was kept'}")
    print(f"the decision log will be free of {of} by {_minute(log_by)}")


def _day(time: Timestamp) -> str:
    return time.ToJsonString()[:10]


def _minute(time: Timestamp) -> str:
    return f"{time.ToJsonString()[:16]}Z"
