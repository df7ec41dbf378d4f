"""The history store on Redis or Valkey.

`store` implements the port on top of `servers` (one server or a cluster), `server` (a pool of connections to one
server), `link` (a connection), `greeting` (login) and `script` (the Lua scripts).
"""

from __future__ import annotations

from riskd.adapters.redis_store.greeting import Access
from riskd.adapters.redis_store.link import Address
from riskd.adapters.redis_store.store import RedisStore

__all__ = ["Access", "Address", "RedisStore"]
