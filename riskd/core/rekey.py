"""One more layer over everything that is stored: the keys of records, and the pseudonyms inside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import force_setattr, replace

from riskd.core import receipts
from riskd.core.history import TABLES, Delta, decode, encode, fold, sketch
from riskd.core.pseudonym import Layer
from riskd.core.recall import ACTIVITY, COMMON, IMPORT, PROFILE, RECEIPT, REPLY, SHARE
from riskd.core.record import AssessmentRecord
from riskd.core.stored import NOBODY, PLACE, expiry, pack, payload

SHORT: Final = ("address", "network", "device", "fingerprint", "issuer")
"""Tables whose values are short pseudonyms that get layers. User agents keep theirs: many share them."""
WHOLE: Final = (PROFILE, ACTIVITY, COMMON, IMPORT)
"""Records whose key is one pseudonym; that of others is a place and a pseudonym."""
PAPERS: Final = (RECEIPT, REPLY, IMPORT)
"""Records that follow when the histories that they name have moved."""
MARK: Final = NOBODY + b"layers"
"""Key of the document that says how many layers all records have."""


def layered(pseudonym: bytes, later: Sequence[Layer]) -> bytes:
    """A pseudonym under the layers that came later."""
    for layer in later:
        pseudonym = layer.over(pseudonym)
    return pseudonym


def lifted(line: AssessmentRecord, later: Sequence[Layer]) -> AssessmentRecord:
    """What the log says of a decision, under the layers that came later. Its id is the one that was given out."""
    subject, values = layered(bytes.fromhex(line.subject), later), line.facts.values
    for layer in later:
        values = {table: layer.over_short(text) if table in SHORT else text for table, text in values.items()}
    return replace(line, subject=subject.hex(), facts=replace(line.facts, values=values))


def layers(key: bytes) -> int:
    """Whether a key has an even (0) or an odd (1) number of layers."""
    return (len(key) - 1) % 8


def moved_key(key: bytes, layer: Layer) -> bytes:
    """A record's key under one more layer."""
    body, kind = key[:-1], key[-1:]
    if kind in WHOLE:
        return layer.over(body) + kind
    place, rest = layer.over_place(body[:PLACE]), body[PLACE:]
    if kind == RECEIPT:  # of the id that was given out, and a byte that says that the layers are odd
        return place + (rest + b"\0" if len(rest) == PLACE else rest[:-1]) + kind
    return place + layer.over(rest) + kind


def moved(key: bytes, record: bytes, layer: Layer) -> bytes:
    """A record under one more layer. Raises msgspec.DecodeError on what is none of that kind.

    Sketches keep their bits, of pseudonyms as they were: until they are over, a day, a value may count twice. A reply
    keeps the assessment id that was given out.
    """
    kind = key[-1:]
    if kind in (REPLY, IMPORT):
        return record
    if kind == RECEIPT:
        return pack(expiry(record), receipts.layered(payload(record), key[:PLACE], layer))
    history = decode(payload(record))
    for table in SHORT:
        values = getattr(history.tallies, table)
        if values:
            again = {layer.over_short(value): tally for value, tally in values.items()}
            force_setattr(history.tallies, table, again)
    return pack(expiry(record), encode(history))


def named(key: bytes, record: bytes) -> list[bytes]:
    """Keys of the histories that a record names: they move before it does, so that what it takes back is there.

    Common values
    are not named: whoever reads a receipt names them, and then they move."""
    kind = key[-1:]
    if kind == SHARE:
        return [key[PLACE:-1] + PROFILE, key[PLACE:-1] + ACTIVITY]
    if kind != RECEIPT:
        return []
    subject, owners, shared = receipts.named(payload(record), key[:PLACE])
    entities = (subject, *owners, *shared)
    return [
        *(body + histories for body in entities for histories in (PROFILE, ACTIVITY)),
        *(subject[:PLACE] + owner + SHARE for owner in owners),
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
    for name, last in more.sketches.items():
        for slot, period in last.items():
            fold(into, _at(period * sketch(name).period, seen=((name, slot),)))
    return pack(max(expiry(one), expiry(other)), encode(into))


def _at(
    time: float,
    counts: tuple[tuple[str, str, int], ...] = (),
    marks: tuple[tuple[str, tuple[float, ...]], ...] = (),
    seen: tuple[tuple[str, int], ...] = (),
) -> Delta:
    return Delta(b"", float(time), 0.0, counts, marks, seen)
