"""The stored form of receipts. One is kept for every attempt for 90 days, so what can be derived is not stored.

Popularity keys are derived from their values, short pseudonyms from keys, hour and weekday from the time, and half of
the subject's pseudonym from the place in the receipt's own key.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import astuple, replace

from riskd.core.attempt import DOMAINS, JOURNEYS, OUTCOMES
from riskd.core.learn import Lesson, Receipt
from riskd.core.pseudonym import POPULARITY, Layer, Pseudonyms, short
from riskd.core.requirement import Tier
from riskd.core.signals import rhythm
from riskd.core.stored import PLACE

VALUES: Final = (*POPULARITY, "asn", "issuer")
"""Tables whose values are stored, in this order. Changing it requires a new `stored.FORMAT`."""


class _Stored(Struct, frozen=True, array_like=True, gc=False):
    """A receipt without what can be derived. Words are stored as indices into their vocabularies."""

    tenant: str
    time: float
    domain: int
    journey: int
    tier: int
    satisfied: bool
    amr: tuple[tuple[str, ...], ...]
    subject: bytes
    """Without the place."""
    device: bytes
    fingerprint: bytes
    shared: bytes
    """Address and network."""
    values: tuple[str | None, ...]
    place: tuple[int | float, ...]
    """Without the time."""
    typing: tuple[int, int]
    taught: int
    fraud: bool
    reported: tuple[int, ...]
    late: int = 0
    """Absent in receipts of older versions."""
    counted: tuple[bytes, ...] = ()
    """Absent if there are no counters, and the next field is absent."""
    probation: bool = False
    """Absent if false."""


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Stored)


def encode(receipt: Receipt, tenant: str) -> bytes:
    """The stored form of a receipt."""
    lesson = receipt.lesson
    owners = iter(lesson.owners)
    device = next(owners) if "device" in lesson.values else b""
    stored = (
        tenant,
        lesson.time,
        DOMAINS.index(receipt.domain),
        JOURNEYS.index(receipt.journey),
        receipt.tier,
        receipt.satisfied,
        receipt.amr,
        lesson.subject[PLACE:],
        device,
        next(owners, b""),
        lesson.address + lesson.network,
        [*map(lesson.values.get, VALUES)],
        lesson.place[1:],
        lesson.typing,
        receipt.taught,
        receipt.fraud,
        [*map(OUTCOMES.index, receipt.reported)],
        receipt.late,
        lesson.counted,
        receipt.probation,
    )
    # In the order of `_Stored`, without constructing one.
    return _packed(stored)


def _packed(stored: tuple[object, ...]) -> bytes:
    """The bytes of all fields of `_Stored`, without the last ones if they have their defaults."""
    *_, counted, probation = stored
    return _ENCODER.encode(stored if probation else stored[:-1] if counted else stored[:-2])


def decode(stored: bytes, place: bytes, pseudonyms: Pseudonyms) -> tuple[Receipt, str]:
    """The receipt and its tenant, from the bytes of `encode`. `place` is the start of the receipt's key.

    Raises msgspec.DecodeError on anything else.
    """
    try:
        return _derive(_parse(stored), place, pseudonyms)
    except (ValueError, LookupError, TypeError) as error:  # an index outside its vocabulary
        raise msgspec.DecodeError(f"not a receipt: {error}") from error


def _parse(stored: bytes) -> _Stored:
    try:
        return _DECODER.decode(stored)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from error


def _derive(fields: _Stored, place: bytes, pseudonyms: Pseudonyms) -> tuple[Receipt, str]:
    """The receipt and its tenant, complete. Raises ValueError, LookupError or TypeError if `fields` are damaged."""
    tenant, domain = fields.tenant, DOMAINS[fields.domain]
    values = {table: value for table, value in zip(VALUES, fields.values, strict=True) if value is not None}
    subject, half = place + fields.subject, len(fields.shared) // 2
    address, network = fields.shared[:half], fields.shared[half:]
    entities = {"address": address, "network": network, "device": fields.device, "fingerprint": fields.fingerprint}
    common = {
        table: pseudonyms.common(tenant, domain, table, values[table])
        for table in (*POPULARITY, "asn")
        if table in values
    }
    lesson = Lesson(
        time=fields.time,
        subject=subject,
        owners=tuple([key for key in (fields.device, fields.fingerprint) if key]),
        address=address,
        network=network,
        common=tuple(common.values()),
        domain=pseudonyms.common(tenant, domain, "domain", ""),
        values=values | rhythm(fields.time) | {table: short(key) for table, key in entities.items() if key},
        place=(int(fields.time), *fields.place) if fields.place else (),
        typing=fields.typing,
        counted=fields.counted,
    )
    receipt = Receipt(
        lesson=lesson,
        domain=domain,
        journey=JOURNEYS[fields.journey],
        tier=Tier(fields.tier),
        amr=fields.amr,
        satisfied=fields.satisfied,
        activity=tuple([key for key in (subject, address, network, common.get("asn")) if key]),
        taught=fields.taught,
        fraud=fields.fraud,
        reported=tuple([OUTCOMES[at] for at in fields.reported]),
        late=fields.late,
        probation=fields.probation,
    )
    return receipt, tenant


def pseudonyms_in(stored: bytes, place: bytes) -> tuple[bytes, tuple[bytes, ...], tuple[bytes, ...], tuple[bytes, ...]]:
    """The pseudonyms in a stored receipt: the subject; device and fingerprint, as far as known; address and network;
    what is counted.

    `place` is the start of the receipt's key. Raises msgspec.DecodeError.
    """
    fields = _parse(stored)
    half = len(fields.shared) // 2
    owners = tuple([key for key in (fields.device, fields.fingerprint) if key])
    return place + fields.subject, owners, (fields.shared[:half], fields.shared[half:]), fields.counted


def layered(stored: bytes, place: bytes, layer: Layer) -> bytes:
    """A stored receipt under one more layer; `place` is the start of its old key. Raises msgspec.DecodeError."""
    fields = _parse(stored)
    subject, _, shared, counted = pseudonyms_in(stored, place)
    values = tuple(
        layer.over_short(value) if table == "issuer" and value is not None else value
        for table, value in zip(VALUES, fields.values, strict=True)
    )
    moved = replace(
        fields,
        subject=layer.over(subject)[PLACE:],
        device=layer.over(fields.device) if fields.device else b"",
        fingerprint=layer.over(fields.fingerprint) if fields.fingerprint else b"",
        shared=b"".join(map(layer.over, shared)),
        values=values,
        counted=tuple(map(layer.over, counted)),
    )
    return _packed(astuple(moved))
