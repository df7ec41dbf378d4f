"""The embedded store: one LMDB file, the turn to write it, and what may be wrong with it."""

from __future__ import annotations

from riskd.adapters.lmdb_store.rescue import open_or_begin
from riskd.adapters.lmdb_store.store import LmdbStore

__all__ = ["LmdbStore", "open_or_begin"]
