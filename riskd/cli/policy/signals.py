"""`riskd policy signals`: what each collected signal is worth, on a decision log."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from riskd.cli.policy import decisions
from riskd.cli.terminal import print_json, print_table, progress
from riskd.wording import when

if TYPE_CHECKING:
    from riskd.offline.policies.tally import Tally
    from riskd.offline.policies.worth import Worth, Worths

_HEAD: Final = (
    "without", "purpose", "came", "moved", "stricter", "laxer", "challenged", "friction on good", "recall of fraud"
)  # fmt: skip


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `policy signals`."""
    purpose = "show what each signal is worth on a decision log: what would be decided without it"
    parser = actions.add_parser(
        "signals",
        help=purpose,
        description="Weigh signals: each decision of a log is scored and decided again as if the caller had never "
        "been asked for a signal, by the champions and policies in use. A signal that moves nothing need not be "
        "collected. One signal may stand in for another, so the last rows leave several out together.",
    )
    decisions.add_policies(parser)
    decisions.add_models(parser, "champions")
    decisions.add_arguments(parser)
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.offline.policies.backtest import passes
    from riskd.offline.policies.worth import Weighed, weigh_segment, worths

    with progress() as begin:
        backtest, _ = decisions.backtest(args, decisions.policies_of(args), begin, scored=True)
        weighed = Weighed()
        for part in passes(backtest, weigh_segment):
            weighed += part
    decisions.refuse_nothing(backtest.log, weighed.tally)
    every = [worths(weighed, domain, path.name) for domain, path in backtest.models]
    known = [each for each in every if each.decisions]
    if args.json:
        print_json(known)
        return 0
    _heading(backtest.log, weighed.tally)
    for each in known:
        _print(each)
    return 0


def _heading(place: Path, tally: Tally) -> None:
    print(f"{place}: decided again {tally.counts['replayed']:,}, from {when(tally.first)} to {when(tally.last)}")
    for reason in decisions.left_out(tally.counts):
        print(f"left out: {reason}")


def _print(worths: Worths) -> None:
    print(
        f"\n{worths.domain}, by model {worths.model}: decisions {worths.decisions:,}, good {worths.good:,}, fraud "
        f"{worths.fraud:,}, wrong credential {worths.wrong_credential:,}; figures are with it -> without it"
    )
    print_table(_HEAD, [_row(each, worths.decisions) for each in worths.signals])


def _row(each: Worth, replayed: int) -> tuple[str, ...]:
    before, after = each.with_it, each.without_it
    return (
        each.signal,
        each.purpose,
        f"{each.came / replayed:.1%}",
        f"{each.moved / each.came:.1%}" if each.came else "",
        f"{each.stricter:,}",
        f"{each.laxer:,}",
        f"{before.challenged:,} -> {after.challenged:,}",
        decisions.moved(before.friction.share, after.friction.share),
        decisions.moved(before.recall.share, after.recall.share),
    )
