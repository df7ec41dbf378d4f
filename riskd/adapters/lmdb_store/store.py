"""The embedded store: one LMDB file, shared by the threads and processes of one machine."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from threading import Event, RLock, Thread
from time import monotonic
from typing import Final, TypeVar

import lmdb
import msgspec
from lmdb.verify import VerifyError

from riskd.adapters.lmdb_store.file import (
    DATA,
    check_length,
    check_mounted,
    check_since_boot,
    cut_off,
    problem,
    refused,
)
from riskd.adapters.lmdb_store.layout import Transaction, apply, begins, inside, outside
from riskd.adapters.lmdb_store.turn import Turn
from riskd.background import begun, surviving
from riskd.core import stored
from riskd.core.errors import InvalidStore, Problem, Unavailable
from riskd.core.history import Delta, History
from riskd.core.stored import Change, Swap

MAP_SIZE: Final = 16 << 30
"""Bytes that the file may grow to, unless told otherwise. Nothing is allocated before it is used."""
MAX_READERS: Final = 512
"""Slots for reads under way, over all processes; one each thread that reads."""
_FORMAT_KEY: Final = b"\0format"
_FORMAT: Final = b"riskd %d" % stored.FORMAT
"""Shorter than a record's key can be."""
_FIRST: Final = b"\0"
"""Sorts before every key."""
_AFTER_FORMAT: Final = b"\1"
"""Sorts after the format's key and before every record's, whose kinds are letters."""
_SPARE: Final = 4 << 20
"""Bytes by which a full file may grow in order to delete: copy-on-write takes room even for that."""
_DELETIONS: Final = 64
"""Deletions under one hold of the write lock."""
_PATIENCE_S: Final = 2.0
"""Longest wait for the turn where no caller waits: to open, to sweep, to erase."""
_TRIES: Final = (True, True, False)
"""Of one transaction: whether another follows."""
_LOOK_S: Final = 1.0
"""Seconds between two looks, in a full store, for room that another process made."""
TURN: Final = "turn"
"""File beside the data whose lock is the turn to write."""

_Result = TypeVar("_Result")


