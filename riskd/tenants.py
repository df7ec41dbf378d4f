"""Erases everything that is kept of a tenant that has left: its histories, and its lines of the decision log.

The keys of a store are hashed, so nothing in it leads from a tenant to its records. The decision log does: its lines
name their tenant, and say whose they are and from where. So what was imported, or is older than the log, is not found,
and ends by itself.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from riskd.adapters.decision_log import head, readable, segments_of, size, size_of
from riskd.config import Settings, obtain_peppers
from riskd.core.errors import InvalidFile, Problem
from riskd.core.history import PROFILE_SECONDS
from riskd.core.logged import keys_of
from riskd.core.pseudonym import Keys, Pseudonyms
from riskd.core.record import AssessmentRecord, OutcomeRecord, Record, SecurityEventRecord, decode
from riskd.core.rekey import layered, relayered
from riskd.core.stored import PLACE
from riskd.ports import HistoryStore
from riskd.progress import Begin
from riskd.rebuild.merge import unless_rebuilt
from riskd.stores import opened, settled_pseudonyms
from riskd.subjects import empty
from riskd.wiring import open_archive

REMEMBERED: Final = 1_000_000
"""How many places that are empty by now are remembered, so that they are not emptied for each of their lines."""


class Erased(Struct, frozen=True, kw_only=True):
    """How many lines the log had of the tenant, and how many records of each kind were erased from the store.

    `unread`: lines whose records could not be found: of another pepper, or of another version of riskd. By `log_by`
    the log is free of the tenant, and by `store_by` the store is, also of what the log did not lead to (epoch seconds).
    """

    lines: int
    records: dict[str, int]
    unread: int
    log_by: float
    store_by: float


def erase(settings: Settings, tenant: str, begin: Begin) -> Erased:
    """Erase a tenant, which must not send anything any more, from the store and from the log beside it.

    The log is the last to be erased, so that an interrupted erasure can be repeated. Raises InvalidSettings,
    InvalidStore, Unavailable, and InvalidFile if the log has nothing of the tenant or cannot be read.
    """
    log, archive = Path(settings.log.dir), open_archive(settings)
    with opened(settings, "erased") as store, readable(log):
        unless_rebuilt(settings, store)
        paths = segments_of(log)
        leaving = _Leaving(store, settled_pseudonyms(store, obtain_peppers(settings)), tenant)
        progress = begin("bytes of the log", size(paths))
        for path in paths:
            for line in archive.lines(path):
                leaving.take(line)
            progress(size_of(path))
        # If a rebuild or a rotation has begun meanwhile, records may be where this did not find them.
        unless_rebuilt(settings, store)
        settled_pseudonyms(store, obtain_peppers(settings))
    if not leaving.lines:
        remedy = "check its name; each machine has a log of its own; or its lines have been erased, or have expired"
        raise InvalidFile([Problem(str(log), f"has no line of tenant '{tenant}'", remedy)])
    return Erased(
        lines=leaving.lines,
        records=dict(leaving.gone),
        unread=leaving.unread,
        log_by=archive.forget_tenant(tenant),
        store_by=time.time() + PROFILE_SECONDS,
    )


class _Leaving:
    """Empties the places to which the lines of a tenant lead."""

    def __init__(self, store: HistoryStore, pseudonyms: Pseudonyms, tenant: str) -> None:
        self.lines = self.unread = 0
        self.gone = Counter[str]()
        self._store = store
        self._pseudonyms = pseudonyms
        self._tenant = tenant
        self._mark = b'"tenant":' + msgspec.json.encode(tenant)
        self._emptied = set[bytes]()

    def take(self, line: bytes) -> None:
        """Empty the places of a line, if it is one of the tenant. Raises Unavailable."""
        named = head(line + b"\n") if self._mark in line else None  # whose line it is to compactions, too
        if named is None or named.tenant != self._tenant:
            return
        self.lines += 1
        try:
            record = decode(line)
        except msgspec.DecodeError:
            self.unread += 1
            return
        for place in self._places(record):
            if place not in self._emptied:
                empty(self._store, place, self.gone)
                if len(self._emptied) >= REMEMBERED:
                    self._emptied.clear()
                self._emptied.add(place)

    def _places(self, record: Record) -> Iterator[bytes]:
        pseudonyms, layers = self._pseudonyms, self._pseudonyms.layers
        if isinstance(record, SecurityEventRecord):
            under = pseudonyms.layers_under(record.tenant, record.domain, "domain", "", record.keyed)
            if under is not None:
                yield layered(bytes.fromhex(record.subject), layers[under:])[:PLACE]
        elif isinstance(record, AssessmentRecord):
            network = record.facts.values.get("network", "")
            under = pseudonyms.layers_under(record.tenant, record.domain, "network", record.facts.network, network)
            if under is not None:
                keys = keys_of(relayered(record, layers[under:]), pseudonyms, tuple(record.attributes))
                yield from _places_of(keys)
        else:
            under, issued = 0, record.assessment_id if isinstance(record, OutcomeRecord) else record.id
            for pseudonym in pseudonyms.receipt_pseudonyms(issued):
                yield pseudonym[:PLACE]
        self.unread += under is None


def _places_of(keys: Keys) -> Iterator[bytes]:
    """The places of all records that an attempt reads and writes."""
    entities = (keys.address, keys.network, keys.device, keys.fingerprint, keys.asn)
    for key in (keys.subject, *entities, keys.domain, *keys.popularity.values(), *keys.counted.values()):
        if key:
            yield key[:PLACE]
