"""Serves a subject's rights: a summary, an export and the erasure of everything that is kept of one subject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Final

import msgspec
from msgspec import Struct

from riskd.core import receipts
from riskd.core.dossier import Summary, described, summary, without_share
from riskd.core.errors import UNDECODABLE, InvalidSubject, Problem, Unavailable
from riskd.core.pseudonym import Pseudonyms
from riskd.core.recall import ACTIVITY, ASIDE, KINDS, PROFILE, RECEIPT, REPLY, SHARE
from riskd.core.stored import PLACE, expired, expiry, history, payload
from riskd.core.validation import subject_violations
from riskd.engine import Engine
from riskd.ports import HistoryStore, LogArchive, Parts
from riskd.transfer import transfer

PAGE: Final = 500
"""Most records in a page of an export."""
RECORDS: Final = 100_000
"""Most records listed of one subject. At one attempt a minute a subject reaches this after 70 days."""
_STORE, _LOG = b"s", b"l"
_PATIENCE: Final = 60.0
_ALWAYS: Final = float("-inf")
"""A time at which nothing has expired, so that expired records not yet swept are erased, too."""


class Subject(Struct, frozen=True):
    """Names a subject. `subject` is the raw identifier that attempts carry; it is not stored."""

    tenant: str
    domain: str
    subject: str


class Exported(Struct, frozen=True):
    """One record of an export. `content` is one JSON object; `key` is in hex, '' for records of the decision log.

    `expires` is in epoch seconds, 0 for records of the decision log.
    """

    kind: str
    key: str
    expires: float
    content: bytes


class Page(Struct, frozen=True):
    """A page of an export. `token` requests the next page; b'' on the last one."""

    records: tuple[Exported, ...]
    token: bytes


class Erased(Struct, frozen=True):
    """How many records of each kind were erased, and by when (epoch seconds) the decision log will be cleared, too."""

    records: dict[str, int]
    log_by: float


class Subjects:
    """Reads and erases what an engine keeps of a subject. Thread-safe."""

    def __init__(self, engine: Engine, archive: LogArchive, layers: Callable[[], int]) -> None:
        """`layers` says how many layers pseudonyms have by now, while the engine may not have heard of the last one.
        It may raise Unavailable."""
        self._engine = engine
        self._archive = archive
        self._layers = layers

    def summary(self, subject: Subject) -> Summary:
        """A summary for support staff. Raises InvalidSubject, Unavailable."""
        with self._known(subject) as (parts, pseudonym, now):
            profile, activity = parts.store.load((pseudonym + PROFILE, pseudonym + ACTIVITY))
            found = [key for key in parts.store.held(pseudonym[:PLACE], now, RECORDS) if key[-1:] == RECEIPT]
            opened = [
                (
                    parts.pseudonyms.assessment_of(key[:-1]),
                    receipts.decode(payload(record), key[:PLACE], parts.pseudonyms)[0],
                    expiry(record),
                )
                for key, record in zip(found, parts.store.load(found), strict=True)
                if record is not None
            ]
            return summary(history(profile, now), history(activity, now), opened, now)

    def export(self, subject: Subject, size: int, token: bytes) -> Page:
        """A page of up to `size` records: first those of the store, then those of the decision log.

        A page may be short, or even empty, without being the last. Raises InvalidSubject, Unavailable.
        """
        with self._known(subject) as (parts, pseudonym, now):
            size = min(size, PAGE) if size > 0 else PAGE
            place, cursor = token[:1] or _STORE, token[1:]
            if place == _STORE:
                rest = [key for key in parts.store.held(pseudonym[:PLACE], now, RECORDS) if key > cursor]
                keys = rest[:size]
                token = _STORE + keys[-1] if len(rest) > size else _LOG
                return Page(tuple(_exported(parts, keys, now)), token)
            if place != _LOG:
                raise _bad_token()
            try:
                lines, cursor = self._archive.find(_pseudonyms(parts, subject), cursor, size)
            except UNDECODABLE:
                raise _bad_token() from None
            records = tuple(Exported("decision_log", "", 0.0, line) for line in lines)
            return Page(records, _LOG + cursor if cursor else b"")

    def erase(self, subject: Subject, timeout: float) -> Erased:
        """Erase everything that is kept of a subject.

        1. Erase its place in the store, receipts first: later outcomes then find no receipt, and teach nothing.
        2. Erase it again, for what outcomes in flight taught before their receipts were erased.
        3. Schedule the erasure of its existing records in the decision log.

        Raises InvalidSubject, or Unavailable if it could not finish in time, or if the pepper was rotated meanwhile;
        then call it again to go on.
        """
        with self._known(subject) as (parts, pseudonym, _):
            deadline, gone = perf_counter() + timeout, Counter[str]()
            for _ in range(2):  # (1), (2)
                _empty(parts.store, pseudonym[:PLACE], gone, deadline)
            return Erased(dict(gone), self._archive.forget(_pseudonyms(parts, subject)))  # (3)

    @contextmanager
    def _known(self, subject: Subject) -> Iterator[tuple[Parts, bytes, float]]:
        """The engine's parts, the subject's pseudonym by them, and the time. Raises InvalidSubject.

        Raises Unavailable at the end if the parts did not know the last pepper: others may have moved records to
        pseudonyms that these parts do not know, and logged lines under them.
        """
        found = subject_violations(subject.tenant, subject.domain, subject.subject)
        if found:
            raise InvalidSubject(found)
        parts = self._engine.parts
        yield parts, _pseudonyms(parts, subject)[-1], parts.clock()
        if self._layers() > len(parts.pseudonyms.layers):
            what, remedy = "its last pepper is new, and not in use here yet", "repeat it in `store.sweep_s` seconds"
            raise Unavailable([Problem("secrets.pepper_file", what, remedy)])


def _pseudonyms(parts: Parts, subject: Subject) -> list[bytes]:
    """Every pseudonym that the log may have for a subject, the latest last: rotations of the pepper do not rewrite its
    lines."""
    return parts.pseudonyms.at_each_layer(subject.tenant, subject.domain, "subject", subject.subject)


def _exported(parts: Parts, keys: list[bytes], now: float) -> list[Exported]:
    """Records as plain data. A device's own records are included if only this subject used the device."""
    found, store, pseudonyms = [], parts.store, parts.pseudonyms
    for key, record in zip(keys, store.load(keys), strict=True):
        if record is None or expired(record, now) or key[-1:] not in KINDS:
            continue
        found.append(_plain(KINDS[key[-1:]], key, record, pseudonyms))
        if key[-1:] == SHARE:
            device = key[PLACE:-1]
            profile, activity = store.load((device + PROFILE, device + ACTIVITY))
            if profile is not None and without_share(profile, record) is None:
                found.append(_plain("device_profile", device + PROFILE, profile, pseudonyms))
                if activity is not None and not expired(activity, now):
                    found.append(_plain("device_activity", device + ACTIVITY, activity, pseudonyms))
    return found


