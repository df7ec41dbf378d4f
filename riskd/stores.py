"""Opens the history store that the settings name, and pairs it with the peppers that key its records."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from riskd.adapters.lmdb_store import DATA, LmdbStore, open_or_begin
from riskd.adapters.memory import MemoryStore
from riskd.adapters.redis_store import Access, Address, RedisStore
from riskd.adapters.rekeying import Mark, RekeyingStore, first_keys, read_mark, write_mark
from riskd.config import Settings, read_url
from riskd.core.errors import InvalidSettings, Problem, Unavailable
from riskd.core.pseudonym import Layer, Origins, Pseudonyms
from riskd.ports import HistoryStore, Meter

_LOG: Final = logging.getLogger("riskd.stores")


def open_store(settings: Settings, meter: Meter | None = None) -> HistoryStore:
    """Open the history store that the settings name. Raises InvalidStore, InvalidSettings.

    With a `meter`, which a service passes, a damaged LMDB store is set aside and a new one started: without their
    histories subjects are assessed as new ones, which is better than no answer.
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
        _LOG.critical("store_set_aside: %s", damage, extra={"fields": {"problems": damage.problems}})
    return store


@contextmanager
def opened(settings: Settings, done: str) -> Iterator[HistoryStore]:
    """The store of services that may be running, for a command that changes it. `done`: what happens to its records.

    Raises InvalidSettings if there is none, and InvalidStore.
    """
    if settings.store.kind == "memory":
        what = f"a `memory` store exists only in its service, so nothing can be {done}"
        remedy = "restart the service: it begins with an empty store, and reads the pepper again"
        raise InvalidSettings([Problem("store.kind", what, remedy)])
    with suppress(PermissionError):  # opening it says why
        if settings.store.kind == "lmdb" and not (Path(settings.store.path) / DATA).exists():
            what = f"{settings.store.path} has no store, so nothing can be {done}"
            remedy = "give the settings of the service, or set store.path"
            raise InvalidSettings([Problem("store.path", what, remedy)])
    with closing(open_store(settings)) as store:
        yield store


def _redis_store(settings: Settings) -> RedisStore:
    """Raises InvalidSettings for certificates that cannot be used. The servers need not be reachable yet."""
    chosen, url = settings.store, read_url(settings.store.url)
    tls = None
    if url.tls:
        try:
            tls = ssl.create_default_context(cafile=chosen.tls_ca or None)
            if chosen.tls_cert:
                tls.load_cert_chain(chosen.tls_cert, chosen.tls_key)
        except (ssl.SSLError, OSError) as error:
            what = f"these certificates cannot be used: {error}"
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


def with_peppers(base: HistoryStore, peppers: Sequence[bytes], mark: Mark) -> tuple[HistoryStore, Pseudonyms]:
    """Returns the store to read through, and the pseudonyms that key its records, for these peppers.

    `mark` is the store's own note on its peppers. If it lacks the last pepper, a rotation is under way: the returned
    store then moves each record under that pepper when it is first asked for.

    Raises InvalidSettings if the store was written with other peppers.
    """
    layers = list(peppers[1:])
    if mark.checks and mark.checks != checks(peppers)[: len(mark.checks)]:
        what = "not the peppers that the store was written with" if len(layers) >= mark.layers else "lines are missing"
        remedy = "restore the whole file, all lines in order, to find the histories again; or begin with a new store"
        raise InvalidSettings([Problem("secrets.pepper_file", what, remedy)])
    if len(layers) > mark.layers + 1:
        remedy = f"leave {mark.layers + 2} lines, run `riskd pepper rotate`, and add the next one after it"
        if not mark.checks:
            remedy = f"if the store lost its data, empty it and keep all lines; else {remedy}"
        raise InvalidSettings([Problem("secrets.pepper_file", "more than one new pepper at a time", remedy)])
    if len(layers) == mark.layers:
        return base, Pseudonyms(peppers[0], layers)
    origins = Origins()
    return RekeyingStore(base, origins, Layer(layers[-1])), Pseudonyms(peppers[0], layers, origins)


def settled_pseudonyms(store: HistoryStore, peppers: Sequence[bytes]) -> Pseudonyms:
    """The pseudonyms of a store whose records do not move. Raises Unavailable during a rotation of the pepper, and
    InvalidSettings as `with_peppers`."""
    mark = first_mark(store, peppers)
    with_peppers(store, peppers, mark)
    if len(peppers) - 1 != mark.layers:
        what = "the pepper is being rotated, or was rotated before this store was made"
        remedy = "run `riskd pepper rotate`, or wait for it to end"
        raise Unavailable([Problem("secrets.pepper_file", what, remedy)])
    return Pseudonyms(peppers[0], peppers[1:])


def checks(peppers: Sequence[bytes]) -> tuple[str, ...]:
    """A checksum of each pepper, by which to recognise it: 32 bits, in hex, of the pseudonym of the empty string."""
    return tuple(Pseudonyms(pepper).digest("", "", "pepper", "")[:4].hex() for pepper in peppers)


def first_mark(base: HistoryStore, peppers: Sequence[bytes]) -> Mark:
    """Read the store's note on its peppers. A store without records gets one first, and a `store_begun` event: other
    data on its servers, such as records of another format, do not count.

    If the store cannot be reached yet, assume that a rotation to the last pepper is under way, which is always safe.
    """
    try:
        mark = read_mark(base)
        if not mark.checks and not first_keys(base):
            write_mark(base, Mark(len(peppers) - 1, checks(peppers)))
            _LOG.info("store_begun")
            mark = read_mark(base)
        return mark
    except Unavailable:
        return Mark(max(len(peppers) - 2, 0))
