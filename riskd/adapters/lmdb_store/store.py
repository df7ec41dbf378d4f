"""The embedded history store: an LMDB file, shared by the threads and processes of one machine."""

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

from riskd.adapters.lmdb_store.file import (
    DATA,
    check_length,
    check_mounted,
    check_since_boot,
    cut_off,
    problem,
    refused,
    stuck,
)
from riskd.adapters.lmdb_store.layout import Transaction, apply, begins, inside, outside
from riskd.adapters.lmdb_store.turn import PATIENCE_S, TURN, Turn
from riskd.core import stored
from riskd.core.errors import InvalidStore, Problem, Unavailable
from riskd.core.history import Delta, History
from riskd.core.stored import Change, Swap
from riskd.host.background import start_thread, surviving

MAP_SIZE: Final = 16 << 30
"""Default size in bytes up to which the file may grow. Space is allocated only when it is used."""
MAX_READERS: Final = 512
"""Slots for concurrent reads of all processes. Each reading thread takes one."""
_FORMAT_KEY: Final = b"\0format"
_FORMAT: Final = b"riskd %d" % stored.FORMAT
"""Marks the file as riskd's. The key is shorter than that of any record."""
_FIRST: Final = b"\0"
"""Sorts before every key."""
_AFTER_FORMAT: Final = b"\1"
"""Sorts after the format's key and before every record's, whose kinds are letters."""
_SPARE: Final = 4 << 20
"""Bytes by which a full file may grow in order to delete, because copy-on-write needs space for that, too."""
_DELETIONS: Final = 64
"""Most deletions in one turn."""
_TRIES: Final = (True, True, False)
"""The tries of a transaction, and whether each may be followed by another."""
_LOOK_S: Final = 1.0
"""Seconds between two checks, in a full store, whether another process has enlarged it."""

_Result = TypeVar("_Result")


