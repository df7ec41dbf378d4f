"""`riskd import decision-log`: histories made again of riskd's own decision log."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from riskd.cli.arguments import moment
from riskd.cli.replay import source_of
from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import print_json, tell_unreadable
from riskd.wording import quantity

if TYPE_CHECKING:
    from riskd.rebuild.run import Report
    from riskd.rebuild.told import Summary

OK: Final = 0
LEFT_OUT: Final = 1
_MISSED: Final = ("outcomes_of_nothing", "other_pepper", "unreadable")
_DESCRIPTION: Final = """\
Make the histories of a store again, of what the decision log says: what proven sign-ins taught and fraud took back,
what was tried lately, what other parties told, and receipts, so that outcomes can still be told. Works beside a
running service: what it learns meanwhile is added up. Answers to repeated requests do not come back.
docs/operations.md says when to use it."""
_EPILOG: Final = """\
A rebuild that was stopped goes on where it was; one that is done does nothing.

exit codes: 0 done; 1 done, and lines were left out that should not have been, which are counted; 2 refused: settings,
arguments, the log or the store; it is safe to run it again."""


def add_source(sources: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `decision-log` among what can be imported."""
    parser = sources.add_parser(
        "decision-log",
        help="riskd's own decision log, into a store that was lost",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "log", metavar="LOG", nargs="?", help="directory of a decision log, or a dataset of one (default: log.dir)"
    )
    parser.add_argument(
        "--until",
        metavar="TIME",
        type=moment,
        help="when the service began with this store, as 2026-01-31T12:00Z (default: when it took the place of a "
        "damaged one): what was written later is in it",
    )
    add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.rebuild.run import rebuild

    settings = given(args).settings
    # Who is erased meanwhile is noted beside the service's own log, wherever the lines come from.
    source = source_of(args.log or settings.log.dir, given(args, {"log.dir": args.log}).settings)
    with _progress() as report:
        summary = rebuild(settings, source, args.until, report)
    if args.json:
        print_json(summary)
    else:
        _print(summary)
    tell_unreadable(summary.counts.get("unreadable", 0), summary.first_unreadable)
    return LEFT_OUT if any(summary.counts.get(kind) for kind in _MISSED) else OK


@contextmanager
def _progress() -> Iterator[Report]:
    """A line for each half: its share, and how long it will take. On a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def report(half: str, done: int, total: int) -> None:
            if half not in tasks:
                tasks[half] = progress.add_task(half, total=total)
            progress.update(tasks[half], completed=done)

        yield report


def _print(summary: Summary) -> None:
    from riskd.rebuild.run import COUNTED

    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(summary.until))
    if summary.done_before:
        print(f"nothing to do: the log until {until} is in the store")
        return
    print(f"the log until {until}: {quantity(summary.records, 'record')} in {summary.seconds:.1f} s, ", end="")
    print(f"{summary.lines_per_second:,.0f} lines/s" + (", after an earlier run" if summary.resumed else ""))
    for kind, meaning in COUNTED.items():
        if summary.counts.get(kind):
            print(f"{summary.counts[kind]:>10,}  {meaning}")
