"""The rights of a subject: to know what is kept, to have it, and to have it erased. Beside the engine, on its parts."""

from __future__ import annotations

from collections import Counter
from time import perf_counter
from typing import Final

import msgspec
from msgspec import Struct

from riskd.core import receipts
from riskd.core.dossier import Summary, described, summary, without
from riskd.core.errors import UNDECODABLE, InvalidSubject, Problem, Unavailable
from riskd.core.history import EMPTY
from riskd.core.pseudonym import Pseudonyms
from riskd.core.recall import ACTIVITY, KINDS, PROFILE, RECEIPT, REPLY, SHARE
from riskd.core.stored import PLACE, Change, expired, expiry, history, payload
from riskd.core.validation import subject_violations
from riskd.engine import Engine, Parts
from riskd.ports import HistoryStore, LogArchive

PAGE: Final = 500
"""Records in a page of an export, at most."""
RECORDS: Final = 100_000
"""Records of one subject that are listed: a subject that is tried every minute has them after 70 days."""
OPEN: Final = 100
"""Open receipts in a summary."""
TRIES: Final = 100
"""Attempts at changing a device's record that others change at the same moment."""
_STORE, _LOG = b"s", b"l"
_PATIENCE: Final = 60.0
_ALWAYS: Final = float("-inf")
"""A moment at which nothing has expired: what waits for the sweep is erased, too."""


class Subject(Struct, frozen=True):
    """Whose data. `subject` is the raw identifier that attempts carry; it is not kept."""

    tenant: str
    domain: str
    subject: str


class Exported(Struct, frozen=True):
    """One record of an export. `expires`: Unix time at which it will be gone; 0 for those of the decision log.

    `content` is one JSON object.
    """

    kind: str
    key: str
    expires: float
    content: bytes


class Page(Struct, frozen=True):
    """A page of an export, and the token of the next; b'' when this was the last."""

    records: tuple[Exported, ...]
    token: bytes


class Erased(Struct, frozen=True):
    """What is gone now: records by kind; and by when the decision log has nothing of the subject, Unix time."""

    records: dict[str, int]
    log_by: float


class Subjects:
    """Answers for subjects. Safe to share between threads."""

    def __init__(self, engine: Engine, archive: LogArchive) -> None:
        self._engine = engine
        self._archive = archive

    def summary(self, subject: Subject) -> Summary:
        """What support needs to know. Raises InvalidSubject, Unavailable."""
        pseudonym, store, now = self._known(subject)
        keys = store.held(pseudonym[:PLACE], now, RECORDS)
        profile, activity = store.load((pseudonym + PROFILE, pseudonym + ACTIVITY))
        # The digits of a receipt's key say nothing of its time: all are read, the newest are told.
        found = [key for key in keys if key[-1:] == RECEIPT]
        many = self._engine.parts.pseudonyms
        papers = [
            (many.assessment_of(key[:-1]), receipts.decode(payload(paper), key[:PLACE], many)[0], expiry(paper))
            for key, paper in zip(found, store.load(found), strict=True)
            if paper is not None
        ]
        papers.sort(key=lambda paper: -paper[1].lesson.time)
        return summary(history(profile, now) or EMPTY, history(activity, now) or EMPTY, papers[:OPEN], now)

    def export(self, subject: Subject, size: int, token: bytes) -> Page:
        """A page of up to `size` records, first those of the store, then those of the decision log.

        A page may have fewer, or none, although it is not the last. Raises InvalidSubject, Unavailable.
        """
        pseudonym, store, now = self._known(subject)
        size = min(size, PAGE) if size > 0 else PAGE
        place, cursor = token[:1] or _STORE, token[1:]
        if place == _STORE:
            rest = [key for key in store.held(pseudonym[:PLACE], now, RECORDS) if key > cursor]
            keys = rest[:size]
            token = _STORE + keys[-1] if len(rest) > size else _LOG
            return Page(tuple(_exported(self._engine.parts, keys, now)), token)
        if place != _LOG:
            raise _lost()
        try:
            lines, cursor = self._archive.find(self._ages(subject), cursor, size)
        except UNDECODABLE:
            raise _lost() from None
        return Page(tuple(Exported("decision_log", "", 0.0, line) for line in lines), _LOG + cursor if cursor else b"")

    def erase(self, subject: Subject, timeout: float) -> Erased:
        """Erase everything that is kept of a subject. Raises InvalidSubject; Unavailable when it could not be done
        in time. What is erased stays so: ask again.

        1. Its place, receipts first: outcomes that come later find none, and teach nothing.
        2. Once more, for what outcomes under way had taught before their receipts went.
        3. Have its records in the decision log erased that were written until now.
        """
        pseudonym, store, _ = self._known(subject)
        deadline, gone = perf_counter() + timeout, Counter[str]()
        for _ in range(2):  # (1), (2)
            _empty(store, pseudonym[:PLACE], gone, deadline)
        return Erased(dict(gone), self._archive.forget(self._ages(subject)))  # (3)

    def _known(self, subject: Subject) -> tuple[bytes, HistoryStore, float]:
        found = subject_violations(subject.tenant, subject.domain, subject.subject)
        if found:
            raise InvalidSubject(found)
        parts = self._engine.parts
        pseudonym = parts.pseudonyms.digest(subject.tenant, subject.domain, "subject", subject.subject)
        return pseudonym, parts.store, parts.clock()

    def _ages(self, subject: Subject) -> list[bytes]:
        """Every pseudonym that the log may have of a subject: lines keep the one that they were written with."""
        return self._engine.parts.pseudonyms.ages(subject.tenant, subject.domain, "subject", subject.subject)


