"""Redis and Valkey: `store` is the port; below it scripts, `servers`, `server` (a pool) and `link` (a connection)."""

from __future__ import annotations

from riskd.adapters.redis_store.greeting import Access
from riskd.adapters.redis_store.link import Address
from riskd.adapters.redis_store.store import RedisStore

__all__ = ["Access", "Address", "RedisStore"]
