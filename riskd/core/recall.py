"""Which records an attempt needs, and how they make up what is remembered of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from riskd.core.context import NOTHING, Memory, Remembered
from riskd.core.history import EMPTY, History
from riskd.core.pseudonym import Keys

PROFILE: Final = b"P"
"""What owners taught. A key is a pseudonym and the kind of its record."""
COMMON: Final = b"C"
"""What owners taught of values that many share: a country, a browser, the whole domain. Nobody's in particular,
so that a store may answer from memory."""
ACTIVITY: Final = b"A"
"""What was tried lately."""
SHARE: Final = b"D"
"""What a subject taught one of its devices or fingerprints. It lies in the subject's place, and its key ends with the
device's: so a device's own record names nobody, and still can be told to forget one of its subjects exactly."""
RECEIPT: Final = b"R"
"""What an assessment would teach, until its outcomes are known."""
REPLY: Final = b"Y"
"""A first answer, for requests that are repeated."""
IMPORT: Final = b"I"
"""How far an import of past events has come."""
KINDS: Final = {
    PROFILE: "profile",
    COMMON: "common",
    ACTIVITY: "activity",
    SHARE: "share",
    RECEIPT: "receipt",
    REPLY: "reply",
}
"""What each is called."""


def wanted(keys: Keys) -> list[bytes]:
    """The records to read, in the order that `recall` takes them."""
    return [
        keys.subject + PROFILE,
        keys.subject + ACTIVITY,
        keys.address + PROFILE,
        keys.address + ACTIVITY,
        keys.network + PROFILE,
        keys.network + ACTIVITY,
        keys.domain + COMMON,
        *(key + kind for key in _optional(keys) for kind in (PROFILE, ACTIVITY)),
        *(key + COMMON for key in keys.popularity.values()),
    ]


def recall(keys: Keys, histories: Sequence[History | None]) -> Remembered:
    """The records that `wanted` named, as memories; absent ones are empty."""
    found = iter([history or EMPTY for history in histories])
    subject, address, network = (Memory(next(found), next(found)) for _ in range(3))
    domain = next(found)
    optional = {key: Memory(next(found), next(found)) for key in _optional(keys)}
    return Remembered(
        subject=subject,
        device=optional.get(keys.device, NOTHING),
        fingerprint=optional.get(keys.fingerprint, NOTHING),
        address=address,
        network=network,
        asn=optional.get(keys.asn, NOTHING),
        popularity=dict(zip(keys.popularity, found, strict=True)),
        domain=domain,
    )


def _optional(keys: Keys) -> list[bytes]:
    return [key for key in (keys.device, keys.fingerprint, keys.asn) if key]
