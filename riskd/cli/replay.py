"""`riskd replay`: replays a decision log, which gets the features and scores of the present version and release."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from riskd.cli.arguments import add_processes
from riskd.cli.extras import require
from riskd.cli.release import named
from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import print_json, progress, report_unreadable
from riskd.config import Settings

if TYPE_CHECKING:
    from riskd.offline.buckets import Bucket
    from riskd.rebuild.order import LogReader

INCOMPLETE = 1
COUNTED = {
    "assessed": "assessments written, with today's features and scores",
    "outcomes": "outcomes written beside them",
    "events": "security events written beside them",
    "other_buckets": "assessments of other buckets, processed and not written",
    "without_signals": "assessments left out: their lines have no signals (log.signals was off, or riskd was older)",
    "outcomes_of_nothing": "outcomes left out: their assessment is not in this log",
    "repeats": "repeated answers left out: they changed nothing",
    "shadow": "lines of shadow releases left out",
    "unreadable": "unreadable lines",
    "twice": "assessments that the log has twice, counted once",
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `replay`."""
    replay = commands.add_parser(
        "replay",
        description="Run a decision log through the engine again, and write another log with today's features and "
        "scores. Attempts, outcomes and security events are processed as in the live service, in the order of the "
        "log; learning follows the outcomes in the log. Assessment ids stay the same, and erased subjects are left "
        "out. Each process reads the whole log and writes one bucket of the subjects; with --bucket, several machines "
        "can share the work.",
        epilog="exit codes: 0 done; 1 done, and lines were left out, which are counted; 2 refused",
    )
    replay.add_argument(
        "log",
        metavar="LOG",
        nargs="?",
        help="directory of a decision log, or directory or URL of its dataset (default: log.dir)",
    )
    replay.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="directory to write; must be empty or not exist"
    )
    buckets = replay.add_mutually_exclusive_group()
    buckets.add_argument("--bucket", metavar="K/N", type=_bucket, help="write only bucket K of N, K from 1 to N")
    add_processes(buckets, "number of processes, each for one bucket")
    replay.add_argument("--policies", metavar="DIR", help="assess by these policies (release.policies)")
    replay.add_argument("--models", metavar="DIR", help="assess by these models (release.models)")
    replay.add_argument(
        "--release",
        metavar="ID",
        default="",
        help="assess by a release of this host: its id, or at least the first 4 digits",
    )
    add_arguments(replay)
    replay.add_argument("--json", action="store_true", help="print JSON")
    replay.set_defaults(handler=_run)


def _bucket(text: str) -> Bucket:
    from riskd.offline.buckets import MOST, Bucket

    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count) <= MOST):
        raise argparse.ArgumentTypeError(f"{text!r} is not a bucket such as 1/4")
    return Bucket(int(index) - 1, int(count))


def _run(args: argparse.Namespace) -> int:
    from riskd.offline.buckets import MOST, Bucket
    from riskd.offline.replay.run import Plan, run
    from riskd.wiring import open_releases

    short = {"log.dir": args.log, "release.policies": args.policies, "release.models": args.models}
    settings = given(args, short).settings
    many = min(args.processes or len(os.sched_getaffinity(0)), MOST)
    buckets = [args.bucket] if args.bucket else [Bucket(index, many) for index in range(many)]
    release = named(open_releases(settings), args.release) if args.release else ""
    plan = Plan(
        reader=reader_of(args.log or settings.log.dir, settings),
        settings=settings,
        out=args.out,
        release=release,
        named=bool(args.policies or args.models),
    )
    with progress() as begin:
        counts = run(plan, buckets, begin("lines", plan.reader.size() * len(buckets)))
    if args.json:
        reported = {kind: counts[kind] for kind in COUNTED}
        print_json({"out": str(args.out), "counts": reported, "first_unreadable": counts.first})
    else:
        for kind, meaning in COUNTED.items():
            if counts[kind] or kind == "assessed":
                print(f"{counts[kind]:>10,}  {meaning}")
    report_unreadable(counts["unreadable"], counts.first)
    left = sum(counts[kind] for kind in ("without_signals", "outcomes_of_nothing", "unreadable"))
    return INCOMPLETE if left else 0


def reader_of(log: str, settings: Settings) -> LogReader:
    """The reader of lines: the segments of a log, or a dataset. `log.dir` of the settings must be the same
    directory."""
    from riskd.offline.logs import is_dataset

    if not is_dataset(log):
        from riskd.rebuild.order import SegmentReader

        return SegmentReader(settings)
    require("pyarrow", "a dataset is Parquet files")
    from riskd.offline.dataset.reading import DatasetReader

    return DatasetReader(log)
