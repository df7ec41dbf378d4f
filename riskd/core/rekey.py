"""One more layer over everything that is stored: the keys of records, and the pseudonyms inside them."""

from __future__ import annotations

from typing import Final

from msgspec.structs import force_setattr, replace

from riskd.core import learn
from riskd.core.history import SKETCH, TABLES, Delta, decode, encode, fold
from riskd.core.learn import Receipt
from riskd.core.pseudonym import Layer
from riskd.core.recall import ACTIVITY, COMMON, IMPORT, PROFILE, RECEIPT, REPLY, SHARE
from riskd.core.stored import PLACE, expiry, pack, payload

SHORT: Final = ("address", "network", "agent", "device", "fingerprint", "issuer")
"""Tables whose values are short pseudonyms."""
WHOLE: Final = (PROFILE, ACTIVITY, COMMON, IMPORT)
"""Records whose key is one pseudonym; that of others is a place and a pseudonym."""
PAPERS: Final = (RECEIPT, REPLY, IMPORT)
"""Records that follow when the histories that they name have moved."""
MARK: Final = bytes(PLACE) + b"layers"
"""Key of the document that says how many layers all records have. It is nobody's, and never moves."""


def layers(key: bytes) -> int:
    """Whether a key has an even (0) or an odd (1) number of layers."""
    return (len(key) - 1) % 8


def moved_key(key: bytes, layer: Layer) -> bytes:
    """A record's key under one more layer."""
    body, kind = key[:-1], key[-1:]
    if kind in WHOLE:
        return layer.over(body) + kind
    return layer.over_place(body[:PLACE]) + layer.over(body[PLACE:]) + kind


def moved(kind: bytes, record: bytes, layer: Layer) -> bytes:
    """A record under one more layer. Raises msgspec.DecodeError on what is none of that kind.

    Sketches keep their bits, of pseudonyms as they were: until they are over, a day, a value may count twice. A reply
    keeps the assessment id that was given out.
    """
    if kind in (REPLY, IMPORT):
        return record
    if kind == RECEIPT:
        return pack(expiry(record), learn.encode(_receipt(learn.decode(payload(record)), layer)))
    history = decode(payload(record))
    for table in SHORT:
        values = history.tallies.of(table)
        if values:
            again = {layer.over_short(value): tally for value, tally in values.items()}
            force_setattr(history.tallies, table, again)
    return pack(expiry(record), encode(history))


def _receipt(kept: Receipt, layer: Layer) -> Receipt:
    lesson = kept.lesson

    def each(keys: tuple[bytes, ...]) -> tuple[bytes, ...]:
        return tuple([layer.over(key) for key in keys])

    values = {table: layer.over_short(value) if table in SHORT else value for table, value in lesson.values.items()}
    again = replace(
        lesson,
        subject=layer.over(lesson.subject),
        owners=each(lesson.owners),
        shared=each(lesson.shared),
        common=each(lesson.common),
        domain=layer.over(lesson.domain),
        values=values,
    )
    return replace(kept, lesson=again, activity=each(kept.activity))


def named(kind: bytes, key: bytes, record: bytes) -> list[bytes]:
    """Keys of the histories that a record names: they move before it does, so that what it takes back is there."""
    if kind == SHARE:
        return [key[PLACE:-1] + PROFILE, key[PLACE:-1] + ACTIVITY]
    if kind != RECEIPT:
        return []
    kept = learn.decode(payload(record))
    lesson = kept.lesson
    profiles = (lesson.subject, *lesson.owners, *lesson.shared)
    return [
        *(body + PROFILE for body in profiles),
        *(body + ACTIVITY for body in kept.activity),
        *(body + COMMON for body in (*lesson.common, lesson.domain)),
        *(lesson.subject[:PLACE] + owner + SHARE for owner in lesson.owners),
    ]


def merged(one: bytes, other: bytes) -> bytes:
    """Two records of a history that was written to under two keys, as one."""
    into, more = decode(payload(one)), decode(payload(other))
    for table, form in TABLES.items():
        for value, (first, *counts) in more.tallies.of(table).items():
            for period, n in enumerate(counts, first):
                fold(into, _at(period * form.period, counts=((table, value, n),)))
    for kind, marks in more.marks.items():
        fold(into, _at(0, marks=tuple((kind, tuple(mark)) for mark in marks)))
    for sketch, periods in more.sketches.items():
        for period, bits in periods.items():
            seen = tuple((sketch, slot) for slot in range(SKETCH.capacity) if bits >> slot & 1)
            fold(into, _at(period * SKETCH.period, seen=seen))
    return pack(max(expiry(one), expiry(other)), encode(into))


def _at(
    time: float,
    counts: tuple[tuple[str, str, int], ...] = (),
    marks: tuple[tuple[str, tuple[float, ...]], ...] = (),
    seen: tuple[tuple[str, int], ...] = (),
) -> Delta:
    return Delta(b"", float(time), 0.0, counts, marks, seen)
