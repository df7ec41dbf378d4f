"""Opens a connection: authenticates, loads the scripts, and checks that the server can serve."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from time import monotonic
from typing import Final

import hiredis
from msgspec import Struct

from riskd.adapters.redis_store.link import Address, Link, Reply
from riskd.adapters.redis_store.script import SCRIPTS
from riskd.core.errors import Problem, Unavailable

LOAD: Final = tuple((b"SCRIPT", b"LOAD", script.text) for script in SCRIPTS)


class Access(Struct, frozen=True, kw_only=True):
    """Credentials. `seconds`: time to open a connection, including the TLS handshake and authentication."""

    username: str = ""
    password: bytes = b""
    database: int = 0
    tls: ssl.SSLContext | None = None
    seconds: float = 1.0

    def __repr__(self) -> str:
        return f"Access(username={self.username!r}, database={self.database})"


def connect(address: Address, access: Access) -> Link:
    """A connection to a server that accepts writes or belongs to a cluster, with the scripts loaded.

    HELLO (Redis 6) authenticates, and returns role and mode. PING fails while a server loads its data. Raises OSError,
    hiredis.HiredisError, or Unavailable with the server's error.
    """
    deadline = monotonic() + access.seconds
    link = Link(address, access.tls, deadline)
    with ExitStack() as failed:
        failed.callback(link.close)
        _greet(link, address, access, deadline)
        failed.pop_all()
    return link


def _greet(link: Link, address: Address, access: Access, deadline: float) -> None:
    hello: tuple[bytes, ...] = (b"HELLO", b"2")
    if access.password:
        hello += (b"AUTH", access.username.encode() or b"default", access.password)
    commands = [(*hello, b"SETNAME", b"riskd"), (b"PING",), *LOAD]
    if access.database:
        commands.append((b"SELECT", str(access.database).encode()))
    replies = link.ask(commands, deadline)
    facts = _pairs(replies[0])
    if facts.get(b"mode") == b"sentinel":
        what, remedy = "is a Sentinel, which has no data", "name the master in store.url; riskd does not ask Sentinels"
        raise Unavailable([Problem(f"redis {address}", what, remedy)])
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise Unavailable([refusal(address, reply)])
    link.clustered = facts.get(b"mode") == b"cluster"
    if not link.clustered and facts.get(b"role") != b"master":
        raise Unavailable([_replica(address)])


def _pairs(reply: Reply) -> dict[object, object]:
    return dict(zip(reply[::2], reply[1::2], strict=False)) if isinstance(reply, list) else {}


def _replica(address: Address) -> Problem:
    what, remedy = "is a replica, which accepts no writes", "name the master in store.url, or promote this replica"
    return Problem(f"redis {address}", what, remedy)


_REMEDIES: Final = {
    "WRONGPASS": "set the password (secrets.store_password_file or RISKD_STORE_PASSWORD) and the user in store.url",
    "NOAUTH": "set the password: secrets.store_password_file or RISKD_STORE_PASSWORD",
    "NOPERM": "give the user of store.url the rights that docs/scaling.md lists",
    "WRONGTYPE": "find out what else writes keys that begin with riskd:",
    "LOADING": "wait until it has loaded its data",
    "READONLY": "wait for the failover, or name the master in store.url",
    "OOM": "give the server more memory; histories must not be evicted (maxmemory-policy noeviction)",
    "MISCONF": "find out why the server cannot save; until then it accepts no writes",
    "NOREPLICAS": "restore its replicas, or lower min-replicas-to-write",
    "CLUSTERDOWN": "wait for the failover, or run `redis-cli --cluster check`",
    "MASTERDOWN": "wait for the failover, or name the master in store.url",
}


def refusal(address: Address, reply: Reply) -> Problem:
    """The problem for an error that the server returned."""
    word = str(reply).partition(" ")[0]
    remedy = _REMEDIES.get(word, "see the server's log")
    if "unknown command" in str(reply):
        remedy = "use Redis 7 or newer, or Valkey"
    return Problem(f"redis {address}", str(reply), remedy)
