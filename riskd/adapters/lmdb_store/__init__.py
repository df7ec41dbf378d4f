"""The embedded store: one LMDB file, the turn to write it, and what may be wrong with it."""

from __future__ import annotations

from riskd.adapters.lmdb_store.rescue import NOTE, beside, due_until, open_or_begin, settle
from riskd.adapters.lmdb_store.store import LmdbStore

__all__ = ["NOTE", "LmdbStore", "beside", "due_until", "open_or_begin", "settle"]
