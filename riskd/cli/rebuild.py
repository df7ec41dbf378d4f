"""`riskd import decision-log`: rebuilds histories from riskd's own decision log."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from riskd.cli.arguments import moment
from riskd.cli.replay import reader_of
from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import print_json, progress, report_unreadable
from riskd.wording import quantity, second

if TYPE_CHECKING:
    from riskd.rebuild.messages import Summary

LEFT_OUT: Final = 1
_MISSED: Final = ("outcomes_of_nothing", "other_pepper", "unreadable")
_DESCRIPTION: Final = """\
Rebuild the histories of a lost store from the decision log: what proven sign-ins taught and fraud took back, recent
attempts, security events, and receipts, so that outcomes can still be reported. The service may be running: what it
learns meanwhile is kept. Answers to repeated requests are not restored. docs/operations.md says when to use it."""
_EPILOG: Final = """\
If a rebuild is interrupted, run it again: it continues where it stopped. A finished rebuild does nothing.

exit codes: 0 done; 1 done, but outcomes of unknown assessments, lines with another pepper or unreadable lines were left
out, and counted; 2 refused: a problem with the settings, the arguments, the log or the store. It is safe to run it
again."""


def add_source(sources: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `decision-log` as a source of `riskd import`."""
    parser = sources.add_parser(
        "decision-log",
        help="riskd's own decision log, to rebuild a lost store",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "log", metavar="LOG", nargs="?", help="directory of a decision log, or a dataset (default: log.dir)"
    )
    parser.add_argument(
        "--until",
        metavar="TIME",
        type=moment,
        help="when the service began to use this store, such as 2026-01-31T12:00Z; later lines are in it already "
        "(default: when it replaced a damaged store)",
    )
    add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.rebuild.run import rebuild

    settings = given(args, writes=True).settings
    # Erasures are recorded beside the service's own log, wherever the lines come from.
    reader = reader_of(args.log or settings.log.dir, given(args, {"log.dir": args.log}).settings)
    with progress() as begin:
        summary = rebuild(settings, reader, args.until, begin)
    if args.json:
        print_json(summary)
    else:
        _print(summary)
    report_unreadable(summary.counts.get("unreadable", 0), summary.first_unreadable)
    return LEFT_OUT if any(summary.counts.get(kind) for kind in _MISSED) else 0


def _print(summary: Summary) -> None:
    from riskd.rebuild.run import COUNTED

    until = second(summary.until)
    if summary.done_before:
        print(f"nothing to do: the store has the log until {until}")
        return
    print(f"the log until {until}: {quantity(summary.records, 'record')} in {summary.seconds:.1f} s, ", end="")
    print(f"{summary.lines_per_second:,.0f} lines/s" + (", continued from an earlier run" if summary.resumed else ""))
    for kind, meaning in COUNTED.items():
        if summary.counts.get(kind):
            print(f"{summary.counts[kind]:>10,}  {meaning}")
