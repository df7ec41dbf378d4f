"""`riskd log`: state of the decision log, its compaction, SQL queries, single decisions, and export to a SIEM."""

from __future__ import annotations

import argparse
from math import inf
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from riskd.cli.arguments import add_processes, whole_number
from riskd.cli.extras import require
from riskd.cli.log import export, find, query, show
from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import bars, print_json, progress, report_unreadable
from riskd.config import Settings
from riskd.core.errors import InvalidSettings, Problem
from riskd.wording import quantity, when

if TYPE_CHECKING:
    from riskd.offline.dataset.compact import Filed

BUSY = 1


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `log` and its actions."""
    log = commands.add_parser(
        "log",
        description="Inspect the decision log: find and explain decisions, query it in SQL, export it, compact it. "
        "Without an action it shows the state of the log: its segments, and how many erasures are pending. It reads "
        "files, so no service needs to be running.",
        epilog="exit codes: 0 done; 2 refused: wrong settings, or a directory that cannot be read",
    )
    _add_flags(log)
    log.set_defaults(handler=_state)
    actions = log.add_subparsers(metavar="ACTION")
    compact = actions.add_parser(
        "compact",
        help="remove erased and expired lines from finished segments, and update the dataset",
        description="Rewrite finished segments without the lines of erased subjects and without lines older than the "
        "retention of their policy. A running service does the same every `log.compact_minutes` at 16 MiB/s; this "
        "command reads as fast as it can. With --to, or the setting log.dataset, finished segments are also added to a "
        "dataset of Parquet files, and erased and expired rows are removed from it; that needs the extra `train`.",
        epilog="exit codes: 0 done; 1 another process is compacting; 2 refused: a problem with the settings, a policy "
        "or the directory",
    )
    _add_flags(compact)
    compact.add_argument(
        "--to", metavar="TARGET", help="dataset: a directory, s3://bucket/path or gs://bucket/path (log.dataset)"
    )
    compact.add_argument(
        "--buckets", metavar="N", type=_buckets, default=4, help="buckets of a new dataset, 1 to 256 (default: 4)"
    )
    add_processes(compact, "number of reading processes")
    compact.set_defaults(handler=_compact)
    for group in (query, find, show, export):
        group.add_actions(actions)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _buckets(text: str) -> int:
    from riskd.offline.buckets import MOST

    return whole_number(text, most=MOST)


def _state(args: argparse.Namespace) -> int:
    from riskd.wiring import open_archive

    settings = given(args).settings
    state = open_archive(settings).state()
    if args.json:
        print_json({"directory": settings.log.dir, **asdict(state)})
        return 0
    print(f"directory   {settings.log.dir}{'' if Path(settings.log.dir).is_dir() else ' (does not exist)'}")
    since = f", the oldest {state.oldest}" if state.oldest else ""
    oldest = f", the oldest requested {when(state.asked)}" if state.erasures else ""
    print(f"segments    {state.segments}, {state.size / 1_048_576:.1f} MiB{since}")
    print(f"erasures    {state.erasures} pending{oldest}")
    print(f"compacted   {when(state.compacted) if state.compacted else 'never'}")
    return 0


def _compact(args: argparse.Namespace) -> int:
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    from riskd.housekeeping import log_retention
    from riskd.wiring import active_release, open_archive

    settings = given(args, {"log.dataset": args.to}, writes=True).settings
    if not Path(settings.log.dir).is_dir():
        what = f"{settings.log.dir} is not a directory"
        raise InvalidSettings([Problem("log.dir", what, "give the settings of the service, or set log.dir")])
    keep = log_retention(active_release(settings))
    with bars(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("segments", total=None)
        done = open_archive(settings).compact(
            keep, Event(), lambda at, total: bar.update(task, completed=at, total=total), rate=inf
        )
    if not args.json and done is not None:
        rest = f"; {quantity(done.left, 'erasure')} pending in segments that are being written" if done.left else ""
        print(f"{quantity(done.lines, 'line')} removed from {quantity(done.rewritten, 'segment')}{rest}")
    filed = _file(args, settings, keep) if done is not None and settings.log.dataset else None
    if done is None or (settings.log.dataset and filed is None):
        print("null" if args.json else "Another process is compacting the log.")
        return BUSY
    if args.json:
        print_json({**asdict(done), "dataset": filed})
    return 0


def _file(args: argparse.Namespace, settings: Settings, keep: dict[str, float]) -> Filed | None:
    """Compact the log into its dataset."""
    require("pyarrow", "a dataset is Parquet files")
    from riskd.offline.dataset.compact import Dataset
    from riskd.offline.dataset.target import Target
    from riskd.wiring import open_archive

    target, log = Target.open(settings.log.dataset), Path(settings.log.dir)
    dataset = Dataset(target, log, open_archive(settings), args.buckets)
    with progress() as begin:
        filed = dataset.compact(keep, begin("dataset", dataset.waiting()), args.processes)
    if filed and not args.json:
        came = ", ".join(f"{count:,} {kind}" for kind, count in sorted(filed.counts.items())) or "nothing"
        held = " and ".join(f"{count:,} {table}" for table, count in filed.rows.items())
        source, gone = quantity(filed.segments, "segment"), quantity(filed.gone, "row")
        print(f"{target.name}: added {came} from {source}, removed {gone}; it now has {held}")
    if filed:
        report_unreadable(filed.counts.get("unreadable", 0), filed.first_unreadable)
    return filed
