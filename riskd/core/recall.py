"""Which records an attempt needs, and how they make up what is remembered of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import NOTHING, Memory, Remembered
from riskd.core.history import EMPTY, History
from riskd.core.pseudonym import Keys, Pseudonyms
from riskd.core.stored import PLACE

PROFILE: Final = b"P"
"""What owners taught. A key is a pseudonym and the kind of its record."""
COMMON: Final = b"C"
"""What owners taught of what many share: a country, an operator, a browser, the whole domain. Nobody's in
particular, so that a store may answer from memory."""
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
    """The records to read, in the order that `recall` takes them. What is common comes last."""
    subject, address, network, device = keys.subject, keys.address, keys.network, keys.device
    found = [subject + PROFILE, subject + ACTIVITY, address + PROFILE, address + ACTIVITY]
    found += [network + PROFILE, network + ACTIVITY]
    if device:
        found += [device + PROFILE, device + ACTIVITY]
    if keys.fingerprint:
        found.append(keys.fingerprint + PROFILE)
    if keys.asn:
        found += [keys.asn + ACTIVITY, keys.asn + COMMON]
    found.append(keys.domain + COMMON)
    found += [key + COMMON for key in keys.popularity.values()]
    return found


def recall(keys: Keys, histories: Sequence[History | None]) -> Remembered:
    """The records that `wanted` named, as memories; absent ones are empty. Nobody tries fingerprints."""
    found = [history or EMPTY for history in histories]
    at, device, fingerprint, asn = 6, NOTHING, NOTHING, NOTHING
    if keys.device:
        device, at = Memory(found[at], found[at + 1]), at + 2
    if keys.fingerprint:
        fingerprint, at = Memory(found[at], EMPTY), at + 1
    if keys.asn:
        asn, at = Memory(found[at + 1], found[at]), at + 2
    return Remembered(
        subject=Memory(found[0], found[1]),
        address=Memory(found[2], found[3]),
        network=Memory(found[4], found[5]),
        device=device,
        fingerprint=fingerprint,
        asn=asn,
        domain=found[at],
        popularity=dict(zip(keys.popularity, found[at + 1 :], strict=True)),
    )


def reply_to(attempt: Attempt, pseudonyms: Pseudonyms, subject: bytes) -> bytes:
    """Where the first answer to a request id lies: beside the subject's histories; the same however many layers there
    were when it was given."""
    asked = f"{attempt.subject}\0{attempt.request_id}"
    return subject[:PLACE] + pseudonyms.digest(attempt.tenant, attempt.domain, "reply", asked) + REPLY
