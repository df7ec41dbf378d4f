"""Makes the histories of a store again, of the decision log, while the store serves.

Lines are lived through in a store of their own beside it, under the clock that they were written by; then its records
are added to those that there are. Nobody is judged by half a past, and whatever dies in the middle goes on later.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.decision_log import FileLogArchive, readable
from riskd.adapters.lmdb_store import LmdbStore, beside, due_until, settle
from riskd.adapters.memory import NullMeter
from riskd.config import Settings, obtain_peppers
from riskd.core.errors import DamagedStore, InvalidFile, InvalidSettings, Problem, RiskdError, Unavailable
from riskd.core.pseudonym import Pseudonyms
from riskd.core.record import Lived, OutcomeRecord, SecurityEventRecord, written
from riskd.core.rekey import layered, lifted
from riskd.core.stored import NOBODY, Change, document, pack
from riskd.counts import Counts
from riskd.locks import alone
from riskd.ports import HistoryStore
from riskd.rebuild.merge import Rebuilt, conclude, merge, read_rebuilt
from riskd.rebuild.order import DATASET, Source
from riskd.rebuild.past import Past
from riskd.rebuild.told import Summary
from riskd.stores import checks, first_mark, keyed, open_store
from riskd.subjects import empty
from riskd.wiring import active_release, open_archive

LINES, RECORDS = "lines", "records"
"""The two halves of the work."""
EVERY: Final = 500
"""Lines between two bookmarks: so many are lived through once more after a kill, and change nothing then."""
OVERTAKEN: Final = 60.0
"""Seconds by which lines may be written out of their order, at most."""
SETTLE: Final = 1.0
"""Seconds that an erasure may take between the store and the log."""
LOOK: Final = 1.0
"""Seconds between two looks for erasures while records are added: there may be thousands, and a file each."""
COUNTED: Final = {
    "attempts": "attempts",
    "outcomes": "outcomes",
    "events": "security events",
    "outcomes_of_nothing": "outcomes left out: their assessment is not in this log",
    "other_pepper": "lines left out: written under another pepper",
    "later": "lines left out: written since the service began with this store",
    "repeats": "repeated answers left out: they changed nothing",
    "shadow": "lines of shadow releases left out",
    "unreadable": "lines that are no records",
    "erased": "subjects erased meanwhile, left out",
}
"""What is counted, in words."""
Report = Callable[[str, int, int], None]
"""Called now and then with the half at hand, how much of it is done, and how much it is."""
_KEY: Final = NOBODY + b"staged"
STAGED: Final = "store"
"""Name of the store of its own, in the directory of a rebuild."""
_MAPS: Final = 4
"""The store of its own keeps what has expired, and may grow to so many times what the store may."""


class _Staged(Struct, frozen=True, kw_only=True):
    """Where a store of its own comes from, and until when its lines are in it."""

    origin: str
    until: float
    peppers: tuple[str, ...]
    began: float
    upto: float = 0.0
    counts: dict[str, int] = {}
    remembers: bool = False
    """Erasures of the log are remembered for its sake alone."""


def rebuild(settings: Settings, source: Source, until: float | None, report: Report) -> Summary:
    """Bring back what `source` has of before `until`, epoch seconds; None: until the store took the place of a damaged
    one.

    Raises InvalidSettings, InvalidStore, InvalidFile for a log that cannot be read; Unavailable when a store cannot be
    written, or another rebuild is under way. What was done is kept: the next call goes on.
    """
    place = beside(Path(settings.store.path))
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Beside what goes at the end: who came in the middle of that would have a lock of the same name, and be alone, too.
    with alone(place.with_name(f"{place.name}.lock")) as ours:
        if not ours:
            raise Unavailable([Problem(str(place), "another rebuild is under way", "wait for it")])
        place.mkdir(mode=0o700, exist_ok=True)
        try:
            if settings.store.kind == "memory":
                what = "what is rebuilt into memory is forgotten at once"
                raise InvalidSettings([Problem("store.kind", what, "name the store of the service, as `lmdb`")])
            with closing(open_store(settings)) as store:
                summary = _Rebuild(settings, source, store, place, report).run(until)
        except RiskdError:
            if not (place / STAGED).exists():  # refused before it began: nothing is to go on with
                shutil.rmtree(place)
            raise
        shutil.rmtree(place)
        settle(Path(settings.store.path))
    return summary


class _Rebuild:
    def __init__(self, settings: Settings, source: Source, store: HistoryStore, place: Path, report: Report) -> None:
        self._settings = settings
        self._source = source
        self._store = store
        self._place = place
        self._report = report
        self._archive: FileLogArchive = open_archive(settings)
        self._counts = Counter[str]()
        self._first: tuple[Problem, ...] = ()

    def run(self, until: float | None) -> Summary:
        """1. Find out what is wanted, and what was done. 2. Live through the lines. 3. Leave out who was erased
        meanwhile. 4. Add the records to the store. 5. Erase again who was erased in the middle of that."""
        began, peppers = time.monotonic(), obtain_peppers(self._settings)
        pseudonyms = self._pseudonyms(peppers)
        known = read_rebuilt(self._store)
        until = self._until(until, known)  # (1)
        if known is not None and known.complete:
            return Summary(until=known.until, counts={}, records=0, seconds=0.0, lines_per_second=0.0, done_before=True)
        total = self._source.size() if known is None else 0
        with self._staged(until, checks(peppers), known) as (staging, staged):
            resumed, before = bool(staged.upto or known), sum(staged.counts.values())
            self._counts.update(staged.counts)
            if known is None:
                self._live(staging, staged, pseudonyms, total)  # (2)
            lived = time.monotonic() - began
            self._merge(staging, staged, known)  # (3) (4) (5)
            self._forget(staged)
        records = read_rebuilt(self._store)
        lines = sum(self._counts.values()) - before
        return Summary(
            until=until,
            counts=dict(self._counts),
            first_unreadable=self._first,
            records=records.records if records else 0,
            seconds=time.monotonic() - began,
            lines_per_second=lines / lived if lived else 0.0,
            resumed=resumed,
        )

    def _pseudonyms(self, peppers: list[bytes]) -> Pseudonyms:
        mark = first_mark(self._store, peppers)
        keyed(self._store, peppers, mark, NullMeter())
        if len(peppers) - 1 != mark.layers:
            what = "the pepper is being rotated"
            raise Unavailable([Problem("secrets.pepper_file", what, "wait for `riskd pepper rotate` to end")])
        return Pseudonyms(peppers[0], peppers[1:])

    def _until(self, until: float | None, known: Rebuilt | None) -> float:
        if known is not None:
            if until is not None and until > known.until:
                what = f"has the log's lines until {_moment(known.until)} already, and has served since"
                raise InvalidSettings([Problem("--until", what, "leave it out: later lines would count twice")])
            return known.until
        chosen = until if until is not None else due_until(Path(self._settings.store.path))
        if chosen is None:
            what = "nobody knows since when the service has seen for itself what the log says"
            remedy = "say when it began with this store, as --until 2026-01-31T12:00Z; now, where it has not yet"
            raise InvalidSettings([Problem("--until", what, remedy)])
        return chosen

    @contextmanager
    def _staged(
        self, until: float, peppers: tuple[str, ...], known: Rebuilt | None
    ) -> Iterator[tuple[LmdbStore, _Staged]]:
        """The store of its own: the one that was begun, if it is of the same log, else another."""
        path, size = self._place / STAGED, self._settings.store.map_size_mb * _MAPS << 20
        staging, found = _opened(path, size)
        if (
            found is None
            or (found.until, found.peppers) != (until, peppers)
            or (known and known.origin != found.origin)
        ):
            if staging is not None:
                staging.close()
            if known is not None:
                what = f"half of a rebuild is in the store, and what is missing is not in {self._place} any more"
                raise InvalidSettings([Problem("store", what, "set the store aside, and begin with an empty one")])
            shutil.rmtree(path)
            remembers, origin = self._archive.remember(), secrets.token_hex(8)
            found = _Staged(origin=origin, until=until, peppers=peppers, began=time.time(), remembers=remembers)
            staging = LmdbStore(path, size)
            _write(staging, found)
        assert staging is not None
        with closing(staging):
            yield staging, found

    def _live(self, staging: LmdbStore, staged: _Staged, pseudonyms: Pseudonyms, total: int) -> None:
        """Live through the lines that are not in it yet; what a bookmark says was counted before."""
        past = Past(staging, pseudonyms, active_release(self._settings).policies)
        others, before, latest, done = Counts(), Counter(staged.counts), 0.0, 0
        fresh = Counter[str]()

        def progress(more: int) -> None:
            nonlocal done
            done += more
            self._report(LINES, done, total)

        with readable("the log"):
            for number, (_, line) in enumerate(self._source.lines(others, progress), 1):
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

    def _line(self, past: Past, pseudonyms: Pseudonyms, line: Lived, until: float) -> str:
        """Live through a line; what is counted of it."""
        if written(line) >= until:
            return "later"
        if isinstance(line, OutcomeRecord):
            return "outcomes" if past.outcome(line) else "outcomes_of_nothing"
        layers = pseudonyms.layers
        if isinstance(line, SecurityEventRecord):
            age = pseudonyms.age(line.tenant, line.domain, "domain", "", line.keyed)
            if age is None:
                return "other_pepper"
            past.event(line, layered(bytes.fromhex(line.subject), layers[age:]))
            return "events"
        facts = line.facts
        age = pseudonyms.age(line.tenant, line.domain, "network", facts.network, facts.values.get("network", ""))
        if age is None:
            return "other_pepper"
        paper = pseudonyms.papers(line.id)[len(layers) - age]
        past.attempt(lifted(line, layers[age:]), paper)
        return "attempts"

    def _merge(self, staging: LmdbStore, staged: _Staged, known: Rebuilt | None) -> None:
        gone = self._erase(staged, staging, *([self._store] if known else []))
        self._counts["erased"] = len(gone)
        so_far = known or Rebuilt(until=staged.until, origin=staged.origin)
        total, done, looked = staging.size()[0], so_far.records, time.monotonic()

        def told(more: int) -> None:
            nonlocal done, gone, looked
            done += more
            self._report(RECORDS, done, total)
            if time.monotonic() < looked + LOOK:
                return
            if self._erased(staged) - gone:
                gone = self._erase(staged, staging, self._store)
            looked = time.monotonic()

        so_far = merge(staging, self._store, so_far, time.time(), told)
        time.sleep(SETTLE)
        if self._erased(staged) - gone:
            self._erase(staged, self._store)
        conclude(self._store, so_far)

    def _erased(self, staged: _Staged) -> set[str]:
        """Places of subjects that were erased since this began."""
        try:
            return {entry.place for entry in self._archive.erased() if entry.asked >= staged.began - SETTLE}
        except OSError as error:
            raise InvalidFile([Problem("log.dir", f"cannot be read: {error}", "let riskd read it")]) from error

    def _erase(self, staged: _Staged, *stores: HistoryStore) -> set[str]:
        """Leave out whoever was erased since this began."""
        places = self._erased(staged)
        for store in stores:
            for place in places:
                empty(store, bytes.fromhex(place))
        return places

    def _forget(self, staged: _Staged) -> None:
        if staged.remembers and not (Path(self._settings.log.dir) / DATASET).exists():
            self._archive.remember_no_more()


def _opened(path: Path, size: int) -> tuple[LmdbStore | None, _Staged | None]:
    """The store of its own that is there, and what it says of itself. A damaged one is none."""
    try:
        staging = LmdbStore(path, size)
    except DamagedStore:
        return None, None
    (record,) = staging.load((_KEY,))
    found = document(record, 0.0)
    return staging, None if found is None else msgspec.msgpack.decode(found, type=_Staged)


def _write(staging: LmdbStore, staged: _Staged) -> None:
    (before,) = staging.load((_KEY,))
    staging.replace([Change(_KEY, before, pack(float("inf"), msgspec.msgpack.encode(staged)))])


def _moment(time_: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_))
