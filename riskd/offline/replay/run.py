"""Replays a log into another log with one process per bucket. Every process reads the whole log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.decision_log import UNBOUNDED, FileDecisionLog, readable
from riskd.adapters.lmdb_store import ScratchStore
from riskd.adapters.null import NullMeter
from riskd.config import Settings
from riskd.core import record
from riskd.core.assess import Release
from riskd.core.errors import InvalidFile, Problem
from riskd.core.record import OutcomeRecord, SecurityEventRecord, written
from riskd.counts import Counts
from riskd.offline.buckets import Bucket
from riskd.offline.crew import crew_of
from riskd.offline.output import filling
from riskd.offline.replay.fold import Fold
from riskd.progress import Progress
from riskd.rebuild.order import LogReader
from riskd.wiring import active_release, load_release, open_releases


class Plan(Struct, frozen=True, kw_only=True):
    """What to replay, where to, and with which release: a stored one, the directories of the settings (`named`), or the
    active one."""

    reader: LogReader
    settings: Settings
    out: Path
    release: str = ""
    named: bool = False

    def decides(self) -> Release:
        """Load the release. Raises InvalidFile with all problems, UnknownRelease, Unavailable."""
        if self.release:
            return open_releases(self.settings).release(self.release)
        return load_release(self.settings) if self.named else active_release(self.settings)


def run(plan: Plan, buckets: list[Bucket], progress: Progress) -> Counts:
    """Replay each bucket in a process of its own. Returns the number of lines by what was done with them.

    `progress` is called with the amount done, out of the reader's size times the number of buckets. An incomplete
    replay leaves nothing. Raises InvalidFile, also for a log that cannot be read, and InvalidSettings as `filling`.
    """
    plan.reader.size()
    with filling(plan.out) as draft:
        return _divided(replace(plan, out=draft), buckets, progress)


def _divided(plan: Plan, buckets: list[Bucket], progress: Progress) -> Counts:
    total = Counts()
    with crew_of(len(buckets)) as crew:
        for _, counts in crew.each(partial(_replay, plan), buckets, progress):
            total.add(counts)
    if len(buckets) == 1:
        return total
    # Every process read every line: lines that no process writes are to be counted once.
    del total["other_buckets"]
    for kind in total.keys() - _OWN:
        total[kind] //= len(buckets)
    return total


_OWN: Final = {"assessed", "outcomes", "events"}


def _replay(plan: Plan, bucket: Bucket, progress: Progress) -> Counts:
    release, clock = plan.decides(), _Clock()
    out = FileDecisionLog(plan.out, bucket.index, NullMeter(), UNBOUNDED, lambda: clock.now)
    with closing(out), readable("the log"), _scratch(plan.out) as store:
        fold = Fold(release, store, bucket)
        for line, one in plan.reader.lines(fold.counts, progress):
            clock.now = written(one)
            if isinstance(one, OutcomeRecord):
                again = line if fold.outcome(one) else b""
            elif isinstance(one, SecurityEventRecord):
                again = line if fold.event(one) else b""
            else:
                assessed = fold.assess(one)
                again = record.encode(assessed) if assessed is not None else b""
            if again and not out.append(again):
                raise InvalidFile([Problem(str(plan.out), "cannot be written", "check that the disk has space")])
    return fold.counts


@contextmanager
def _scratch(beside: Path) -> Iterator[ScratchStore]:
    """A store in a directory that is deleted at the end. Raises InvalidStore."""
    with TemporaryDirectory(prefix="histories-", dir=beside) as place, closing(ScratchStore(Path(place))) as store:
        yield store


class _Clock:
    """The time of the current line, by which segments are named."""

    now = 0.0
