"""Checks settings as a whole: against each other, and against the machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from riskd.config.fields import FIELDS
from riskd.config.settings import DERIVED, Settings, Store
from riskd.config.store_url import url_problems
from riskd.core.errors import Problem
from riskd.wording import quantity

SOCKET_BYTES: Final = 107
"""Longest path of a Unix socket (sun_path in unix(7), without the final zero)."""
_PAIR: Final = "set both tls_cert and tls_key, or neither"


def problems_of(settings: Settings, origins: Mapping[str, str], *, here: bool) -> Iterator[Problem]:
    """Everything that is wrong with settings that are valid one by one. `origins`: where each comes from, by key;
    `here`: whether they are settings of this machine."""
    if here:
        yield from _unknown_homes(settings, origins)
    yield from _conflicts(settings)
    if here:
        yield from _long_sockets(settings)
        yield from _unreadable(settings, origins)


def _unknown_homes(settings: Settings, origins: Mapping[str, str]) -> Iterator[Problem]:
    """Paths in an unknown home directory. In containers a user may have none."""
    for field in FIELDS.values():
        path = str(getattr(getattr(settings, field.section), field.name))
        if path.startswith("~") and not (field.default == DERIVED and origins[field.key] == "default"):
            remedy = f"write an absolute path; it comes from: {origins[field.key]}"
            yield Problem(field.key, f"{path} is in a home directory that is not known", remedy)


def _conflicts(settings: Settings) -> Iterator[Problem]:
    server = settings.server
    if settings.store.kind == "memory" and server.workers > 1:
        yield Problem(
            "store.kind", "`memory` is not shared between workers", "set server.workers to 1 or store.kind to lmdb"
        )
    yield from _store_conflicts(settings.store)
    if bool(server.tls_cert) != bool(server.tls_key):
        yield Problem("server.tls_cert", "a certificate needs its key, and a key its certificate", _PAIR)
    if server.tls_client_ca and not server.tls_cert:
        yield Problem("server.tls_client_ca", "clients can only show certificates over TLS", "set tls_cert and tls_key")
    if server.standing_queue_ms > server.queue_ms:
        what = f"{server.standing_queue_ms} ms is longer than server.queue_ms"
        yield Problem("server.standing_queue_ms", what, f"set it to {server.queue_ms} or less")
    if settings.tracing.endpoint and not re.fullmatch(r"https?://[^/\s]+/\S*", settings.tracing.endpoint):
        remedy = "write it with scheme and path, such as http://127.0.0.1:4318/v1/traces"
        yield Problem("tracing.endpoint", f"{settings.tracing.endpoint} is not a URL", remedy)
    yield from _exposed(settings)
    edge = settings.geo.edge
    if edge and not (len(edge) == 2 and abs(edge[0]) <= 90):
        what = f"{', '.join(f'{number:g}' for number in edge)} is not a point"
        yield Problem("geo.edge", what, "write latitude and longitude in degrees")
    if settings.log.keep_mb < 2 * settings.log.segment_mb * server.workers:
        yield Problem(
            "log.keep_mb",
            f"is too small for {quantity(server.workers, 'worker')} with segments of {settings.log.segment_mb} MiB",
            f"set it to {2 * settings.log.segment_mb * server.workers} or more",
        )


def _store_conflicts(store: Store) -> Iterator[Problem]:
    if store.kind != "redis":
        if store.url:
            yield Problem("store.url", f"`{store.kind}` has no servers", "set store.kind to redis, or remove it")
        return
    if not store.url:
        yield Problem("store.url", "is missing for `redis`", "set it, for example to redis://127.0.0.1:6379")
        return
    for what, remedy in url_problems(store.url):
        yield Problem("store.url", what, remedy)
    if bool(store.tls_cert) != bool(store.tls_key):
        yield Problem("store.tls_cert", "a certificate needs its key, and a key its certificate", _PAIR)
    if (store.tls_ca or store.tls_cert) and not store.url.startswith("rediss:"):
        yield Problem("store.url", "does not use TLS, but certificates are set", "write rediss://, or remove them")


def is_loopback(host: str) -> bool:
    """Whether an address can be reached only from this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _exposed(settings: Settings) -> Iterator[Problem]:
    """Ports and sockets that are not secure."""
    server = settings.server
    loopback = is_loopback(server.host)
    if not loopback and not server.tls_cert and not server.insecure:
        yield Problem(
            "server.host",
            f"{server.host} would be served in plaintext, so subjects and tokens could be read on the network",
            "set server.tls_cert and server.tls_key; or server.insecure = true if a service mesh encrypts",
        )
    if (
        settings.subjects.serve == settings.release.serve == "socket"
        and settings.subjects.socket == settings.release.socket
    ):
        yield Problem("release.socket", f"{settings.release.socket} is also subjects.socket", "choose another path")
    authenticated = loopback or server.tls_client_ca or server.callers
    for section, chosen, work in (
        ("subjects", settings.subjects, "export and erase subjects"),
        ("release", settings.release, "activate releases"),
    ):
        if chosen.serve == "port" and not authenticated:
            yield Problem(
                f"{section}.serve",
                f"`port` would let every client that reaches {server.host} {work}",
                "set server.callers or server.tls_client_ca, or serve it on the `socket`",
            )


def _long_sockets(settings: Settings) -> Iterator[Problem]:
    for section, chosen in (("subjects", settings.subjects), ("release", settings.release)):
        if chosen.serve == "socket" and len(os.fsencode(chosen.socket)) > SOCKET_BYTES:
            what, remedy = f"{chosen.socket} is too long for a socket", f"use at most {SOCKET_BYTES} bytes"
            yield Problem(f"{section}.socket", what, remedy)


def _unreadable(settings: Settings, origins: Mapping[str, str]) -> Iterator[Problem]:
    for field in FIELDS.values():
        path = getattr(getattr(settings, field.section), field.name)
        if not path:
            continue
        source = origins[field.key]
        if field.path == "dir" and not Path(path).is_dir():
            yield Problem(field.key, f"{path} is not a directory", f"it comes from: {source}")
        elif field.path == "file" and not (Path(path).is_file() and os.access(path, os.R_OK)):
            yield Problem(field.key, f"{path} is not a file that riskd may read", f"it comes from: {source}")
