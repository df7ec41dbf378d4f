"""The stored form of receipts: there is one for every sign-in of the last 90 days, so what can be derived is left out.

A popularity key follows from its value, a short pseudonym from its key, hour and weekday from the time, and half of
the subject's key from the place where the receipt lies.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from riskd.core.attempt import DOMAINS, JOURNEYS, OUTCOMES
from riskd.core.learn import Lesson, Receipt
from riskd.core.pseudonym import POPULARITY, Layer, Pseudonyms, short
from riskd.core.requirement import Tier
from riskd.core.signals import rhythm
from riskd.core.stored import PLACE

VALUES: Final = (*POPULARITY, "asn", "issuer")
"""Tables whose values are kept, in the order in which they are. Another order is another `stored.FORMAT`."""


class _Slip(Struct, frozen=True, array_like=True, gc=False):
    """A receipt without what can be derived. Words are places in their vocabularies."""

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
    """Receipts of before it was kept end without."""


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Slip)


def encode(receipt: Receipt, tenant: str) -> bytes:
    """The stored form of a receipt."""
    lesson, value = receipt.lesson, receipt.lesson.values.get
    owners = iter(lesson.owners)
    device = next(owners) if "device" in lesson.values else b""
    slip = (
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
        [value(table) for table in VALUES],
        lesson.place[1:],
        lesson.typing,
        receipt.taught,
        receipt.fraud,
        [OUTCOMES.index(kind) for kind in receipt.reported],
        receipt.late,
    )
    return _ENCODER.encode(slip)  # in the order of `_Slip`, without the making of one


def decode(stored: bytes, place: bytes, pseudonyms: Pseudonyms) -> tuple[Receipt, str]:
    """Back from `encode`, with the tenant. `place` is what the receipt's key begins with.

    Raises msgspec.DecodeError on anything else.
    """
    try:
        return _back(_slip(stored), place, pseudonyms)
    except (ValueError, LookupError, TypeError) as error:  # no word of a vocabulary
        raise msgspec.DecodeError(f"not a receipt: {error}") from error


def _slip(stored: bytes) -> _Slip:
    try:
        return _DECODER.decode(stored)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from error


def _back(slip: _Slip, place: bytes, pseudonyms: Pseudonyms) -> tuple[Receipt, str]:
    tenant, domain = slip.tenant, DOMAINS[slip.domain]
    values = {table: value for table, value in zip(VALUES, slip.values, strict=True) if value is not None}
    subject, half = place + slip.subject, len(slip.shared) // 2
    address, network = slip.shared[:half], slip.shared[half:]
    entities = {"address": address, "network": network, "device": slip.device, "fingerprint": slip.fingerprint}
    common = {
        table: pseudonyms.common(tenant, domain, table, values[table])
        for table in (*POPULARITY, "asn")
        if table in values
    }
    lesson = Lesson(
        time=slip.time,
        subject=subject,
        owners=tuple([key for key in (slip.device, slip.fingerprint) if key]),
        address=address,
        network=network,
        common=tuple(common.values()),
        domain=pseudonyms.common(tenant, domain, "domain", ""),
        values=values | rhythm(slip.time) | {table: short(key) for table, key in entities.items() if key},
        place=(int(slip.time), *slip.place) if slip.place else (),
        typing=slip.typing,
    )
    receipt = Receipt(
        lesson=lesson,
        domain=domain,
        journey=JOURNEYS[slip.journey],
        tier=Tier(slip.tier),
        amr=slip.amr,
        satisfied=slip.satisfied,
        activity=tuple([key for key in (subject, address, network, common.get("asn")) if key]),
        taught=slip.taught,
        fraud=slip.fraud,
        reported=tuple([OUTCOMES[at] for at in slip.reported]),
        late=slip.late,
    )
    return receipt, tenant


def named(stored: bytes, place: bytes) -> tuple[bytes, tuple[bytes, ...], tuple[bytes, ...]]:
    """The pseudonyms in a receipt: the subject, its device and fingerprint, the address and its network.

    Raises msgspec.DecodeError.
    """
    slip = _slip(stored)
    half = len(slip.shared) // 2
    owners = tuple([key for key in (slip.device, slip.fingerprint) if key])
    return place + slip.subject, owners, (slip.shared[:half], slip.shared[half:])


def layered(stored: bytes, place: bytes, layer: Layer) -> bytes:
    """A receipt under one more layer; `place` is what its key began with before. Raises msgspec.DecodeError."""
    slip = _slip(stored)
    subject, _, shared = named(stored, place)
    values = tuple(
        layer.over_short(value) if table == "issuer" and value is not None else value
        for table, value in zip(VALUES, slip.values, strict=True)
    )
    again = replace(
        slip,
        subject=layer.over(subject)[PLACE:],
        device=layer.over(slip.device) if slip.device else b"",
        fingerprint=layer.over(slip.fingerprint) if slip.fingerprint else b"",
        shared=b"".join(map(layer.over, shared)),
        values=values,
    )
    return _ENCODER.encode(again)