class LmdbStore:
    """A `HistoryStore` in a directory of its own. Each process must open it after it was forked.

    **Durability.** A commit passes its pages to the operating system without waiting for the disk, so it survives the
    death of the process. A thread of the store syncs the file every `sync_seconds`. A crash of the machine can lose
    what was written since then, and in the worst case damage the file, because the disk may write pages in any order.
    So the first process that opens it after a boot checks all of it (about 70 MB a second) and refuses a damaged file.
    Keep a copy (`python -m lmdb copy`) if histories must survive that, too.

    **Waiting.** Reads never wait for writers. Writers take turns. A turn is one small transaction of tens of
    microseconds; if a writer dies during it, nothing is half written and the next writer goes on. The wait for a turn
    ends after `timeout`, even if its holder was stopped (SIGSTOP, a debugger). A call into a disk that does not answer
    cannot be interrupted. A frozen file system blocks even readers, which write to a lock file, and so the process.

    **Replacement.** If the directory is deleted or replaced, the store notices within `sync_seconds` of a write. It
    then opens what is there, or a new store; writes in between are lost with the old one. If the file system was
    unmounted, it waits for it instead of starting a new store in the mount point. After a disk error during a commit,
    with which LMDB gives up, the store is reopened, too.
    """

    def __init__(
        self, path: Path, map_size: int = MAP_SIZE, *, max_readers: int = MAX_READERS, sync_seconds: float = 1.0
    ) -> None:
        """Open the store, or create it with access for this user only. Raises InvalidStore, DamagedStore.

        `map_size`: bytes to which the file may grow; the largest value of all processes counts.
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
        self.swept = b""
        self._look_at = 0.0
        self._open()

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History], list[bytes | None]]:
        """See `HistoryStore`."""

        def fetch(transaction: Transaction) -> tuple[list[History], list[bytes | None]]:
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
            apply(transaction, (changed or {}).items())
            return changed is not None

        turn = self._turn
        if timeout <= 0 or not turn.take(timeout):
            raise self._late()
        try:
            self._unless_refused()
            if changed := self._run(change, write=True):
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
                near = takewhile(partial(begins, first), cursor.iternext() if cursor.set_range(first) else ())
                found += [outside(key) for key, record in near if not stored.expired(record, now)]
                kind = bytes((kind[0] + 1,))
            return sorted(found)[:limit]

        return self._run(find)

    def erase(self, keys: Sequence[bytes]) -> int:
        """See `HistoryStore`. Works in a full store, too."""
        return sum(self._delete([inside(key) for key in keys], lambda _: True))

    def walk(self, cursor: bytes, limit: int) -> tuple[list[bytes], bytes]:
        """See `HistoryStore`. The order is by kind, then by key."""

        def find(transaction: Transaction) -> list[bytes]:
            at = transaction.cursor()
            rest = at.iternext(values=False) if at.set_range(cursor + _FIRST) else iter(())
            return list(islice((key for key in rest if key != _FORMAT_KEY), limit))

        found = self._run(find)
        return [outside(key) for key in found], found[-1] if len(found) == limit else b""

    def load(self, keys: Sequence[bytes], timeout: float = PATIENCE_S) -> list[bytes | None]:
        """See `HistoryStore`."""
        return self._run(lambda transaction: [transaction.get(inside(key)) for key in keys])

    def replace(self, changes: Sequence[Change], timeout: float = PATIENCE_S) -> bool:
        """See `HistoryStore`. Works on a full store, too."""

        def change(transaction: Transaction) -> bool:
            if any(transaction.get(inside(one.key)) != one.expected for one in changes):
                return False
            apply(transaction, [(one.key, one.record) for one in changes])
            return True

        with self._patiently(timeout):
            self._unless_refused()
            if done := self._run(change, write=True, spare=_SPARE):
                self._written()
            return done

    def atomic(self) -> bool:
        """See `HistoryStore`."""
        return True

    def sweep(self, now: float, limit: int) -> int:
        """See `HistoryStore`. Also frees the slots of dead readers. Works in a full store, too."""

        def find(transaction: Transaction) -> list[bytes]:
            cursor = transaction.cursor()
            rest = cursor.iternext() if cursor.set_range(self.swept) else iter(())
            found = list(islice(rest, limit))
            self.swept = next((key for key, _ in rest), b"")  # in any case: a damaged record may follow
            return [key for key, record in found if key != _FORMAT_KEY and stored.expired(record, now)]

        with suppress(lmdb.Error):
            self._env.reader_check()
        return sum(self._delete(self._run(find), lambda record: stored.expired(record, now)))

    def size(self) -> tuple[int, int]:
        """See `HistoryStore`. The bytes include pages that are free for reuse."""
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
        self._unless_refused()

    def _open(self) -> None:
        """Check and open the store at the path, in place of the one that was open. Raises InvalidStore."""
        path = self._path
        with ExitStack() as opened:
            try:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                check_since_boot(path)
                turn = Turn(path / TURN)
                # meminit stays on: without it, parts of this process's memory would be written to the file.
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
            except (lmdb.Error, OSError) as error:
                raise refused(path, error) from error
            self._env, self._turn, self._file = env, turn, (found.st_dev, found.st_ino)
            self._check_format()
            opened.pop_all()

    def _check_format(self) -> None:
        """Mark a new file with riskd's format. Raises InvalidStore if another program or version wrote the file."""

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
            what = "is another program's LMDB file" if found is None else f"has the format {found!r}, not {_FORMAT!r}"
            remedy = "choose another directory, or run the version that wrote it"
            raise InvalidStore([Problem(str(self._path), what, remedy)])

    def _delete(self, keys: Sequence[bytes], condition: Callable[[bytes], bool]) -> list[bool]:
        """Delete the records for which the condition still holds, in several turns, so that other writers get one."""
        deleted: list[bool] = []

        def drop(transaction: Transaction) -> list[bool]:
            return [
                (record := transaction.get(key)) is not None and condition(record) and transaction.delete(key)
                for key in batch
            ]

        for start in range(0, len(keys), _DELETIONS):
            batch = keys[start : start + _DELETIONS]
            with self._patiently():
                self._unless_refused()
                deleted += self._run(drop, write=True, spare=_SPARE)
                self._written()
        return deleted

    @contextmanager
    def _patiently(self, seconds: float = PATIENCE_S) -> Iterator[None]:
        """Take the turn to write, for work for which no caller waits. Raises Unavailable."""
        turn = self._turn
        if seconds <= 0 or not turn.take(seconds):
            raise Unavailable([stuck(self._path, seconds)])
        try:
            yield
        finally:
            turn.give()

    def _run(self, work: Callable[[Transaction], _Result], *, write: bool = False, spare: int = 0) -> _Result:
        """Run `work` in a transaction, and again if the error could be fixed. Raises Unavailable.

        `spare`: bytes by which a full file may grow for it.
        """
        for again in _TRIES:
            try:
                with self._env.begin(write=write) as transaction:
                    return work(transaction)
            except (lmdb.Error, OSError, msgspec.DecodeError, struct.error) as error:
                if not (again and self._fixed(error, spare)):
                    self._broken = self._broken or isinstance(error, lmdb.PanicError)
                    raise Unavailable([problem(self._path, error)]) from error
        raise AssertionError("the last try returns or raises")

    def _fixed(self, error: Exception, spare: int) -> bool:
        """Whether to try again, after the file was remapped or the slots of dead readers were freed."""
        with suppress(lmdb.Error):
            if isinstance(error, lmdb.ReadersFullError):
                return self._env.reader_check() > 0
            if isinstance(error, lmdb.MapFullError):
                return self._enlarged() or (spare > 0 and self._remap(spare))
            if isinstance(error, lmdb.MapResizedError):
                self._remap(0)
            if cut_off(error) and self._mapping.acquire():
                self._mapping.release()
        return cut_off(error) or isinstance(error, lmdb.MapResizedError)

    def _enlarged(self) -> bool:
        """Whether another process has enlarged the file. Checked rarely, because it interrupts all reads, and only if
        no thread holds the mapping, so that callers do not wait for the disk."""
        if monotonic() < self._look_at or not self._mapping.acquire(blocking=False):
            return False
        try:
            self._look_at = monotonic() + _LOOK_S
            return self._remap(0)
        finally:
            self._mapping.release()

    def _remap(self, spare: int) -> bool:
        """Enlarge the map by `spare` bytes, or take over the size that another process set (0). True if it grew."""
        with self._mapping:
            before: int = self._env.info()["map_size"]
            self._env.set_mapsize(before + spare if spare else 0)
            after: int = self._env.info()["map_size"]
            return after > before

    def _written(self) -> None:
        self._dirty, self._syncer = True, self._syncer or start_thread(self._keep_durable, "riskd-lmdb-sync")

    def _keep_durable(self) -> None:
        while not self._closing.wait(self._sync_seconds):
            with surviving("lmdb-sync"):
                self._sync()

    def _sync(self) -> None:
        """Sync what was written to the disk. Reopen the store if the file at the path is another one, or is broken."""
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
        try:
            found = (self._path / DATA).stat()
        except OSError as error:  # without permission to see it, the file that is open stays in use
            return isinstance(error, FileNotFoundError | NotADirectoryError)
        return (found.st_dev, found.st_ino) != self._file

    def _reopen(self) -> None:
        """Open what is at the path now. Until that succeeds, nothing is written."""
        env, turn, file = self._env, self._turn, self._file
        if self._broken:
            env.close()
        try:
            check_mounted(self._path, device=file[0])
            self._open()
        except InvalidStore as error:
            self._env, self._turn, self._file, self._fault = env, turn, file, Unavailable(error.problems)
            return
        self._dirty, self._broken, self._fault = False, False, None
        env.close()

    def _unless_refused(self) -> None:
        """Raises Unavailable while the disk refuses what was written before, or another's directory is in its place."""
        if self._fault is not None:
            raise Unavailable(self._fault.problems)

    def _late(self) -> Unavailable:
        return Unavailable([Problem(str(self._path), "no answer in time", "allow the call more time")])
