"""`riskd release compare`: what the two releases of a rollout did, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from riskd.cli.arguments import add_log, add_processes, log_of
from riskd.cli.terminal import console, print_json, print_table, progress, report_unreadable, save
from riskd.core.errors import InvalidFile, Problem, UnknownRelease

if TYPE_CHECKING:
    from riskd.offline.policies.rollout import Comparison
    from riskd.releases import Releases

_EXIT: Final = """\
exit codes: 0 done; 1 with --exit-code, a rollout is going on and its candidate surely challenges more than
twice as many, or more of its answers are degraded; 2 refused: there was no rollout, or the log has no decision of both
releases. The command reads `release.dir` and the log: run it as the user of the service and with its settings."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the comparison to those that all actions of `release` have."""
    add_log(parser)
    add_processes(parser)
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a report with charts")
    parser.add_argument("--exit-code", action="store_true", help="exit code 1 if the rollout should end")
    parser.epilog = _EXIT


def compare(releases: Releases, args: argparse.Namespace) -> int:
    """Compare the releases of the present rollout, else of the last one."""
    from riskd.offline.policies import rollout

    found = rollout.latest(releases.files.activations())
    if found is None:
        remedy = "`riskd release activate ID --percent 5` begins one"
        raise UnknownRelease([Problem("release", "no release was rolled out to a share of the subjects", remedy)])
    with progress() as begin:
        compared, counts = rollout.compare(Path(log_of(args)), found, args.processes, begin)
    report_unreadable(counts["unreadable"], counts.first)
    if not any(pair.active.total and pair.candidate.total for each in compared.domains for pair in each.figures):
        what = f"has no decision of both {found.active} and {found.candidate} from that time"
        raise InvalidFile([Problem(compared.log, what, "name the log of this service with --log, or wait for some")])
    if args.html:
        from riskd.offline.policies.rollout_page import page

        save(args.html, page(compared))
    if args.json:
        print_json(compared)
    else:
        show(compared)
        if args.html:
            print(f"Report: {args.html}")
    return 1 if args.exit_code and compared.should_end else 0


def show(compared: Comparison) -> None:
    """Print a comparison for people."""
    from riskd.offline.policies.rollout_page import HEAD, cells, decisions, summary

    print(summary(compared))
    for domain in compared.domains:
        print()
        print_table(HEAD, [cells(pair) for pair in domain.figures], f"{domain.domain}: {decisions(domain)}")
        print()
        print_table(("challenged", *HEAD[1:]), [cells(pair) for pair in domain.journeys])
        for why in domain.worse:
            console().print(f"{domain.domain}: {why}", style="bold red")
