"""The embedded history store: an LMDB file, its write lock, its checks, and the recovery from damage."""

from __future__ import annotations

from riskd.adapters.lmdb_store.file import DATA
from riskd.adapters.lmdb_store.rescue import beside, due_until, note, open_or_begin, settle
from riskd.adapters.lmdb_store.scratch import ScratchStore
from riskd.adapters.lmdb_store.store import LmdbStore

__all__ = ["DATA", "LmdbStore", "ScratchStore", "beside", "due_until", "note", "open_or_begin", "settle"]
