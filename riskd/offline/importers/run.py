"""Imports files: records become events, events become deltas, and deltas are written in batches, each with a bookmark.

A batch and its bookmark are one transaction (except in a cluster, which writes the bookmark first), so an interrupted
import continues where it stopped and teaches nothing twice. A file is recognised by its first record and verified by a
digest of all records; what was appended is new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, islice
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
from riskd.offline.importers.tally import Bookmark, Tally, decode, encode, linked
from riskd.wording import quantity

BATCH: Final = 64
"""Events per transaction. It holds the store's write lock for some milliseconds, in which the service's writes wait."""
STRIDE: Final = 5_000
"""The bookmark is written at least every so many records, even if few of them were used."""
_PATIENCE: Final = 30.0
_EVERY: Final = 256

OnProgress = Callable[[int, int], None]
"""Called now and then with the bytes and records read from the current file."""


class Options(Struct, frozen=True, kw_only=True):
    """`limit`: how many records to import at most (None: all). `dry_run`: change nothing.

    `from_start`: ignore the bookmark. `batch`: events per transaction.
    """

    limit: int | None = None
    dry_run: bool = False
    from_start: bool = False
    batch: int = BATCH


class Summary(Struct, frozen=True, kw_only=True):
    """What became of a file. `resumed_at`: how many records earlier runs imported; the tally includes them."""

    file: str
    resumed_at: int
    records: int
    seconds: float
    complete: bool
    tally: Tally


class Import:
    """One import of one file. Not reusable."""

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

    def run(self, file: str, report: OnProgress) -> Summary:
        """Import the file, from where an earlier run stopped.

        Raises InvalidFile for a file that cannot be opened or that differs from the one it begins like, and Unavailable
        if the store cannot be written. What was committed before is kept.
        """
        try:
            with open_input(file) as opened:
                return self._run(opened, report)
        except OSError as error:
            raise InvalidFile([Problem(file, error.strerror or str(error), "name a file that can be read")]) from error

    def _run(self, opened: Input, report: OnProgress) -> Summary:
        started, at, complete = perf_counter(), 0, True
        records = opened.records(lines=self._source.lines)
        first = list(islice(records, 1))
        if first:
            self._find(first[0], opened.name)
        done, marked = self._committed, self._chain
        self._chain = b""
        for record in chain(first, records):
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
        """Load the bookmark of the file that begins with this record, if there is one. Raises InvalidFile if it is
        damaged."""
        scope = self._scope
        name = f"{self._source.name}:{scope.subject}:{scope.shift}:{linked(b'', first.text).hex()}"
        self._key = self._parts.pseudonyms.digest(scope.tenant, scope.domain, "import", name) + IMPORT
        now = self._parts.clock()
        _, (self._stored,) = self._parts.store.read((), (self._key,), now, _PATIENCE)
        if self._stored is not None and not self._options.from_start:
            try:
                bookmark = decode(self._stored)
            except UNDECODABLE as error:
                remedy = "--from-start imports the whole file; what was imported before is then taught twice"
                raise InvalidFile([Problem(file, f"its bookmark in the store is damaged: {error}", remedy)]) from error
            self._committed, self._chain, self._tally = bookmark.records, bookmark.chain, bookmark.tally

    def _pass(self, record: Record, at: int) -> None:
        """Skip a record of an earlier run. Only sign-ins that were in progress at its end still matter."""
        if record.row is not None and at >= self._committed - WINDOW:
            event = self._source.read(record.row, self._scope.subject)
            if not isinstance(event, Skipped) and event.sign_in:
                self._learner.deltas(event, at, self._parts.clock())

    def _take(self, record: Record, at: int) -> None:
        """Handle a new record."""
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
        """Write what was learned since the last commit, and the bookmark after `records` records, in one transaction.

        There is always an earlier bookmark to replace, because a cluster then writes it before what was learned. So an
        import that is interrupted there may lose a part of one batch, but teaches nothing twice.
        """
        deltas, self._deltas, self._events = self._deltas, [], 0
        if self._options.dry_run or records <= self._committed:
            return
        if self._stored is None:
            self._write((), Bookmark(0, b"", Tally()))
        self._write(deltas, Bookmark(records, self._chain, self._tally))
        self._committed = records

    def _write(self, deltas: Sequence[Delta], bookmark: Bookmark) -> None:
        document, now = encode(bookmark), self._parts.clock()
        swap = Swap(self._key, self._stored, document, now + PROFILE_SECONDS)
        if not self._parts.store.write(deltas, (swap,), now, _PATIENCE):
            what = "another process is importing the same file"
            raise Unavailable([Problem("import", what, "wait until it is done, then run this again")])
        self._stored = document


def _happened(event: Event) -> str:
    return event.outcome or ("failed" if event.credential_result == "failed" else "attempt")


def _another(file: str, what: str) -> InvalidFile:
    remedy = "import that file to its end, or import all of this one by --from-start: what both hold is taught twice"
    return InvalidFile([Problem(file, f"begins like a file that was imported before, but {what}", remedy)])
