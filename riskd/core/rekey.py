"""Moves stored records under one more layer of pseudonyms: their keys, and the pseudonyms inside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import force_setattr, replace

from riskd.core import receipts
from riskd.core.history import ACTIVITY_TABLES, TABLES, Delta, decode, encode, fold, lapse, sketch
from riskd.core.pseudonym import ENTITIES, Layer
from riskd.core.recall import ACTIVITY, ASIDE, COMMON, IMPORT, NOTE, OWN, PROFILE, RECEIPT, REPLY, SHARE, WAIT
from riskd.core.record import AssessmentRecord
from riskd.core.stored import NOBODY, PLACE, expiry, pack, payload

SHORT: Final = (*ENTITIES, "issuer")
"""Tables whose values are short pseudonyms that get layers. Those of user agents do not: they identify nobody."""
WHOLE: Final = (PROFILE, ACTIVITY, COMMON, WAIT, IMPORT)
"""Kinds of records whose key is one pseudonym. The key of other kinds is a place and a pseudonym."""
DOCUMENTS: Final = (RECEIPT, REPLY, WAIT, IMPORT)
"""Kinds of records that are documents; they move after the histories to which they refer."""
MARK: Final = NOBODY + b"layers"
"""Key of the document that has the number of layers of all records."""


def layered(pseudonym: bytes, later: Sequence[Layer]) -> bytes:
    """A pseudonym under all of the layers `later`."""
    for layer in later:
        pseudonym = layer.over(pseudonym)
    return pseudonym


def relayered(line: AssessmentRecord, later: Sequence[Layer]) -> AssessmentRecord:
    """An assessment's record with its pseudonyms under all of the layers `later`. Its id stays as issued."""
    subject, values = layered(bytes.fromhex(line.subject), later), line.facts.values
    for layer in later:
        values = {table: layer.over_short(text) if table in SHORT else text for table, text in values.items()}
    return replace(line, subject=subject.hex(), facts=replace(line.facts, values=values))


def layer_parity(key: bytes) -> int:
    """The parity of a key's number of layers: 0 if even, 1 if odd."""
    return (len(key) - 1) % 8


def unmoved(key: bytes, parity: int) -> bool:
    """Whether a key belongs to a record, possibly put aside, whose number of layers has another parity."""
    return not key.startswith(NOBODY) and key[-1:] != NOTE and layer_parity(key.removesuffix(ASIDE)) != parity


def moved_key(key: bytes, layer: Layer) -> bytes:
    """A record's key under one more layer."""
    body, kind = key[:-1], key[-1:]
    if kind in WHOLE:
        return layer.over(body) + kind
    place, rest = layer.over_place(body[:PLACE]), body[PLACE:]
    if kind == RECEIPT:  # the rest is part of the issued id, and never hashed; an extra byte shows odd parity
        return place + (rest + b"\0" if len(rest) == PLACE else rest[:-1]) + kind
    return place + layer.over(rest) + kind


def moved(key: bytes, record: bytes, layer: Layer) -> bytes:
    """A record under one more layer. Raises msgspec.DecodeError if it is not of the kind that its key says.

    Sketches are not changed, as slots cannot be mapped to new pseudonyms: until their periods expire, a value may
    count twice. A reply keeps the assessment id that was issued.
    """
    kind = key[-1:]
    if kind in (REPLY, WAIT, IMPORT):
        return record
    if kind == RECEIPT:
        return pack(expiry(record), receipts.layered(payload(record), key[:PLACE], layer))
    history = decode(payload(record))
    for table in SHORT:
        values = getattr(history.tallies, table)
        if values:
            renamed = {layer.over_short(value): tally for value, tally in values.items()}
            force_setattr(history.tallies, table, renamed)
    return pack(expiry(record), encode(history))


def referenced_keys(key: bytes, record: bytes) -> list[bytes]:
    """Keys of the histories to which a record refers. They move before it, so that its undo deltas find them.

    Histories of common values are not among them: they move when a receipt that refers to them is read.
    """
    kind = key[-1:]
    if kind == SHARE:
        return [key[PLACE:-1] + PROFILE, key[PLACE:-1] + ACTIVITY]
    if kind != RECEIPT:
        return []
    subject, owners, shared, counted = receipts.pseudonyms_in(payload(record), key[:PLACE])
    entities, place = (subject, *owners, *shared), subject[:PLACE]
    return [
        *(body + histories for body in entities for histories in (PROFILE, ACTIVITY)),
        *(place + owner + SHARE for owner in owners),
        *(place + value + OWN for value in counted),
    ]


def merged(one: bytes, other: bytes) -> bytes:
    """Merge two records of one history that was written to under its old and its new key."""
    into, more = decode(payload(one)), decode(payload(other))
    for table, form in TABLES.items():
        for value, (first, *counts) in more.tallies.of(table).items():
            for period, n in enumerate(counts, first):
                fold(into, _delta(period * form.period, counts=((table, value, n),)))
    for kind, marks in more.marks.items():
        fold(into, _delta(0, marks=tuple((kind, tuple(mark)) for mark in marks)))
    for name, last in more.sketches.items():
        for slot, period in last.items():
            fold(into, _delta(period * sketch(name).period, seen=((name, slot),)))
    if into.tallies.sign_in is None:
        ends = [
            (tally[0] + len(tally) - 2) * form.period
            for table, form in ACTIVITY_TABLES.items()
            for tally in into.tallies.of(table).values()
        ]
        lapse(into.tallies, max(ends, default=0))
    return pack(max(expiry(one), expiry(other)), encode(into))


def _delta(
    time: float,
    counts: tuple[tuple[str, str, int], ...] = (),
    marks: tuple[tuple[str, tuple[float, ...]], ...] = (),
    seen: tuple[tuple[str, int], ...] = (),
) -> Delta:
    return Delta(b"", float(time), 0.0, counts, marks, seen)
