"""What an attempt changes: velocity at once, familiarity only when it proves to have been the owner's."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from riskd.core.attempt import Attempt, Outcome
from riskd.core.context import Context, Place, Route
from riskd.core.features.behaviour import TYPING_SCALE, typing_rhythm
from riskd.core.history import (
    ACTIVITY_SECONDS,
    DAY,
    PROFILE_SECONDS,
    SEQUENCE_SECONDS,
    Delta,
    inverse,
)
from riskd.core.pseudonym import Keys, short
from riskd.core.recall import ACTIVITY, PROFILE
from riskd.core.requirement import Requirement, Tier, accepts

RECEIPT_SECONDS: Final = 90 * DAY
"""How long an outcome can still be reported."""
SEQUENCE: Final = ("recovery", "profile_update", "payment", "registration")
STRONG: Final = frozenset({"hwk", "swk", "sc", "pop"})
"""RFC 8176 methods that prove possession of a key: a pass with one of them teaches three units."""


class Lesson(Struct, frozen=True, array_like=True):
    """All that an attempt would teach: whose histories, which values, where, and how it was typed."""

    time: float
    subject: bytes
    owners: tuple[bytes, ...]
    """Device and fingerprint, which learn whose they are."""
    shared: tuple[bytes, ...]
    """Address, network, ASN, popularity records and the domain, which learn how common they are."""
    domain: bytes
    values: dict[str, str]
    place: tuple[float, ...] = ()
    typing: tuple[int, int] = (0, 0)
    """Mean log interval and its square, in thousandths."""


class Receipt(Struct, frozen=True, array_like=True):
    """What is kept of an assessment until its outcomes are known."""

    lesson: Lesson
    domain: str
    journey: str
    tier: Tier
    amr: tuple[tuple[str, ...], ...]
    satisfied: bool
    activity: tuple[bytes, ...]
    """Histories that count a failure."""
    taught: int = 0
    """Units learned so far, 0 when nothing was."""
    fraud: bool = False


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Receipt)


def encode(receipt: Receipt) -> bytes:
    """The stored form of a receipt."""
    return _ENCODER.encode(receipt)


def decode(stored: bytes) -> Receipt:
    """Back from `encode`. Raises msgspec.DecodeError on anything else."""
    return _DECODER.decode(stored)


def attempted(attempt: Attempt, keys: Keys, now: float) -> tuple[Delta, ...]:
    """Velocity: what every assessment counts, whoever it was."""
    expires = now + ACTIVITY_SECONDS
    counts = [("attempt", "", 1), ("attempt_day", "", 1)]
    if attempt.credential_result == "failed":
        counts += _FAILURE
    tried = tuple(counts)
    who = (("subject", keys.subject[0] & 63),)
    whence = (("address", keys.address[0] & 63),)
    journey = attempt.journey
    sequence = journey in SEQUENCE
    return (
        Delta(
            ACTIVITY + keys.subject,
            now,
            now + SEQUENCE_SECONDS if sequence else expires,
            (*tried, ("journey_day", journey, 1)),
            ((journey, (now,)),) if sequence else (),
            whence,
        ),
        *(
            Delta(ACTIVITY + key, now, expires, tried, (), who)
            for key in (keys.address, keys.network, keys.asn, keys.device)
            if key
        ),
    )


_FAILURE: Final = [("failure", "", 1), ("failure_day", "", 1)]


def lesson(attempt: Attempt, context: Context, keys: Keys) -> Lesson:
    """What this attempt would teach. An anonymised address is never learned as a place."""
    values = dict(context.values)
    place: tuple[float, ...] = ()
    hidden = isinstance(context.route, Route) and context.route.anonymizer != ""
    if hidden:
        values.pop("country", None)
    elif isinstance(context.place, Place):
        where = context.place
        place = (context.now, round(where.latitude, 3), round(where.longitude, 3), round(where.radius_km, 1))
    shared = [key for key in (keys.address, keys.network, keys.asn) if key]
    shared += [key for table, key in keys.popularity.items() if table in values]
    return Lesson(
        time=context.now,
        subject=keys.subject,
        owners=tuple([key for key in (keys.device, keys.fingerprint) if key]),
        shared=tuple(shared),
        domain=keys.domain,
        values=values,
        place=place,
        typing=_typing(attempt),
    )


def _typing(attempt: Attempt) -> tuple[int, int]:
    rhythm = typing_rhythm(attempt)
    if rhythm is None:
        return (0, 0)
    return (round(rhythm * TYPING_SCALE), round(rhythm * rhythm * TYPING_SCALE))


def taught(lesson: Lesson, units: int) -> tuple[Delta, ...]:
    """The deltas that teach this lesson with a weight. `inverse` of each takes it back exactly."""
    time, expires = lesson.time, lesson.time + PROFILE_SECONDS
    counts = [("sign_in", "", units)]
    counts += [(table, value, units) for table, value in lesson.values.items()]
    mean, square = lesson.typing
    if mean:
        counts += [("typing", "n", units), ("typing", "sum", mean * units), ("typing", "square", square * units)]
    marks = (("visit", (time,)), ("place", lesson.place)) if lesson.place else (("visit", (time,)),)
    once = (("sign_in", "", units),)
    hour = lesson.values.get("hour")
    rhythm = (("hour", hour, units),) if hour else ()
    owner = (("sign_in", "", units), ("subject", short(lesson.subject), units))
    return (
        Delta(PROFILE + lesson.subject, time, expires, tuple(counts), marks),
        *(Delta(PROFILE + key, time, expires, owner) for key in lesson.owners),
        *(Delta(PROFILE + key, time, expires, once) for key in lesson.shared),
        Delta(PROFILE + lesson.domain, time, expires, (*once, *rhythm)),
    )


def receipt(attempt: Attempt, context: Context, keys: Keys, requirement: Requirement) -> Receipt:
    """What to keep of this assessment until its outcomes are known."""
    return Receipt(
        lesson=lesson(attempt, context, keys),
        domain=attempt.domain,
        journey=attempt.journey,
        tier=requirement.tier,
        amr=requirement.terms.amr,
        satisfied=requirement.satisfied,
        activity=tuple([key for key in (keys.subject, keys.address, keys.network, keys.asn, keys.device) if key]),
    )


def settle(kept: Receipt, outcome: Outcome, now: float) -> tuple[Receipt, tuple[Delta, ...]]:
    """One outcome's effect: the receipt as it now stands, and the deltas.

    1. Confirmed fraud takes back what was taught, and nothing teaches afterwards.
    2. A proof (requirement met by a passed challenge, or met already and the session established, or
       confirmed by a person) teaches once; a stronger proof later tops it up.
    3. A failed challenge or recovery counts as a failure. An abandoned one changes nothing.
    """
    deltas: tuple[Delta, ...] = ()
    if outcome.kind == "confirmed_fraud":
        if kept.taught:
            deltas = tuple(inverse(delta) for delta in taught(kept.lesson, kept.taught))
        return msgspec.structs.replace(kept, taught=0, fraud=True), deltas
    if outcome.kind in ("challenge_failed", "recovery_failed"):
        return kept, tuple(Delta(ACTIVITY + key, now, now + ACTIVITY_SECONDS, tuple(_FAILURE)) for key in kept.activity)
    if outcome.kind == "challenge_passed" and _meets(kept, outcome.amr):
        kept = msgspec.structs.replace(kept, satisfied=True)
    if outcome.kind == "recovery_completed":
        deltas = (recovered(kept.lesson.subject, now),)
    gain = 0 if kept.fraud else _units(kept, outcome) - kept.taught
    if gain <= 0:
        return kept, deltas
    lessons = taught(kept.lesson, gain)
    return msgspec.structs.replace(kept, taught=kept.taught + gain), (*deltas, *lessons)


def _meets(kept: Receipt, amr: tuple[str, ...]) -> bool:
    if kept.tier is Tier.DENY:
        return False
    return not amr or accepts(kept.amr, amr)


def _units(kept: Receipt, outcome: Outcome) -> int:
    if outcome.kind == "confirmed_legitimate":
        return 3
    if outcome.kind in ("challenge_passed", "session_established", "recovery_completed") and kept.satisfied:
        return 3 if outcome.kind == "challenge_passed" and STRONG.intersection(outcome.amr) else 1
    return 0


def recovered(subject: bytes, now: float) -> Delta:
    """A recovery was completed: remembered with the subject's sensitive steps."""
    return Delta(ACTIVITY + subject, now, now + SEQUENCE_SECONDS, (), (("recovered", (now,)),))
