"""The kinds of stored records, the keys of those that an attempt reads, and how they become `Remembered`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import NOTHING, Memory, Remembered
from riskd.core.counters import COUNTED
from riskd.core.history import History
from riskd.core.pseudonym import Keys, Pseudonyms
from riskd.core.stored import PLACE

PROFILE: Final = b"P"
"""What proven sign-ins taught about an entity. A record's key is a pseudonym followed by one of these kinds."""
COMMON: Final = b"C"
"""The same about what many subjects share: a country, an operator, a browser, the whole domain. It belongs to nobody
in particular, so stores may cache it."""
ACTIVITY: Final = b"A"
"""What was tried lately."""
SHARE: Final = b"D"
"""What one subject taught one of its devices or fingerprints. Its key is the subject's place followed by the device's
pseudonym. So the device's own record need not name its subjects, and one subject's share can still be subtracted."""
OWN: Final = b"O"
"""What one subject proved with a value that is counted. Its key is the subject's place followed by the value's
pseudonym. The value's own record has attempts alone, so there is nothing to subtract."""
RECEIPT: Final = b"R"
"""What an assessment would teach, kept until its outcomes are known."""
REPLY: Final = b"Y"
"""The first answer to a request id, for repeated requests."""
WAIT: Final = b"W"
"""That a device on probation taught the account without a key: until this expires, the next such lesson waits."""
IMPORT: Final = b"I"
"""The progress of an import of past events."""
ASIDE: Final = b"T"
"""A record on its way to another place, see `riskd.transfer`. Its key is the record's key followed by this."""
NOTE: Final = b"N"
"""That something from another place is about to arrive, or has arrived."""
KINDS: Final = {
    PROFILE: "profile",
    COMMON: "common",
    ACTIVITY: "activity",
    SHARE: "share",
    OWN: "own",
    RECEIPT: "receipt",
    REPLY: "reply",
    WAIT: "wait",
}
"""The name of each kind of record about an entity."""


def history_keys(keys: Keys) -> list[bytes]:
    """The keys of the histories that an attempt reads, in the order that `recall` expects. Common ones come last."""
    subject, address, network, device = keys.subject, keys.address, keys.network, keys.device
    found = [subject + PROFILE, subject + ACTIVITY, address + PROFILE, address + ACTIVITY]
    found += [network + PROFILE, network + ACTIVITY]
    if device:
        found += [device + PROFILE, device + ACTIVITY]
    if keys.fingerprint:
        found.append(keys.fingerprint + PROFILE)
    if keys.counted:
        place = subject[:PLACE]
        for key in keys.counted.values():
            found += [key + ACTIVITY, place + key + OWN]
    if keys.asn:
        found += [keys.asn + ACTIVITY, keys.asn + COMMON]
    found.append(keys.domain + COMMON)
    found += [key + COMMON for key in keys.popularity.values()]
    return found


def recall(keys: Keys, histories: Iterable[History], unread: tuple[str, ...] = ()) -> Remembered:
    """Group histories, in the order of `history_keys(keys)`, by entity. `unread`: see `Remembered`."""
    found = iter(histories)
    return Remembered(
        subject=Memory(next(found), next(found)),
        address=Memory(next(found), next(found)),
        network=Memory(next(found), next(found)),
        device=Memory(next(found), next(found)) if keys.device else NOTHING,
        fingerprint=Memory(next(found)) if keys.fingerprint else NOTHING,
        counted={counter: Memory(activity=next(found), profile=next(found)) for counter in keys.counted}
        if keys.counted
        else {},
        asn=Memory(activity=next(found), profile=next(found)) if keys.asn else NOTHING,
        domain=next(found),
        popularity=dict(zip(keys.popularity, found, strict=True)),
        unread=unread,
    )


def unread(keys: Keys, lost: Collection[bytes]) -> tuple[str, ...]:
    """The names, as in `Remembered.unread`, of what is stored under the `lost` ones of `history_keys(keys)`."""
    stored = {
        "subject": keys.subject + PROFILE,
        "device": keys.device + PROFILE,
        "fingerprint": keys.fingerprint + PROFILE,
        "address": keys.address + PROFILE,
        "network": keys.network + PROFILE,
        "operator": keys.asn + ACTIVITY,
        "asn": keys.asn + COMMON,
        "domain": keys.domain + COMMON,
        **{table: key + COMMON for table, key in keys.popularity.items()},
        **{COUNTED + counter: key + ACTIVITY for counter, key in keys.counted.items()},
    }
    return tuple([name for name, key in stored.items() if key in lost])


def reply_to(attempt: Attempt, pseudonyms: Pseudonyms, subject: bytes) -> bytes:
    """The key of the stored answer to a request id, in the subject's place.

    It hashes the raw subject, not its pseudonym, so that an answer stored before a rotation of the pepper is found.
    """
    asked = f"{attempt.subject}\0{attempt.request_id}"
    return subject[:PLACE] + pseudonyms.digest(attempt.tenant, attempt.domain, "reply", asked) + REPLY
