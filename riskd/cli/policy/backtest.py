"""`riskd policy backtest` and `riskd policy rules`: what a policy would have done, and what its rules did, on a log."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from riskd.cli.policy import decisions
from riskd.cli.terminal import console, print_json, print_table, progress, save
from riskd.wording import date, quantity

if TYPE_CHECKING:
    from rich.console import Console

    from riskd.offline.policies.report import DomainReport, Group, Report

_COLUMNS: Final = (
    "decisions", "good", "fraud", "wrong credential", "stricter", "laxer", "challenged", "friction on good",
    "recall of fraud", "precision"
)  # fmt: skip
_EXAMPLE: Final = ("assessment", "journey", "country", "score", "tier", "why", "outcome")
_ROWS: Final = 8
_EXAMPLES: Final = 12


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `policy backtest` and `policy rules`."""
    purpose = "decide a log again with a candidate policy, and say who would have been challenged"
    backtest = actions.add_parser(
        "backtest",
        help=purpose,
        description=f"Backtest a policy: {purpose}.",
        epilog="exit codes: 0 done; 1 with --exit-code, a decision differs; 2 refused: a policy, or the log",
    )
    backtest.add_argument("candidate", metavar="CANDIDATE", type=Path, help="policy file, or a directory of them")
    decisions.add_models(backtest, decisions.RECORDED)
    decisions.add_arguments(backtest)
    backtest.add_argument("--html", metavar="FILE", type=Path, help="write a report with charts")
    backtest.add_argument(
        "--exit-code", action="store_true", help="exit code 1 if a decision differs from the recorded one"
    )
    backtest.set_defaults(handler=_backtest)
    purpose = "show what each rule of a policy does on a decision log: hits, precision, overlap"
    rules = actions.add_parser("rules", help=purpose, description=f"Judge rules: {purpose}.")
    decisions.add_policies(rules)
    decisions.add_models(rules, decisions.RECORDED)
    decisions.add_arguments(rules)
    rules.set_defaults(handler=_rules)


def _backtested(args: argparse.Namespace, given: Path) -> tuple[Report, float]:
    from riskd.offline.policies.backtest import run
    from riskd.offline.policies.report import report

    begun = time.perf_counter()
    with progress() as begin:
        backtest, policies = decisions.backtest(args, given, begin)
        tally = run(backtest)
    decisions.refuse_nothing(backtest.log, tally)
    models = {domain: path.name for domain, path in backtest.models}
    figures = report(str(backtest.log), tally, policies, "truth" if backtest.truth else "outcomes", models)
    return figures, time.perf_counter() - begun


def _backtest(args: argparse.Namespace) -> int:
    report, seconds = _backtested(args, args.candidate)
    if args.html:
        from riskd.offline.policies.page import page

        save(args.html, page(report))
    if args.json:
        print_json(report)
    else:
        _print(report, seconds)
        if args.html:
            print(f"Report: {args.html}")
    return 1 if args.exit_code and report.differences else 0


def _rules(args: argparse.Namespace) -> int:
    report, seconds = _backtested(args, decisions.policies_of(args))
    if args.json:
        print_json({domain.domain: {"rules": domain.rules, "overlaps": domain.overlaps} for domain in report.domains})
        return 0
    out = console()
    _heading(out, report, seconds)
    for domain in report.domains:
        if domain.total.decisions:
            _print_rules(out, domain)
    return 0


def _heading(out: Console, report: Report, seconds: float) -> None:
    counts = report.counts
    replayed, outcomes = counts.get("replayed", 0), counts.get("outcomes", 0)
    span = f" from {date(report.first)} to {date(report.last)}" if replayed else ""
    labels = "labels from the simulation's truth" if report.labels == "truth" else quantity(outcomes, "outcome")
    out.print(f"{report.log}: {quantity(replayed, 'decision')}{span}, {labels}")
    out.print(f"replayed in {seconds:.1f} s, {replayed / seconds:,.0f} a second", style="dim")
    for reason in decisions.left_out(counts):
        out.print(f"left out: {reason}", style="yellow")


def _print(report: Report, seconds: float) -> None:
    out = console()
    _heading(out, report, seconds)
    out.print(f"{quantity(report.differences, 'decision')} would be decided differently", style="bold")
    for domain in report.domains:
        if domain.total.decisions:
            _print_domain(out, domain)


def _print_domain(out: Console, domain: DomainReport) -> None:
    if len(domain.releases) > 1:
        many = quantity(len(domain.releases), "release")
        out.print(f"{domain.domain}: {many} decided; --release chooses one", style="yellow")
    scores = f", scored by {domain.model}" if domain.model else ""
    groups = [_row(group.value, group) for group in (*domain.journeys, domain.total)]
    print_table(("journey", *_COLUMNS), groups, f"{domain.domain}, candidate {domain.version}{scores}")
    classes = [_row(group.value, group) for group in domain.segments.get("class of attack", ())]
    if classes:
        print_table(("class of attack", *_COLUMNS), classes, "\nattacks")
    tiers = domain.tiers
    moves = [(tier, *(f"{row[each]:,}" if each in row else "" for each in tiers)) for tier, row in domain.moves.items()]
    print_table(("recorded \\ candidate", *tiers), moves, "\ntiers")
    moved = sorted(
        (
            (f"{name}: {group.value}", group)
            for name, groups in domain.segments.items()
            for group in groups
            if group.decisions < domain.total.decisions
        ),
        key=lambda pair: -(pair[1].stricter + pair[1].laxer) / pair[1].decisions,
    )
    causes = [(group.value, group) for group in domain.causes]
    for title, rows in (("what set the candidate's tier", causes), ("whose tiers move most", moved)):
        if rows and domain.total.stricter + domain.total.laxer:
            print_table(("", *_COLUMNS), [_row(*row) for row in rows[:_ROWS]], f"\n{title}")
    _print_rules(out, domain)
    examples = [
        (
            each.id,
            each.journey,
            each.country,
            f"{each.score:.4f}",
            f"{each.recorded} -> {each.candidate}",
            ", ".join(each.why),
            each.label,
        )
        for each in domain.examples[:_EXAMPLES]
    ]
    if examples:
        print_table(_EXAMPLE, examples, "\nexamples of moves")


def _print_rules(out: Console, domain: DomainReport) -> None:
    from riskd.offline.policies.page import RULES, rule_cells

    print_table(RULES, [rule_cells(rule) for rule in domain.rules if rule.hits], f"\nrules of {domain.domain}")
    never = [rule.name for rule in domain.rules if not rule.hits]
    if never:
        out.print(f"never hit: {', '.join(never)}", style="yellow")
    for overlap in domain.overlaps[:_ROWS]:
        share = f"{quantity(overlap.together, 'hit')}, {overlap.share:.0%} of those of the rarer rule"
        out.print(f"hit together: {overlap.rule} and {overlap.other}, {share}", style="dim")


def _row(name: str, group: Group) -> Sequence[str]:
    from riskd.offline.policies.page import counted

    recorded, candidate = group.recorded, group.candidate
    return (
        name,
        *(f"{count:,}" for count in counted(group)),
        f"{recorded.challenged:,} -> {candidate.challenged:,}",
        decisions.moved(recorded.friction.share, candidate.friction.share),
        decisions.moved(recorded.recall.share, candidate.recall.share),
        decisions.moved(recorded.precision.share, candidate.precision.share),
    )
