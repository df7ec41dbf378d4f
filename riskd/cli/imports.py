"""`riskd import`: teach histories from the sign-ins that an identity provider exported."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from riskd.cli.arguments import moment, whole_number
from riskd.cli.rebuild import add_source
from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import bars, complain, print_json
from riskd.core.attempt import DOMAINS
from riskd.core.errors import InvalidFile, Problem, Unavailable
from riskd.core.history import WEEK
from riskd.wording import quantity

if TYPE_CHECKING:
    from riskd.offline.importers.event import Source
    from riskd.offline.importers.learner import Scope
    from riskd.offline.importers.run import OnProgress, Options, Summary

DAMAGED: Final = 1
NOT_AVAILABLE: Final = 3
_EXIT_CODES: Final = """\
exit codes: 0 every record was used, or skipped for a reason that is printed; 1 some records could not be read, the
others were imported; 2 refused: wrong settings or arguments, or a file that was changed since an earlier run; 3 the
store could not be written. If an import is interrupted, run it again: it continues where it stopped. A file that has
grown is read from where it ended before."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `import` and its sources."""
    from riskd.offline.importers import SOURCES

    parser = commands.add_parser(
        "import",
        description="Teach histories from the logs of an identity provider, or from riskd's own decision log. The "
        "service may be running.",
    )
    sources = parser.add_subparsers(required=True, metavar="SOURCE")
    for source in SOURCES.values():
        _add_source(sources, source)
    add_source(sources)


def _add_source(sources: argparse._SubParsersAction[argparse.ArgumentParser], source: Source) -> None:
    parser = sources.add_parser(
        source.name,
        help=source.title,
        description=f"Import {source.title} from exported files, which may be compressed with gzip. docs/import.md "
        "describes which records and fields are used.",
        epilog=_EXIT_CODES,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="exported file, or - for standard input")
    parser.add_argument("--domain", required=True, choices=DOMAINS, help="identity domain of these accounts")
    parser.add_argument(
        "--tenant", metavar="NAME", default="", help="tenant that the caller sends in its requests (default: none)"
    )
    parser.add_argument(
        "--subject-field",
        choices=source.subjects,
        default=source.subjects[0],
        help="which identifier the caller sends as subject (default: %(default)s)",
    )
    parser.add_argument(
        "--since", metavar="TIME", type=moment, help="skip records before this time, such as 2026-01-31T12:00Z"
    )
    parser.add_argument(
        "--until",
        metavar="TIME",
        type=moment,
        help="skip records at or after this time: when the service began to see the sign-ins itself",
    )
    parser.add_argument(
        "--shift-weeks", metavar="N", type=int, default=0, help="move every event N weeks later, to try an old data set"
    )
    parser.add_argument(
        "--limit", metavar="N", type=whole_number, help="stop after N records; the next run continues there"
    )
    parser.add_argument("--dry-run", action="store_true", help="read and count everything, change nothing")
    parser.add_argument("--from-start", action="store_true", help="import the files again from the start")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_arguments(parser)
    parser.set_defaults(handler=lambda args: _run(source, args))


def _run(source: Source, args: argparse.Namespace) -> int:
    from riskd.offline.importers.learner import Scope
    from riskd.offline.importers.run import Options

    scope = Scope(
        domain=args.domain,
        tenant=args.tenant,
        subject=args.subject_field,
        since=args.since if args.since is not None else float("-inf"),
        until=args.until if args.until is not None else float("inf"),
        shift=float(args.shift_weeks * WEEK),
    )
    options = Options(limit=args.limit, dry_run=args.dry_run, from_start=args.from_start)
    if args.files.count("-") > 1:
        raise InvalidFile([Problem("-", "standard input is named more than once", "name it once")])
    summaries: list[Summary] = []
    code = 0
    try:
        for summary in _imported(source, args, scope, options):
            summaries.append(summary)
            if not args.json:
                _print(source, summary, dry_run=args.dry_run)
    except Unavailable as error:
        complain(error)
        code = NOT_AVAILABLE
    if args.json:
        print_json(summaries)
    return code or (DAMAGED if any(summary.tally.unreadable.records for summary in summaries) else 0)


def _imported(source: Source, args: argparse.Namespace, scope: Scope, options: Options) -> Iterator[Summary]:
    from riskd.offline.importers.run import Import
    from riskd.wiring import open_learner

    left = options.limit
    with open_learner(given(args, writes=not args.dry_run).settings, trial=args.dry_run) as engine:
        for file in args.files:
            if left == 0:
                return
            with _progress(file) as report:
                summary = Import(engine, source, scope, replace(options, limit=left)).run(file, report)
            if left is not None:
                left -= summary.records
            yield summary


@contextmanager
def _progress(file: str) -> Iterator[OnProgress]:
    """On a terminal, a progress line on stderr: records, records per second, and the time left if the size is known."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[read]}, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    size = Path(file).stat().st_size if file != "-" and Path(file).is_file() else 0
    with bars(*columns) as progress:
        task = progress.add_task(Path(file).name, total=size or None, read=quantity(0, "record"), rate=0.0)

        def report(position: int, records: int) -> None:
            elapsed = progress.tasks[0].elapsed or 0.0
            rate = records / elapsed if elapsed else 0.0
            progress.update(task, completed=position, read=quantity(records, "record"), rate=rate)

        yield report


def _print(source: Source, summary: Summary, *, dry_run: bool) -> None:
    from riskd.offline.importers.event import REASONS

    tally, rate = summary.tally, summary.records / summary.seconds if summary.seconds else 0.0
    print(f"{summary.file}: {quantity(summary.records, 'record')} in {summary.seconds:.1f} s ({rate:,.0f}/s)", end="")
    print(f", after {summary.resumed_at:,} in earlier runs; in total:" if summary.resumed_at else "")
    used = sum(tally.used.values())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(tally.used.items(), key=lambda pair: -pair[1]))
    print(f"  {'would use' if dry_run else 'used':<10} {used:>9,}" + (f"  {kinds}" if kinds else ""))
    for reason, count in sorted(tally.skipped.items(), key=lambda pair: -pair[1].records):
        print(f"  {'skipped':<10} {count.records:>9,}  {reason}: {REASONS[reason]}{_examples(count.examples)}")
    if tally.unreadable.records:
        print(f"  {'unreadable':<10} {tally.unreadable.records:>9,}{_examples(tally.unreadable.examples)}")
    if not summary.complete:
        print("  stopped at --limit; the next run continues from here")
    if not used:
        print(f"  nothing was used: is this an export of {source.title}, and recent enough?")


def _examples(examples: Iterable[tuple[int, str]]) -> str:
    lines = "; ".join(f"line {line}: {detail}" if detail else f"line {line}" for line, detail in examples)
    return f" ({lines})" if lines else ""