def _exported(parts: Parts, keys: list[bytes], now: float) -> list[Exported]:
    """Records as plain data. A device's own records come along where they are this subject's alone."""
    found, store, many = [], parts.store, parts.pseudonyms
    for key, record in zip(keys, store.load(keys), strict=True):
        if record is None or expired(record, now):
            continue
        found.append(_plain(KINDS[key[-1:]], key, record, many))
        if key[-1:] == SHARE:
            device = key[PLACE:-1]
            profile, activity = store.load((device + PROFILE, device + ACTIVITY))
            if profile is not None and without(profile, record) is None:
                found.append(_plain("device_profile", device + PROFILE, profile, many))
                if activity is not None and not expired(activity, now):
                    found.append(_plain("device_activity", device + ACTIVITY, activity, many))
    return found


def _plain(kind: str, key: bytes, record: bytes, pseudonyms: Pseudonyms) -> Exported:
    return Exported(kind, key.hex(), expiry(record), msgspec.json.encode(described(key, record, pseudonyms)))


def empty(store: HistoryStore, place: bytes) -> None:
    """Erase all that lies in a place, and its shares where others have theirs. Raises Unavailable."""
    _empty(store, place, Counter(), perf_counter() + _PATIENCE)


def _empty(store: HistoryStore, place: bytes, gone: Counter[str], deadline: float) -> None:
    """Erase all that lies in a place, and its shares where others have theirs."""
    while keys := store.held(place, _ALWAYS, PAGE):
        papers = [key for key in keys if key[-1:] in (RECEIPT, REPLY)]
        shares = [key for key in keys if key[-1:] == SHARE]
        _erase(store, papers, gone)
        for key in shares:
            _take_back(store, key, gone, deadline)
        _erase(store, [key for key in keys if key[-1:] not in (RECEIPT, REPLY, SHARE)], gone)
        if len(keys) < PAGE:
            return
        if perf_counter() > deadline:
            raise _late()


def _erase(store: HistoryStore, keys: list[bytes], gone: Counter[str]) -> None:
    for key in keys:
        gone[KINDS[key[-1:]]] += store.erase((key,))


def _take_back(store: HistoryStore, key: bytes, gone: Counter[str], deadline: float) -> None:
    """Take what a subject taught a device out of the device's record, and the share with it, both or neither.

    A device that only this subject has taught is forgotten, with what was tried on it.
    """
    device = key[PLACE:-1]
    for _ in range(TRIES):
        share, profile, activity = store.load((key, device + PROFILE, device + ACTIVITY))
        if share is None:
            return
        changes = [Change(key, share, None)]
        left = without(profile, share) if profile is not None else None
        if profile is not None:
            changes.append(Change(device + PROFILE, profile, left))
        if left is None and activity is not None:
            changes.append(Change(device + ACTIVITY, activity, None))
        if store.replace(changes):
            gone["share"] += 1
            gone["device_profile"] += profile is not None and left is None
            gone["device_activity"] += left is None and activity is not None
            return
        if perf_counter() > deadline:
            break
    raise _late()


def _lost() -> InvalidSubject:
    return InvalidSubject([Problem("page_token", "not of an export", "send the last one as it came")])


def _late() -> Unavailable:
    return Unavailable([Problem("store", "the erasure is not complete", "ask again: what is erased stays erased")])
