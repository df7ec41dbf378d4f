"""What is said first on a new connection: who we are, and whether the server can serve."""

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
    """How to be let in. `seconds`: time for one connection to be made, certificates and password included."""

    username: str = ""
    password: bytes = b""
    database: int = 0
    tls: ssl.SSLContext | None = None
    seconds: float = 1.0

    def __repr__(self) -> str:
        return f"Access(username={self.username!r}, database={self.database})"


def connect(address: Address, access: Access) -> Link:
    """A connection to a server that takes writes, or is of a cluster, and knows our scripts.

    HELLO (Redis 6) authenticates and tells role and mode; PING fails while a server loads its data.
    Raises OSError, hiredis.HiredisError, or Unavailable with what the server has against it.
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
    greeting, *others = link.ask(commands, deadline)
    for reply in (greeting, *others):
        if isinstance(reply, hiredis.ReplyError):
            raise Unavailable([refusal(address, reply)])
    told = _pairs(greeting)
    link.clustered = told.get(b"mode") == b"cluster"
    if not link.clustered and told.get(b"role") != b"master":
        raise Unavailable([_replica(address)])


def _pairs(reply: Reply) -> dict[object, object]:
    return dict(zip(reply[::2], reply[1::2], strict=False)) if isinstance(reply, list) else {}


def _replica(address: Address) -> Problem:
    return Problem(f"redis {address}", "it is a replica, which takes no writes", "name the master, or promote this one")


_REMEDIES: Final = {
    "WRONGPASS": "set the password (secrets.store_password_file or RISKD_STORE_PASSWORD) and the user in store.url",
    "NOAUTH": "set the password: secrets.store_password_file or RISKD_STORE_PASSWORD",
    "NOPERM": "give the user of store.url the rights that docs/scaling.md lists",
    "LOADING": "wait until it has loaded its data",
    "READONLY": "wait for the failover, or name the master",
    "OOM": "give the server more memory; histories must not be evicted (maxmemory-policy noeviction)",
    "MISCONF": "see why the server cannot save; until then it takes no writes",
    "NOREPLICAS": "bring its replicas back, or lower min-replicas-to-write",
    "CLUSTERDOWN": "wait for the failover, or see `redis-cli --cluster check`",
    "MASTERDOWN": "wait for the failover, or name the master",
}


def refusal(address: Address, reply: Reply) -> Problem:
    """What an error of the server means."""
    word = str(reply).partition(" ")[0]
    return Problem(f"redis {address}", str(reply), _REMEDIES.get(word, "see the log of the server"))
