"""The history store that the settings name, and the peppers under which its records lie."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from riskd.adapters.caching import CachingStore
from riskd.adapters.lmdb_store import LmdbStore, open_or_begin
from riskd.adapters.memory import MemoryStore
from riskd.adapters.redis_store import Access, Address, RedisStore
from riskd.adapters.rekeying import Mark, RekeyingStore, read_mark, write_mark
from riskd.config import Settings, read_url
from riskd.core.errors import InvalidSettings, Problem, Unavailable
from riskd.core.pseudonym import Layer, Origins, Pseudonyms
from riskd.ports import HistoryStore, Meter

_LOG: Final = logging.getLogger("riskd.stores")


def open_store(settings: Settings, meter: Meter | None = None) -> HistoryStore:
    """The history store that the settings name. Raises InvalidStore, InvalidSettings.

    For a service, which has a `meter`, a damaged one is set aside and another begun: sign-ins of people whose history
    is lost are answered, as those of new ones.
    """
    if settings.store.kind == "memory":
        return MemoryStore()
    if settings.store.kind == "redis":
        return _redis_store(settings)
    path, map_size = Path(settings.store.path), settings.store.map_size_mb * 1_048_576
    if meter is None:
        return LmdbStore(path, map_size)
    store, damage = open_or_begin(path, map_size)
    if damage is not None:
        meter.failed("store_damaged")
        _LOG.critical("store_set_aside", extra={"fields": {"problems": damage.problems}})
    return store


def _redis_store(settings: Settings) -> RedisStore:
    """Raises InvalidSettings for certificates that cannot be used; servers may come later."""
    chosen, url = settings.store, read_url(settings.store.url)
    tls = None
    if url.tls:
        try:
            tls = ssl.create_default_context(cafile=chosen.tls_ca or None)
            if chosen.tls_cert:
                tls.load_cert_chain(chosen.tls_cert, chosen.tls_key)
        except (ssl.SSLError, OSError) as error:
            what = f"certificates that cannot be used: {error}"
            raise InvalidSettings([Problem("store.tls_ca, store.tls_cert", what, "give PEM files")]) from error
    access = Access(
        username=url.username,
        password=settings.secrets.store_password.reveal(),
        database=url.database,
        tls=tls,
        seconds=chosen.connect_timeout_ms / 1000,
    )
    addresses = [Address(host, port) for host, port in url.nodes] or [Address(path=url.path)]
    return RedisStore(addresses, access, chosen.connections)


def keyed(base: HistoryStore, peppers: Sequence[bytes], mark: Mark, meter: Meter) -> tuple[HistoryStore, Pseudonyms]:
    """A store as these peppers name its records, and what names them. While records are moved under the last pepper,
    those that are asked for move first; at other times there is nothing in between.

    Raises InvalidSettings when they are not the peppers that the store was written with.
    """
    layers = list(peppers[1:])
    if mark.checks and mark.checks != checks(peppers)[: len(mark.checks)]:
        what = "not the peppers that the store was written with" if len(layers) >= mark.layers else "lines are missing"
        remedy = "bring back the whole file, all lines in their order: without it no history is found"
        raise InvalidSettings([Problem("secrets.pepper_file", what, remedy)])
    if len(layers) > mark.layers + 1:
        remedy = f"leave {mark.layers + 2} lines, run `riskd pepper rotate`, and add the next one after it"
        raise InvalidSettings([Problem("secrets.pepper_file", "more than one new pepper at a time", remedy)])
    if len(layers) == mark.layers:
        return CachingStore(base, meter), Pseudonyms(peppers[0], layers)
    origins = Origins()
    return CachingStore(RekeyingStore(base, origins, Layer(layers[-1])), meter), Pseudonyms(peppers[0], layers, origins)


def checks(peppers: Sequence[bytes]) -> tuple[str, ...]:
    """What tells peppers apart: the first 32 bits of a pseudonym of nobody under each."""
    return tuple(Pseudonyms(pepper).digest("", "", "pepper", "")[:4].hex() for pepper in peppers)


def first_mark(base: HistoryStore, peppers: Sequence[bytes]) -> Mark:
    """What the store says of its layers. A new store is told of those that there are.

    Of a store that cannot be asked yet the worst is assumed: that its records still move under the last pepper.
    """
    try:
        if len(peppers) > 1 and base.size()[0] == 0:
            write_mark(base, Mark(len(peppers) - 1, checks(peppers)))
        return read_mark(base)
    except Unavailable:
        return Mark(max(len(peppers) - 2, 0))
