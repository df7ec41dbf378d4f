"""Rebuilds the histories of a store from the decision log, while the service runs.

The lines are first replayed into a staging store beside the service's store, at the times at which they were written.
Then the staging store's records are merged into the service's store. So no sign-in is assessed with half of a past, and
an interrupted rebuild can continue later.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from math import inf
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.decision_log import DATASET, FileLogArchive, readable
from riskd.adapters.lmdb_store import LmdbStore, beside, due_until, settle
from riskd.config import Settings, obtain_peppers
from riskd.core.errors import DamagedStore, InvalidFile, InvalidSettings, Problem, RiskdError, Unavailable
from riskd.core.pseudonym import Pseudonyms
from riskd.core.record import HistoryRecord, OutcomeRecord, SecurityEventRecord, written
from riskd.core.rekey import layered, relayered
from riskd.core.stored import NOBODY, Change, document, pack
from riskd.counts import Counts
from riskd.host.locks import exclusive
from riskd.ports import HistoryStore
from riskd.progress import Begin
from riskd.rebuild.merge import Rebuilt, conclude, merge, read_rebuilt
from riskd.rebuild.messages import Summary
from riskd.rebuild.order import LogReader
from riskd.rebuild.past import Past
from riskd.stores import checks, open_store, settled_pseudonyms
from riskd.subjects import empty
from riskd.wiring import lineup_in_use, open_archive
from riskd.wording import second

LINES, RECORDS = "lines", "records"
"""The two halves of the work: replaying lines, then merging records."""
EVERY: Final = 500
"""Lines between two bookmarks. After an interruption at most this many are replayed again, which changes nothing."""
OVERTAKEN: Final = 60.0
"""Lines may be out of order by at most this many seconds."""
SETTLE: Final = 1.0
"""Seconds that may pass between an erasure from the store and its entry in the log's directory."""
LOOK: Final = 1.0
"""Seconds between two checks for erasures during the merge."""
COUNTED: Final = {
    "attempts": "attempts",
    "outcomes": "outcomes",
    "events": "security events",
    "outcomes_of_nothing": "outcomes left out: their assessment is not in this log",
    "other_pepper": "lines left out: written with another pepper",
    "later": "lines left out: written since the service began with this store",
    "repeats": "repeated answers left out: they changed nothing",
    "shadow": "lines of shadow releases left out",
    "unreadable": "unreadable lines left out",
    "erased": "subjects left out: erased meanwhile",
}
"""What is counted, and its description."""
_KEY: Final = NOBODY + b"staged"
STAGED: Final = "store"
"""Name of the staging store in the directory of a rebuild."""
_MAPS: Final = 4
"""The staging store keeps expired records, so it may grow to this many times the size limit of the store."""


class _Staged(Struct, frozen=True, kw_only=True):
    """The origin of a staging store, and up to when it has the lines of the log."""

    origin: str
    until: float
    peppers: tuple[str, ...]
    began: float
    upto: float = -inf
    counts: dict[str, int] = {}


def rebuild(settings: Settings, reader: LogReader, until: float | None, begin: Begin) -> Summary:
    """Bring back what `reader` recorded before `until` (epoch seconds). None: until the store replaced a damaged one.

    Raises InvalidSettings, InvalidStore, InvalidFile for a log that cannot be read, and Unavailable if a store cannot
    be written or another rebuild is running. Finished work is kept: the next call continues.
    """
    directory = beside(Path(settings.store.path))
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The lock is outside the directory, which is removed at the end: otherwise a second process could lock a new one.
    with exclusive(directory.with_name(f"{directory.name}.lock")) as ours:
        if not ours:
            raise Unavailable([Problem(str(directory), "another rebuild is running", "wait until it has ended")])
        directory.mkdir(mode=0o700, exist_ok=True)
        try:
            if settings.store.kind == "memory":
                what = "is memory: whatever is rebuilt would be lost at once"
                raise InvalidSettings([Problem("store.kind", what, "give the settings of the service")])
            with closing(open_store(settings)) as store:
                summary = _Rebuild(settings, reader, store, directory, begin).run(until)
        except RiskdError:
            if not (directory / STAGED).exists():  # refused before it began: there is nothing to continue
                shutil.rmtree(directory)
            raise
        shutil.rmtree(directory)
        settle(Path(settings.store.path))
    return summary


