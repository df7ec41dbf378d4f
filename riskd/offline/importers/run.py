"""Imports files: records to events, events to deltas, deltas to the store, in batches that carry their own bookmark.

A batch and the bookmark after it are one transaction, so a killed import goes on where it was and teaches nothing
twice. A file is known by its first record, and checked by a digest of all of them: what was appended since is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Final

from msgspec import Struct

from riskd.core.errors import UNDECODABLE, InvalidFile, Problem, Unavailable
from riskd.core.history import PROFILE_SECONDS, Delta
from riskd.core.recall import IMPORT
from riskd.core.stored import Swap
from riskd.engine import Engine
from riskd.offline.importers.event import Event, Skipped, Source
from riskd.offline.importers.learner import WINDOW, Learner, Scope
from riskd.offline.importers.records import Input, Record, open_input
from riskd.offline.importers.tally import Mark, Tally, decode, encode, linked
from riskd.wording import quantity

BATCH: Final = 64
"""Events a transaction: it holds the store's write lock for some milliseconds, and sign-ins wait behind it."""
STRIDE: Final = 5_000
"""Records after which the bookmark moves on, however few of them were used."""
_PATIENCE: Final = 30.0
_EVERY: Final = 256

Report = Callable[[int, int], None]
"""Called now and then with the bytes and the records read of the file at hand."""


class Options(Struct, frozen=True, kw_only=True):
    """`limit`: records to take in at most (None: all). `dry_run`: change nothing. `anew`: forget the bookmark.

    `batch`: events a transaction.
    """

    limit: int | None = None
    dry_run: bool = False
    anew: bool = False
    batch: int = BATCH


class Summary(Struct, frozen=True, kw_only=True):
    """What became of a file. `resumed_at`: records of earlier runs, which are in the tally too."""

    file: str
    resumed_at: int
    records: int
    seconds: float
    complete: bool
    tally: Tally


class Import:
    """One import of one file. Used once."""

    def __init__(self, engine: Engine, source: Source, scope: Scope, options: Options) -> None:
        self._parts = engine.parts
        self._learner = Learner(engine, scope)
        self._source = source
        self._scope = scope
        self._options = options
        self._tally = Tally()
        self._chain = b""
        self._key = b""
        self._stored: bytes | None = None
        self._committed = 0
        self._deltas: list[Delta] = []
        self._events = 0

    def run(self, file: str, report: Report) -> Summary:
        """Take the file in, from where an earlier run has come to.

        Raises InvalidFile for a file that cannot be opened, or that is not the one that its first record says;
        Unavailable when the store cannot be written. What was committed before stays.
        """
        try:
            with open_input(file) as opened:
                return self._run(opened, report)
        except OSError as error:
            raise InvalidFile([Problem(file, error.strerror or str(error), "name a file that can be read")]) from error

    def _run(self, opened: Input, report: Report) -> Summary:
        started, at, complete = perf_counter(), 0, True
        records = opened.records(lines=self._source.lines)
        first = next(records, None)
        if first is not None:
            self._find(first, opened.name)
        done, marked = self._committed, self._chain
        self._chain = b""
        for record in () if first is None else _again(first, records):
            if self._options.limit is not None and at >= done + self._options.limit:
                complete = False
                break
            if not record.text:
                self._commit(at)
                self._tally = self._tally.damage(record.line, record.fault)
                break
            self._chain = linked(self._chain, record.text)
            if at < done:
                self._pass(record, at)
            else:
                self._take(record, at)
            at += 1
            if at == done and self._chain != marked:
                raise _another(opened.name, f"differs from it within its first {quantity(done, 'record')}")
            if at % _EVERY == 0:
                report(opened.position, at)
        if at < done and complete:
            raise _another(opened.name, f"ends after {quantity(at, 'record')}, where {done} were imported")
        self._commit(at)
        report(opened.position, at)
        return Summary(
            file=opened.name,
            resumed_at=done,
            records=at - done,
            seconds=perf_counter() - started,
            complete=complete,
            tally=self._tally,
        )

    def _find(self, first: Record, file: str) -> None:
        """The bookmark of the file that begins like this, if there is one. Raises InvalidFile for a damaged one."""
        scope = self._scope
        name = f"{self._source.name}:{scope.subject}:{scope.shift}:{linked(b'', first.text).hex()}"
        self._key = self._parts.pseudonyms.digest(scope.tenant, scope.domain, "import", name) + IMPORT
        now = self._parts.clock()
        _, (self._stored,) = self._parts.store.read((), (self._key,), now, _PATIENCE)
        if self._stored is not None and not self._options.anew:
            try:
                mark = decode(self._stored)
            except UNDECODABLE as error:
                remedy = "give --anew to take all of the file; what was imported of it is then taught twice"
                raise InvalidFile([Problem(file, f"its bookmark in the store is damaged: {error}", remedy)]) from error
            self._committed, self._chain, self._tally = mark.records, mark.chain, mark.tally

    def _pass(self, record: Record, at: int) -> None:
        """A record of an earlier run. Only the sign-ins that were under way at its end matter still."""
        if record.row is not None and at >= self._committed - WINDOW:
            event = self._source.read(record.row, self._scope.subject)
            if not isinstance(event, Skipped) and event.sign_in:
                self._learner.deltas(event, at, self._parts.clock())

    def _take(self, record: Record, at: int) -> None:
        """A new record."""
        if record.row is None:
            self._tally = self._tally.damage(record.line, record.fault)
        else:
            event = self._source.read(record.row, self._scope.subject)
            found = event if isinstance(event, Skipped) else self._learner.deltas(event, at, self._parts.clock())
            if isinstance(found, Skipped):
                self._tally = self._tally.skip(found.reason, record.line, found.detail)
            elif not isinstance(event, Skipped):
                self._tally = self._tally.use(_happened(event))
                self._deltas += found
                self._events += 1
        if self._events >= self._options.batch or at - self._committed >= STRIDE:
            self._commit(at + 1)

    def _commit(self, records: int) -> None:
        """What was learned since the last time, and the bookmark after so many records, in one transaction."""
        deltas, self._deltas, self._events = self._deltas, [], 0
        if self._options.dry_run or records <= self._committed:
            return
        document, now = encode(Mark(records, self._chain, self._tally)), self._parts.clock()
        bookmark = Swap(self._key, self._stored, document, now + PROFILE_SECONDS)
        if not self._parts.store.write(deltas, (bookmark,), now, _PATIENCE):
            what = "another import of the same file is under way"
            raise Unavailable([Problem("import", what, "wait for it, then run this again")])
        self._stored, self._committed = document, records


def _happened(event: Event) -> str:
    return event.outcome or ("failed" if event.credential_result == "failed" else "attempt")


def _again(first: Record, rest: Iterator[Record]) -> Iterator[Record]:
    yield first
    yield from rest


def _another(file: str, what: str) -> InvalidFile:
    remedy = "finish that one, or give --anew to take all of this one; what both hold is then taught twice"
    return InvalidFile([Problem(file, f"begins like a file that was imported, and {what}", remedy)])
