"""A store on disk for histories that only one run of a command needs, such as a replay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import lmdb
import msgspec

from riskd.adapters.lmdb_store.file import problem
from riskd.adapters.lmdb_store.layout import Transaction
from riskd.adapters.lmdb_store.store import LmdbStore
from riskd.core.errors import Unavailable

BATCH: Final = 2_000
"""Reads and writes in one transaction. The pages that they change are in memory until it is committed."""
_MAP_SIZE: Final = 1 << 38
"""Address space, not memory: what the smallest have to spare, and enough for hundreds of millions of receipts."""
_Result = TypeVar("_Result")


class ScratchStore(LmdbStore):
    """An `LmdbStore` in a directory that is deleted afterwards, for a single thread of a single process.

    It shares a transaction among many reads and writes and syncs none, so it is almost as fast as a store in memory,
    and its memory does not grow with its records. `size` is that of what is committed.
    """

    def __init__(self, path: Path) -> None:
        """Raises InvalidStore."""
        self._transaction: Transaction | None = None
        self._uses = 0
        super().__init__(path, _MAP_SIZE)

    def close(self) -> None:
        """Close the file, without what was not committed."""
        if self._transaction is not None:
            self._transaction.abort()
        self._env.close()

    def _run(self, work: Callable[[Transaction], _Result], *, write: bool = False, spare: int = 0) -> _Result:
        """Run `work` in the shared transaction. Raises Unavailable, after which the store is of no use."""
        try:
            transaction = self._transaction = self._transaction or self._env.begin(write=True)
            result = work(transaction)
            self._uses += 1
            if self._uses % BATCH == 0:
                self._transaction = None
                transaction.commit()
        except (lmdb.Error, msgspec.DecodeError) as error:
            raise Unavailable([problem(self._path, error)]) from error
        return result

    def _written(self) -> None:
        """Sync nothing."""
