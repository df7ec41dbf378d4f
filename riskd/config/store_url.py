"""`store.url`: where the servers of a networked history store are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

SCHEMES: Final = ("redis", "rediss", "unix")
PORT: Final = 6379
_FORMS: Final = (
    "write redis://host:6379, rediss://user@host:6379 (TLS), redis://a:6379,b:6379 (nodes of a cluster) or unix:///path"
)


class StoreUrl(Struct, frozen=True, kw_only=True):
    """What an URL says. `nodes` are hosts and ports; of a Unix socket there is the `path` alone."""

    nodes: tuple[tuple[str, int], ...] = ()
    path: str = ""
    tls: bool = False
    username: str = ""
    database: int = 0


def url_problems(url: str) -> Iterator[tuple[str, str]]:
    """What is wrong with an URL, and the remedy. Neither repeats it: there could be a password in it."""
    parts = _parts(url)
    if parts is None:
        yield "it is no URL", _FORMS
        return
    scheme, authority, path, rest = parts
    if scheme not in SCHEMES:
        yield f"its scheme is none of {', '.join(SCHEMES)}", _FORMS
        return
    user, at, hosts = authority.rpartition("@")
    if ":" in user:
        remedy = "put it into secrets.store_password_file or RISKD_STORE_PASSWORD; settings are printed"
        yield "it contains a password", remedy
    if rest:
        yield "it has a query", "there are settings for all that can be chosen"
    if scheme == "unix":
        if hosts or not path.strip("/"):
            yield "a Unix socket is a path", "write unix:///run/redis/redis.sock"
        return
    if not re.fullmatch(r"(/\d{0,4})?", path):
        yield "after the hosts comes at most the number of a database", "write redis://host:6379/0"
    if at and not user:
        yield "there is nothing before the @", "name the user, or leave the @ out"
    nodes = _nodes(hosts)
    if nodes is None:
        yield "it names no hosts, or none that can be read", _FORMS
    elif len(nodes) > 1 and path.strip("/0"):
        yield "a cluster has one database", "leave the number out"


def read_url(url: str) -> StoreUrl:
    """What an URL without `url_problems` says."""
    scheme, authority, path, _ = _parts(url) or ("", "", "", "")
    user, _, hosts = authority.rpartition("@")
    if scheme == "unix":
        return StoreUrl(path=unquote(path), username=unquote(user))
    database = int(path.strip("/") or 0)
    return StoreUrl(nodes=_nodes(hosts) or (), tls=scheme == "rediss", username=unquote(user), database=database)


def _parts(url: str) -> tuple[str, str, str, str] | None:
    """Scheme, authority, path, and the query with the fragment (RFC 3986, appendix B). Not `urlsplit`: versions of
    Python differ in which lists of hosts they take for an address."""
    found = re.fullmatch(r"([a-z]+)://([^/?#\s]*)([^?#]*)(.*)", url)
    return (found[1], found[2], found[3], found[4]) if found else None


def _nodes(hosts: str) -> tuple[tuple[str, int], ...] | None:
    nodes = []
    for one in hosts.split(","):
        found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:,\s]+))(?::(\d{1,5}))?", one.strip())
        if found is None or int(found[3] or PORT) > 65_535:
            return None
        nodes.append((found[1] or found[2], int(found[3] or PORT)))
    return tuple(nodes)