class _Rebuild:
    def __init__(
        self, settings: Settings, reader: LogReader, store: HistoryStore, directory: Path, begin: Begin
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._store = store
        self._directory = directory
        self._begin = begin
        self._archive: FileLogArchive = open_archive(settings)
        self._counts = Counter[str]()
        self._first: tuple[Problem, ...] = ()

    def run(self, until: float | None) -> Summary:
        """Do the whole rebuild.

        1. Determine what is wanted and what was done before. 2. Replay the lines. 3. Remove subjects that were erased
        meanwhile. 4. Merge the records into the store. 5. Remove subjects that were erased during the merge.
        """
        began, peppers = time.monotonic(), obtain_peppers(self._settings)
        pseudonyms = settled_pseudonyms(self._store, peppers)
        known = read_rebuilt(self._store)
        until = self._until(until, known)  # (1)
        if known is not None and known.complete:
            return Summary(until=known.until, counts={}, records=0, seconds=0.0, lines_per_second=0.0, done_before=True)
        total = self._reader.size() if known is None else 0
        with self._staged(until, checks(peppers), known) as (staging, staged):
            resumed, before = bool(known or staged.upto > -inf), sum(staged.counts.values())
            self._counts.update(staged.counts)
            if known is None:
                self._replay(staging, staged, pseudonyms, total)  # (2)
            replayed_s = time.monotonic() - began
            self._merge(staging, staged, known)  # (3) (4) (5)
            self._stop_remembering()
        records = read_rebuilt(self._store)
        lines = sum(self._counts.values()) - before
        return Summary(
            until=until,
            counts=dict(self._counts),
            first_unreadable=self._first,
            records=records.records if records else 0,
            seconds=time.monotonic() - began,
            lines_per_second=lines / replayed_s if replayed_s else 0.0,
            resumed=resumed,
        )

    def _until(self, until: float | None, known: Rebuilt | None) -> float:
        if known is not None:
            if until is not None and until > known.until:
                what = f"is too late: the store has the lines until {second(known.until)}, and has been in use since"
                raise InvalidSettings([Problem("--until", what, "leave it out: later lines would count twice")])
            return known.until
        chosen = until if until is not None else due_until(Path(self._settings.store.path))
        if chosen is None:
            what = "is needed: lines that the service wrote since it began with this store must not count twice"
            remedy = "give the time when it began, as --until 2026-01-31T12:00Z; the present time, if it has not yet"
            raise InvalidSettings([Problem("--until", what, remedy)])
        return chosen

    @contextmanager
    def _staged(
        self, until: float, peppers: tuple[str, ...], known: Rebuilt | None
    ) -> Iterator[tuple[LmdbStore, _Staged]]:
        """The staging store: an earlier one if it belongs to the same log and rebuild, else a new one."""
        path, size = self._directory / STAGED, self._settings.store.map_size_mb * _MAPS << 20
        staging, staged = _opened(path, size)
        if (
            staged is None
            or (staged.until, staged.peppers) != (until, peppers)
            or (known and known.origin != staged.origin)
        ):
            if staging is not None:
                staging.close()
            if known is not None:
                what = f"holds half of an interrupted rebuild, and the other half is no longer in {self._directory}"
                raise InvalidSettings([Problem("store", what, "move the store away, and begin with an empty one")])
            shutil.rmtree(path)
            self._archive.remember()
            staged = _Staged(origin=secrets.token_hex(8), until=until, peppers=peppers, began=time.time())
            staging = LmdbStore(path, size)
            _write(staging, staged)
        assert staging is not None
        with closing(staging):
            yield staging, staged

    def _replay(self, staging: LmdbStore, staged: _Staged, pseudonyms: Pseudonyms, total: int) -> None:
        """Replay the lines that are not in the staging store yet. Lines before its bookmark were counted by an earlier
        run."""
        past = Past(staging, pseudonyms, lineup_in_use(self._settings))
        others, before, latest = Counts(), Counter(staged.counts), 0.0
        fresh = Counter[str]()
        with readable("the log"):
            for number, (_, line) in enumerate(self._reader.lines(others, self._begin(LINES, total)), 1):
                latest = max(latest, written(line))
                if latest < staged.upto - OVERTAKEN:
                    continue
                kind = self._line(past, pseudonyms, line, staged.until)
                if latest > staged.upto:
                    fresh[kind] += 1
                if not number % EVERY:
                    _write(staging, replace(staged, upto=latest, counts=dict(before + fresh)))
        self._counts, self._first = before + fresh + others, others.first
        _write(staging, replace(staged, upto=max(latest, staged.upto), counts=dict(before + fresh)))

    def _line(self, past: Past, pseudonyms: Pseudonyms, line: HistoryRecord, until: float) -> str:
        """Replay one line. Returns the kind to count."""
        if written(line) >= until:
            return "later"
        if isinstance(line, OutcomeRecord):
            return "outcomes" if past.outcome(line) else "outcomes_of_nothing"
        layers = pseudonyms.layers
        if isinstance(line, SecurityEventRecord):
            under = pseudonyms.layers_under(line.tenant, line.domain, "domain", "", line.keyed)
            if under is None:
                return "other_pepper"
            past.event(line, layered(bytes.fromhex(line.subject), layers[under:]))
            return "events"
        facts = line.facts
        under = pseudonyms.layers_under(
            line.tenant, line.domain, "network", facts.network, facts.values.get("network", "")
        )
        if under is None:
            return "other_pepper"
        pseudonym = pseudonyms.receipt_pseudonyms(line.id)[len(layers) - under]
        past.attempt(relayered(line, layers[under:]), pseudonym)
        return "attempts"

    def _merge(self, staging: LmdbStore, staged: _Staged, known: Rebuilt | None) -> None:
        self._unless_rotated(staged)
        gone = self._erase(staged, staging, *([self._store] if known else []))
        self._counts["erased"] = len(gone)
        so_far = known or Rebuilt(until=staged.until, origin=staged.origin)
        done, looked = self._begin(RECORDS, staging.size()[0]), time.monotonic()
        if so_far.records:
            done(so_far.records)

        def progress(more: int) -> None:
            nonlocal gone, looked
            done(more)
            if time.monotonic() < looked + LOOK:
                return
            if self._erased(staged) - gone:
                gone = self._erase(staged, staging, self._store)
            looked = time.monotonic()

        so_far = merge(staging, self._store, so_far, time.time(), progress)
        time.sleep(SETTLE)
        if self._erased(staged) - gone:
            self._erase(staged, self._store)
        conclude(self._store, so_far)

    def _unless_rotated(self, staged: _Staged) -> None:
        """Raise Unavailable if the pepper is no longer the one with which the lines were read."""
        peppers = obtain_peppers(self._settings)
        settled_pseudonyms(self._store, peppers)
        if checks(peppers) != staged.peppers:
            what = "the pepper was rotated while the log was read"
            raise Unavailable([Problem("secrets.pepper_file", what, "run it again: it begins anew")])

    def _erased(self, staged: _Staged) -> set[str]:
        """The places of subjects that were erased since this rebuild began."""
        try:
            began = staged.began - SETTLE
            return {entry.place for entry in self._archive.erased() if entry.place and entry.asked >= began}
        except OSError as error:
            raise InvalidFile([Problem("log.dir", f"cannot be read: {error}", "let riskd read it")]) from error

    def _erase(self, staged: _Staged, *stores: HistoryStore) -> set[str]:
        """Remove subjects that were erased since this rebuild began. Returns their places."""
        places = self._erased(staged)
        for store in stores:
            for place in places:
                empty(store, bytes.fromhex(place))
        return places

    def _stop_remembering(self) -> None:
        """Let the log forget finished erasures again, unless it has a dataset, which must apply them, too."""
        if not (Path(self._settings.log.dir) / DATASET).exists():
            self._archive.remember_no_more()


def _opened(path: Path, size: int) -> tuple[LmdbStore | None, _Staged | None]:
    """The existing staging store, and its description. A damaged one counts as none."""
    try:
        staging = LmdbStore(path, size)
    except DamagedStore:
        return None, None
    (record,) = staging.load((_KEY,))
    content = document(record, 0.0)
    return staging, None if content is None else msgspec.msgpack.decode(content, type=_Staged)


def _write(staging: LmdbStore, staged: _Staged) -> None:
    (before,) = staging.load((_KEY,))
    staging.replace([Change(_KEY, before, pack(inf, msgspec.msgpack.encode(staged)))])