class LmdbStore:
    """A `HistoryStore` in a directory of its own. Each process opens it for itself, after it was forked.

    **Durability.** A commit hands its pages to the operating system and does not wait for the disk: it
    survives the death of this process by any signal. A thread that the store owns makes the file
    durable every `sync_seconds`. The machine's sudden death can cost what was written since, and, as the
    disk may take pages in any order, in the worst case the file. So the first to open it after the machine
    started anew checks all of it (some 70 MB a second) and refuses a damaged one. Keep a copy
    (`python -m lmdb copy`) where histories must outlive even that.

    **Time.** Reads wait for nobody. Writers take turns; a turn is one small transaction, tens of
    microseconds, and a writer that dies in the middle leaves its turn to the next and nothing half-written.
    The wait for the turn ends with `timeout`, whoever has it: another thread, or another process, which may
    have been stopped (SIGSTOP, a debugger). What cannot be cut short is a call into a disk that does not answer. A
    frozen file system stops even readers, which note their snapshot in a file, and with them the whole process.

    **Place.** A directory that is deleted, or replaced by another, is noticed within `sync_seconds` of a write;
    what is there then is opened, or made anew, and what was written in between went with the old one. Where its file
    system went too, the store waits for it instead of beginning anew in the mount point. A store that LMDB has given
    up on, because the disk failed it in the middle of a commit, is opened anew as well.
    """

    def __init__(
        self, path: Path, map_size: int = MAP_SIZE, *, max_readers: int = MAX_READERS, sync_seconds: float = 1.0
    ) -> None:
        """Open, or create with access for this user only. Raises InvalidStore, DamagedStore.

        `map_size`: bytes that the file may take; the largest that a process has asked for counts.
        """
        self._path = path
        self._map_size = map_size
        self._max_readers = max_readers
        self._sync_seconds = sync_seconds
        self._mapping = RLock()
        self._closing = Event()
        self._syncer: Thread | None = None
        self._dirty = False
        self._broken = False
        self._fault: Unavailable | None = None
        self._position = _FIRST
        self._look_at = 0.0
        self._open()

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History | None], list[bytes | None]]:
        """See `HistoryStore`."""

        def fetch(transaction: Transaction) -> tuple[list[History | None], list[bytes | None]]:
            get = transaction.get
            return (
                stored.histories([get(key[-1:] + key[:-1]) for key in histories], now),
                [stored.document(get(key[-1:] + key[:-1]), now) for key in documents],
            )

        if timeout <= 0:
            raise self._late()
        return self._run(fetch)

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        """See `HistoryStore`."""

        def change(transaction: Transaction) -> bool:
            get = transaction.get
            changed = stored.changes(lambda key: get(key[-1:] + key[:-1]), deltas, swaps, now)
            apply(transaction, changed or ())
            return changed is not None

        turn = self._turn
        if timeout <= 0 or not turn.take(timeout):
            raise self._late()
        try:
            if self._fault is not None:
                raise self._fault
            changed = self._run(change, write=True)
            if changed:
                self._written()
            return changed
        finally:
            turn.give()

    def held(self, place: bytes, now: float, limit: int) -> list[bytes]:
        """See `HistoryStore`."""

        def find(transaction: Transaction) -> list[bytes]:
            cursor, found, kind = transaction.cursor(), list[bytes](), _AFTER_FORMAT
            while cursor.set_range(kind):
                kind = cursor.key()[:1]
                first = kind + place
                rest = cursor.iternext() if cursor.set_range(first) else iter(())
                near = takewhile(partial(begins, first), rest)
                found += [outside(key) for key, record in near if not stored.expired(record, now)]
                kind = bytes((kind[0] + 1,))
            return sorted(found)[:limit]

        return self._run(find)

    def erase(self, keys: Sequence[bytes]) -> int:
        """See `HistoryStore`. Works on a full store, too."""
        return sum(self._delete([inside(key) for key in keys], lambda _: True))

    def walk(self, cursor: bytes, limit: int) -> tuple[list[bytes], bytes]:
        """See `HistoryStore`. Kind by kind."""

        def find(transaction: Transaction) -> list[bytes]:
            at = transaction.cursor()
            rest = at.iternext(values=False) if at.set_range(cursor + _FIRST) else iter(())
            return list(islice((key for key in rest if key != _FORMAT_KEY), limit))

        found = self._run(find)
        return [outside(key) for key in found], found[-1] if len(found) == limit else b""

    def load(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `HistoryStore`."""
        return self._run(lambda transaction: [transaction.get(inside(key)) for key in keys])

    def replace(self, changes: Sequence[Change]) -> bool:
        """See `HistoryStore`. Works on a full store, too."""

        def change(transaction: Transaction) -> bool:
            if any(transaction.get(inside(one.key)) != one.expected for one in changes):
                return False
            apply(transaction, [(one.key, one.record) for one in changes])
            return True

        with self._patiently():
            done = self._run(change, write=True, spare=_SPARE)
            if done:
                self._written()
            return done

    def sweep(self, now: float, limit: int) -> int:
        """See `HistoryStore`. Also gives back the slots of readers that died. Works on a full store, too."""

        def find(transaction: Transaction) -> list[bytes]:
            cursor = transaction.cursor()
            rest = cursor.iternext() if cursor.set_range(self._position) else iter(())
            gone = [key for key, record in islice(rest, limit) if key != _FORMAT_KEY and stored.expired(record, now)]
            self._position = next((key for key, _ in rest), _FIRST)
            return gone

        with suppress(lmdb.Error):
            self._env.reader_check()
        return sum(self._delete(self._run(find), lambda record: stored.expired(record, now)))

    def size(self) -> tuple[int, int]:
        """See `HistoryStore`. Bytes: how far the file reaches, pages free for reuse included."""
        try:
            with self._mapping:
                entries, info = self._env.stat(), self._env.info()
        except lmdb.Error as error:
            raise Unavailable([problem(self._path, error)]) from error
        return entries["entries"] - 1, (info["last_pgno"] + 1) * entries["psize"]

    def close(self) -> None:
        """See `HistoryStore`. Raises Unavailable when the disk refuses the last writes."""
        self._closing.set()
        if self._syncer is not None:
            self._syncer.join()
        self._sync()
        self._env.close()
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    def _open(self) -> None:
        """Check, open and recognise what lies at the path; it takes the place of what was open. Raises InvalidStore."""
        path = self._path
        with ExitStack() as opened:
            try:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                check_since_boot(path)
                turn = Turn(path / TURN)
                # meminit stays on: without it, scraps of this process's memory would be written to the file.
                env = lmdb.open(
                    str(path),
                    self._map_size,
                    mode=0o600,
                    sync=False,
                    metasync=False,
                    readahead=False,
                    max_readers=self._max_readers,
                )
                opened.callback(env.close)
                found = (path / DATA).stat()
                check_length(path, env.info()["last_pgno"] + 1, env.stat()["psize"])
            except (lmdb.Error, VerifyError, OSError) as error:
                raise refused(path, error) from error
            self._env, self._turn, self._file = env, turn, (found.st_dev, found.st_ino)
            self._recognise()
            opened.pop_all()

    def _recognise(self) -> None:
        """Refuse what another program or another version wrote; mark what is new as ours."""

        def mark(transaction: Transaction) -> bytes | None:
            if transaction.stat()["entries"] == 0:
                transaction.put(_FORMAT_KEY, _FORMAT)
            return transaction.get(_FORMAT_KEY)

        try:
            with self._patiently():
                found = self._run(mark, write=True, spare=_SPARE)
            self._env.reader_check()
        except Unavailable as error:
            if isinstance(error.__cause__, Exception):
                raise refused(self._path, error.__cause__) from error
            raise InvalidStore(error.problems) from error
        except lmdb.Error as error:
            raise refused(self._path, error) from error
        if found != _FORMAT:
            what = "an LMDB file of another program" if found is None else f"of the format {found!r}, not {_FORMAT!r}"
            raise InvalidStore(
                [Problem(str(self._path), what, "name another directory, or run the version that wrote it")]
            )

    def _delete(self, keys: Sequence[bytes], condition: Callable[[bytes], bool]) -> list[bool]:
        """Delete the records for which the condition still holds, few at a time, so that others get their turn."""
        deleted: list[bool] = []

        def drop(transaction: Transaction) -> list[bool]:
            return [
                (record := transaction.get(key)) is not None and condition(record) and transaction.delete(key)
                for key in batch
            ]

        for start in range(0, len(keys), _DELETIONS):
            batch = keys[start : start + _DELETIONS]
            with self._patiently():
                deleted += self._run(drop, write=True, spare=_SPARE)
                self._written()
        return deleted

    @contextmanager
    def _patiently(self) -> Iterator[None]:
        """A turn to write for work that no caller waits for. Raises Unavailable."""
        turn = self._turn
        if not turn.take(_PATIENCE_S):
            what = f"nobody could write for {_PATIENCE_S:g} s"
            remedy = "look for a process that was stopped (SIGSTOP, a debugger), or a slow disk"
            raise Unavailable([Problem(str(self._path), what, remedy)])
        try:
            yield
        finally:
            turn.give()

    def _run(self, work: Callable[[Transaction], _Result], *, write: bool = False, spare: int = 0) -> _Result:
        """Run `work` in a transaction, again if what was in its way could be mended. Raises Unavailable."""
        for again in _TRIES:
            try:
                with self._env.begin(write=write) as transaction:
                    return work(transaction)
            except (lmdb.Error, OSError, msgspec.DecodeError, struct.error) as error:
                if not (again and self._mended(error, spare)):
                    self._broken = self._broken or isinstance(error, lmdb.PanicError)
                    raise Unavailable([problem(self._path, error)]) from error
        raise AssertionError("the last try returns or raises")

    def _mended(self, error: Exception, spare: int) -> bool:
        """Whether it is worth another try: the file is mapped anew, or dead readers have given back their slots."""
        with suppress(lmdb.Error):
            if isinstance(error, lmdb.ReadersFullError):
                return self._env.reader_check() > 0
            if isinstance(error, lmdb.MapFullError):
                return self._larger() or (spare > 0 and self._remap(spare))
            if isinstance(error, lmdb.MapResizedError):
                self._remap(0)
            if cut_off(error) and self._mapping.acquire():
                self._mapping.release()
        return cut_off(error) or isinstance(error, lmdb.MapResizedError)

    def _larger(self) -> bool:
        """Whether another process made the file larger. Looked for now and then, as it takes the map from all reads,
        and while nobody has the mapping: a caller waits for no disk."""
        if monotonic() < self._look_at or not self._mapping.acquire(blocking=False):
            return False
        try:
            self._look_at = monotonic() + _LOOK_S
            return self._remap(0)
        finally:
            self._mapping.release()

    def _remap(self, spare: int) -> bool:
        """Take over the size that another process gave the file, or grow it; whether it is larger now."""
        with self._mapping:
            before: int = self._env.info()["map_size"]
            self._env.set_mapsize(before + spare if spare else 0)
            after: int = self._env.info()["map_size"]
            return after > before

    def _written(self) -> None:
        self._dirty, self._syncer = True, self._syncer or begun(self._keep_durable, "riskd-lmdb-sync")

    def _keep_durable(self) -> None:
        while not self._closing.wait(self._sync_seconds):
            with surviving("lmdb-sync"):
                self._sync()

    def _sync(self) -> None:
        """Make what was written durable. A file that is no longer the one at the path is let go."""
        if (self._broken or self._gone()) and not self._closing.is_set():
            self._reopen()
            return
        if not self._dirty:
            return
        self._dirty = synced = False
        try:
            with self._mapping:
                self._env.sync(True)
            self._fault, synced = None, True
        except lmdb.Error as error:
            self._fault = Unavailable([problem(self._path, error)])
        finally:
            self._dirty = self._dirty or not synced

    def _gone(self) -> bool:
        with suppress(OSError):
            found = (self._path / DATA).stat()
            return (found.st_dev, found.st_ino) != self._file
        return True

    def _reopen(self) -> None:
        """What lies at the path now, in the place of what was there; until it can be opened, nothing is written."""
        env, turn = self._env, self._turn
        if self._broken:
            env.close()
        try:
            check_mounted(self._path, device=self._file[0])
            self._open()
        except InvalidStore as error:
            self._env, self._turn, self._fault = env, turn, Unavailable(error.problems)
            return
        self._dirty, self._broken, self._fault = False, False, None
        env.close()

    def _late(self) -> Unavailable:
        return Unavailable([Problem(str(self._path), "no answer in time", "allow the call more time")])
