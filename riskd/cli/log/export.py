"""`riskd log export`: exports decisions to a SIEM."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TextIO

from riskd.cli.arguments import moment
from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import print_json, progress, report_unreadable, writing
from riskd.core.errors import InvalidSettings, Problem
from riskd.host.files import atomically
from riskd.host.locks import exclusive
from riskd.progress import ignore_progress

if TYPE_CHECKING:
    from riskd.counts import Counts
    from riskd.offline.siem.feed import Converter, Mark

DAMAGED: Final = 1
LOOK_SECONDS: Final = 1.0
"""Between two reads of a log that is followed. A bookmark is written at most this often."""
COUNTED: Final = {
    "assessments": "assessments exported (Authentication)",
    "outcomes": "outcomes exported (Authentication)",
    "findings": "cases of confirmed fraud exported (Detection Finding)",
    "repeats": "repeated answers left out: their assessment is exported",
    "events": "security events left out: the party that reported them can export them",
    "shadow": "lines of shadow releases left out: they decided nothing",
    "unreadable": "unreadable lines left out",
}
_DESCRIPTION: Final = """\
Export decisions and their outcomes for a SIEM, one JSON event per line, in the Open Cybersecurity Schema Framework
(OCSF 1.8.0). Erased subjects are left out. docs/siem.md describes the mapping."""
_EPILOG: Final = """\
The counts are printed to stderr, or to standard output with --to.

exit codes: 0 done; 1 done, but unreadable lines were left out; 2 refused: a problem with the settings, arguments or
files"""


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `log export`."""
    export = actions.add_parser(
        "export",
        help="export decisions and outcomes for a SIEM, as OCSF",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    export.add_argument(
        "log",
        metavar="LOG",
        nargs="?",
        help="directory of a decision log (default: log.dir); - reads its lines from standard input as they arrive",
    )
    export.add_argument(
        "--since", metavar="TIME", type=moment, help="only lines written since then: 2026-11-01 or 2026-11-01T12:00Z"
    )
    export.add_argument(
        "--to", metavar="FILE", type=Path, help="write to a file, which appears when complete (default: print)"
    )
    export.add_argument("--follow", action="store_true", help="keep exporting new lines until stopped")
    export.add_argument(
        "--bookmark", metavar="FILE", type=Path, help="continue after the previous run, whose position this file stores"
    )
    add_arguments(export)
    export.add_argument("--json", action="store_true", help="print the counts as JSON")
    export.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.offline.siem.feed import Converter

    _check(args)
    converter = Converter(args.since if args.since is not None else float("-inf"))
    try:
        if args.log == "-":
            _stream(args.to, converter)
        else:
            with _alone(args.bookmark):
                _export(args, converter)
    except KeyboardInterrupt:
        _print(converter.counts, sys.stderr, as_json=args.json)
        raise
    _print(converter.counts, sys.stdout if args.to else sys.stderr, as_json=args.json)
    return DAMAGED if converter.counts["unreadable"] else 0


def _check(args: argparse.Namespace) -> None:
    problems = [
        Problem(f"--{flag}", "needs a log in a directory, not standard input", "name the directory, or leave it out")
        for flag in ("follow", "bookmark")
        if args.log == "-" and getattr(args, flag)
    ]
    if args.follow and args.to:
        what = "never ends, but --to writes the file at the end"
        problems.append(Problem("--follow", what, "leave one of them out"))
    if args.to and args.bookmark and args.to.resolve() == args.bookmark.resolve():
        problems.append(Problem("--bookmark", "would replace the events that --to writes", "name another file"))
    if problems:
        raise InvalidSettings(problems)


@contextmanager
def _output(to: Path | None) -> Iterator[BinaryIO]:
    if to is None:
        yield sys.stdout.buffer
        return
    with writing(to), atomically(to) as file:
        yield file


@contextmanager
def _alone(bookmark: Path | None) -> Iterator[None]:
    """Holds the lock of a bookmark, if there is one. Raises InvalidSettings if another export holds it."""
    with ExitStack() as held:
        if bookmark is not None:
            with writing(bookmark):
                ours = held.enter_context(exclusive(bookmark.with_name(f"{bookmark.name}.lock")))
            if not ours:
                raise InvalidSettings([Problem(str(bookmark), "is in use by another export", "give each its own")])
        yield


def _stream(to: Path | None, converter: Converter) -> None:
    from riskd.offline.siem.feed import streamed

    with _output(to) as file:
        for events in streamed(sys.stdin.fileno(), converter):
            file.writelines(events)
            file.flush()


def _export(args: argparse.Namespace, converter: Converter) -> None:
    from riskd.offline.siem.feed import Feed, located
    from riskd.wiring import open_archive

    named = str(located(Path(args.log))) if args.log else None
    settings = given(args, {"log.dir": named}).settings
    directory, bookmark = Path(settings.log.dir), _Bookmark(args.bookmark)
    feed = Feed(open_archive(settings), directory, converter, bookmark.marks)
    if not (args.follow and directory.is_dir()):
        feed.check()
    bookmark.keep()  # fail before anything is exported, not after
    quiet = args.follow or (sys.stdout.isatty() and not args.to)
    with _output(args.to) as file, nullcontext(ignore_progress) if quiet else progress() as begin:
        while True:
            for events in feed.events(begin("log", 0 if quiet else feed.size())):
                file.writelines(events)
                file.flush()
                if not args.to:
                    bookmark.move(feed.marks, LOOK_SECONDS)
            if not args.follow:
                break
            bookmark.move(feed.marks)
            time.sleep(LOOK_SECONDS)
    bookmark.move(feed.marks)


class _Bookmark:
    """How far a log was exported, kept in a file if there is one."""

    def __init__(self, file: Path | None) -> None:
        """Raises InvalidFile."""
        from riskd.offline.siem.feed import marks_in

        self.marks = marks_in(file) if file else {}
        self._file = file
        self._moved = 0.0

    def move(self, marks: Mapping[str, Mark], after: float = 0.0) -> None:
        """Record how far the output was delivered, unless that was done less than `after` seconds ago. Raises
        InvalidSettings."""
        now = time.monotonic()
        if marks != self.marks and now - self._moved >= after:
            self.marks, self._moved = dict(marks), now
            self.keep()

    def keep(self) -> None:
        """Write the bookmark, if there is a file. Raises InvalidSettings."""
        from riskd.offline.siem.feed import keep

        if self._file is not None:
            with writing(self._file):
                keep(self.marks, self._file)


def _print(counts: Counts, file: TextIO, *, as_json: bool) -> None:
    report_unreadable(counts["unreadable"], counts.first)
    if as_json:
        reported = {kind: counts[kind] for kind in COUNTED}
        print_json({**reported, "first_unreadable": counts.first}, file)
        return
    for kind, meaning in COUNTED.items():
        if counts[kind]:
            print(f"{counts[kind]:>10,}  {meaning}", file=file)
