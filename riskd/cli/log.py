"""`riskd log`: how the decision log stands, and its compaction."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

from riskd.cli.settings import add_arguments, given

BUSY = 1


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `log` and its action."""
    log = commands.add_parser(
        "log",
        description="Say how the decision log stands: its segments, and what is still to be erased. It reads files, "
        "so it needs no running service. Exit code 2: the settings were refused, or the directory cannot be read.",
    )
    _add_flags(log)
    log.set_defaults(handler=_state)
    actions = log.add_subparsers(metavar="ACTION")
    compact = actions.add_parser(
        "compact",
        help="erase now what is to be erased from finished segments",
        description="Rewrite finished segments without the lines of erased subjects, and without those older than the "
        "retention of their policy. A running service does the same every `log.compact_minutes`. Exit code 1: "
        "another process is at it; 2: the settings, a policy or the directory were refused.",
    )
    _add_flags(compact)
    compact.set_defaults(handler=_compact)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _state(args: argparse.Namespace) -> int:
    from msgspec.structs import asdict

    from riskd.wiring import open_archive

    settings = given(args).settings
    state = open_archive(settings).state()
    if args.json:
        print(json.dumps({"directory": settings.log.dir, **asdict(state)}, indent=2))
        return 0
    print(f"directory   {settings.log.dir}")
    print(
        f"segments    {state.segments}, {state.size / 1_048_576:.1f} MiB" + (state.oldest and f" since {state.oldest}")
    )
    print(
        f"erasures    {state.erasures} to do" + (f", the oldest asked {_when(state.asked)}" if state.erasures else "")
    )
    print(f"compacted   {_when(state.compacted) if state.compacted else 'never'}")
    return 0


def _compact(args: argparse.Namespace) -> int:
    from threading import Event

    from msgspec.structs import asdict
    from rich.console import Console
    from rich.progress import Progress

    from riskd.wiring import active_release, kept_seconds, open_archive

    settings = given(args).settings
    keep = kept_seconds(active_release(settings))
    with Progress(console=Console(stderr=True), transient=True, disable=args.json) as bar:
        task = bar.add_task("segments", total=None)
        done = open_archive(settings).compact(
            keep, Event(), lambda at, total: bar.update(task, completed=at, total=total)
        )
    if args.json:
        print(json.dumps(asdict(done) if done else None))
    elif done is None:
        print("Another process is compacting the log.")
    else:
        rest = f"; {done.left} erasures wait for segments that are still being written" if done.left else ""
        print(f"{done.lines} lines went from {done.rewritten} segments{rest}")
    return 0 if done else BUSY


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
