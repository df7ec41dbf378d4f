"""Parses `store.url`, the addresses of the servers of a networked history store."""

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
    """A parsed URL. `nodes`: hosts and ports. `path`: of a Unix socket, which has no nodes."""

    nodes: tuple[tuple[str, int], ...] = ()
    path: str = ""
    tls: bool = False
    username: str = ""
    database: int = 0


def url_problems(url: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a URL, and the remedies. They do not quote it, because it may contain a password."""
    parts = _parts(url)
    if parts is None:
        yield "is not a URL", _FORMS
        return
    scheme, authority, path, rest = parts
    if scheme not in SCHEMES:
        yield f"has a scheme other than {', '.join(SCHEMES)}", _FORMS
        return
    user, at, hosts = authority.rpartition("@")
    if ":" in user:
        remedy = "move it to secrets.store_password_file or RISKD_STORE_PASSWORD, because settings are printed"
        yield "contains a password", remedy
    if rest:
        yield "has a query or a fragment", "remove it, and use the settings of [store]"
    if scheme == "unix":
        if hosts or not path.strip("/"):
            yield "must be a path for a Unix socket", "write unix:///run/redis/redis.sock"
        return
    if not re.fullmatch(r"(/\d{0,4})?", path):
        yield "may have only the number of a database after the hosts", "write redis://host:6379/0"
    if at and not user:
        yield "has no user before the @", "name the user, or leave the @ out"
    nodes = _nodes(hosts)
    if nodes is None:
        yield "has no hosts, or hosts that cannot be read", _FORMS
    elif len(nodes) > 1 and path.strip("/0"):
        yield "selects a database, but a cluster has only database 0", "leave the number out"


def read_url(url: str) -> StoreUrl:
    """Parse a URL that has no `url_problems`."""
    scheme, authority, path, _ = _parts(url) or ("", "", "", "")
    user, _, hosts = authority.rpartition("@")
    if scheme == "unix":
        return StoreUrl(path=unquote(path), username=unquote(user))
    database = int(path.strip("/") or 0)
    return StoreUrl(nodes=_nodes(hosts) or (), tls=scheme == "rediss", username=unquote(user), database=database)


def _parts(url: str) -> tuple[str, str, str, str] | None:
    """Scheme, authority, path, and query with fragment (RFC 3986, appendix B); None if it is not a URL. `urlsplit` is
    not used, because versions of Python differ in which lists of hosts they accept."""
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