def _plain(kind: str, key: bytes, record: bytes, pseudonyms: Pseudonyms) -> Exported:
    return Exported(kind, key.hex(), expiry(record), msgspec.json.encode(described(key, record, pseudonyms)))


def empty(store: HistoryStore, place: bytes, gone: Counter[str] | None = None) -> None:
    """Erase all records of a place; of a subject's, also its shares in the records of its devices.

    `gone`: counts the erased records by kind. Raises Unavailable.
    """
    _empty(store, place, Counter() if gone is None else gone, perf_counter() + _PATIENCE)


def _empty(store: HistoryStore, place: bytes, gone: Counter[str], deadline: float) -> None:
    """`empty`, with the erased records counted by kind in `gone`. Raises Unavailable after `deadline`."""
    while keys := store.held(place, _ALWAYS, PAGE):
        documents = [key for key in keys if key[-1:] in (RECEIPT, REPLY)]
        shares = {key.removesuffix(ASIDE) for key in keys if key.removesuffix(ASIDE)[-1:] == SHARE}
        _erase(store, documents, gone)
        for key in sorted(shares):
            _take_back(store, key, gone)
        _erase(store, [key for key in keys if key not in documents and key.removesuffix(ASIDE) not in shares], gone)
        if len(keys) < PAGE:
            return
        if perf_counter() > deadline:
            what, remedy = "the erasure is not complete", "repeat the request: what was erased stays erased"
            raise Unavailable([Problem("store", what, remedy)])


def _erase(store: HistoryStore, keys: list[bytes], gone: Counter[str]) -> None:
    for key in keys:
        erased = store.erase((key,))
        if key[-1:] in KINDS:
            gone[KINDS[key[-1:]]] += erased


def _take_back(store: HistoryStore, key: bytes, gone: Counter[str]) -> None:
    """Subtract a subject's share from its device's record and delete the share.

    If nobody else used the device, its profile and activity are deleted.
    """
    device, deleted = key[PLACE:-1], (False, False)

    def subtract(share: bytes, there: Sequence[bytes | None]) -> list[bytes | None]:
        nonlocal deleted
        profile, activity = there
        left = without_share(profile, share) if profile is not None else None
        deleted = (profile is not None and left is None, activity is not None and left is None)
        return [left, None if left is None else activity]

    if taken := transfer(store, key, (device + PROFILE, device + ACTIVITY), subtract):
        gone["share"] += taken
        gone["device_profile"] += deleted[0]
        gone["device_activity"] += deleted[1]


def _bad_token() -> InvalidSubject:
    return InvalidSubject([Problem("page_token", "is not a token of an export", "send the last one unchanged")])
