"""What an attempt changes: velocity at once, familiarity only when it proves to have been the owner's. And what is
remembered of what others say of a subject, which teaches nothing."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from riskd.core.attempt import RISK_LEVELS, Attempt, Outcome, SecurityEvent
from riskd.core.context import Context, Place, Remembered, Route
from riskd.core.features.behaviour import TYPING_SCALE, typing_habit, typing_rhythm
from riskd.core.features.sharing import crowded
from riskd.core.history import OLDEST, WEEK, Delta, inverse, slot
from riskd.core.marks import Mark, placed
from riskd.core.pseudonym import Keys
from riskd.core.recall import ACTIVITY, COMMON, PROFILE, SHARE
from riskd.core.requirement import Requirement, Tier, accepts
from riskd.core.retention import USUAL, Retention
from riskd.core.stored import PLACE

SEQUENCE: Final = ("recovery", "profile_update", "payment", "registration")
STRONG: Final = frozenset({"hwk", "swk", "sc", "pop"})
"""RFC 8176 methods that prove possession of a key."""
LISTED: Final = "password"
"""The credential type of CAEP 1.0 that lists of stolen ones have. A PIN is another: whoever has the password may add
one, and the password is as stolen as before."""
UNITS: Final = 6
"""What a pass with a key teaches, and what a person's word does; any other proof teaches one unit. Six make a value
the subject's own at once."""
STEADY: Final = 2.0
"""Deviations from the subject's typing rhythm that a lesson moves it by at most."""


class Lesson(Struct, frozen=True):
    """All that an attempt would teach: whose histories, which values, where, and how it was typed."""

    time: float
    subject: bytes
    owners: tuple[bytes, ...]
    """Device and fingerprint, which learn how common they are, and of which each subject keeps its share."""
    address: bytes
    network: bytes
    """Both learn how common they are, and by how many accounts."""
    common: tuple[bytes, ...]
    """Operator, and the values that have a popularity record: they learn how common they are."""
    domain: bytes
    values: dict[str, str]
    place: tuple[int | float, ...] = ()
    typing: tuple[int, int] = (0, 0)
    """Mean log interval and its square, in thousandths."""


class Receipt(Struct, frozen=True):
    """What is kept of an assessment until its outcomes are known. `receipts` has the stored form."""

    lesson: Lesson
    domain: str
    journey: str
    tier: Tier
    amr: tuple[tuple[str, ...], ...]
    """What would meet the requirement; of one that was met already nothing is kept."""
    satisfied: bool
    activity: tuple[bytes, ...]
    """Whose histories count a failure: the subject, its address and network, and the operator where it is known."""
    taught: int = 0
    """Units learned so far, 0 when nothing was."""
    fraud: bool = False
    reported: tuple[str, ...] = ()
    """Kinds of outcomes so far: one that comes again changes nothing more."""
    late: int = 0
    """Seconds by which the attempt was told late, as backfills do."""

    def until(self, retention: Retention) -> float:
        """When it ends: its time is counted from when it was written, whenever the attempt was."""
        return self.lesson.time + self.late + retention.receipt


def attempted(attempt: Attempt, keys: Keys, now: float, retention: Retention = USUAL) -> tuple[Delta, ...]:
    """Velocity: what every assessment counts, whoever it was. Each entity counts what is asked of it, and no more."""
    expires, keep = now + retention.activity, retention.activity
    longest = max(retention.sequence, keep)
    failed = attempt.credential_result == "failed"
    who = (("subject", slot(keys.subject)),)
    whence = (("address", slot(keys.address)),)
    journey, often = attempt.journey, _BOTH[failed]
    if journey in SEQUENCE:
        step = (*often, ("journey_day", journey, 1))
        own = Delta(keys.subject + ACTIVITY, now, now + longest, step, ((journey, (int(now),)),), whence, keep=longest)
    else:
        own = Delta(keys.subject + ACTIVITY, now, expires, often, (), whence, keep=longest)
    deltas = [
        own,
        Delta(keys.address + ACTIVITY, now, expires, often, (), who, keep=keep),
        Delta(keys.network + ACTIVITY, now, expires, _FINE[failed], (), who, keep=keep),
    ]
    if keys.asn:
        deltas.append(Delta(keys.asn + ACTIVITY, now, expires, _COARSE[failed], keep=keep))
    if keys.device:
        deltas.append(Delta(keys.device + ACTIVITY, now, expires, _FINE[False], (), who, keep=keep))
    return tuple(deltas)


_Counts = tuple[tuple[str, str, int], ...]
_FAILURES: Final[tuple[_Counts, ...]] = (
    *[(("failure", "", 1), ("failure_day", "", 1))] * 2,
    (("failure", "", 1),),
    (("failure_day", "", 1),),
)
"""What is counted of a failure that becomes known later, of a subject, an address, a network and an operator."""
_FINE: Final[dict[bool, _Counts]] = {
    False: (("attempt", "", 1),),
    True: (("attempt", "", 1), ("failure", "", 1)),
}
_COARSE: Final[dict[bool, _Counts]] = {
    False: (("attempt_day", "", 1),),
    True: (("attempt_day", "", 1), ("failure_day", "", 1)),
}
_BOTH: Final = {failed: _FINE[failed] + _COARSE[failed] for failed in (False, True)}
"""What is counted of an attempt, by whether its credential failed: over the last hour, over the last day, over both."""


def lesson(attempt: Attempt, context: Context, keys: Keys) -> Lesson:
    """What this attempt would teach. An anonymised address is never learned as a place, nor is that of a crowd: a
    carrier's gateway may be far from anybody behind it."""
    values = dict(context.values)
    place: tuple[int | float, ...] = ()
    hidden = isinstance(context.route, Route) and context.route.anonymizer != ""
    if hidden:
        values.pop("country", None)
    elif isinstance(context.place, Place) and not crowded(context):
        where = context.place
        place = placed(context.now, where.latitude, where.longitude, where.radius_km)
    return Lesson(
        time=context.now,
        subject=keys.subject,
        owners=tuple([key for key in (keys.device, keys.fingerprint) if key]),
        address=keys.address,
        network=keys.network,
        common=_common(keys, values),
        domain=keys.domain,
        values=values,
        place=place,
        typing=_typing(attempt, context),
    )


def _common(keys: Keys, values: dict[str, str]) -> tuple[bytes, ...]:
    known = [key for table, key in keys.popularity.items() if table in values]
    return tuple([*known, keys.asn] if keys.asn else known)


def _typing(attempt: Attempt, context: Context) -> tuple[int, int]:
    """The rhythm, drawn to within `STEADY` of the subject's: a stranger's would widen what passes for the owner's."""
    rhythm, remembered = typing_rhythm(attempt), context.remembered
    if rhythm is None:
        return (0, 0)
    if isinstance(remembered, Remembered):
        habit = typing_habit(remembered.subject.profile.tallies, int(context.now // WEEK) - OLDEST)
        if habit is not None:
            mean, deviation = habit
            rhythm = min(max(rhythm, mean - STEADY * deviation), mean + STEADY * deviation)
    return (round(rhythm * TYPING_SCALE), round(rhythm * rhythm * TYPING_SCALE))


def taught(lesson: Lesson, units: int, retention: Retention = USUAL) -> tuple[Delta, ...]:
    """The deltas that teach this lesson with a weight. `inverse` of each takes it back exactly."""
    time, keep = lesson.time, retention.profile
    expires = time + keep
    counts = [("sign_in", "", units)]
    counts += [(table, value, units) for table, value in lesson.values.items()]
    mean, square = lesson.typing
    if mean:
        counts += [("typing", "n", units), ("typing", "sum", mean * units), ("typing", "square", square * units)]
    marks = (("place", lesson.place),) if lesson.place else (("visit", (int(time),)),)
    once = (("sign_in", "", units),)
    hour = lesson.values.get("hour")
    rhythm = (("hour", hour, units),) if hour else ()
    who = (("owner", slot(lesson.subject)),)
    place = lesson.subject[:PLACE]
    return (
        Delta(lesson.subject + PROFILE, time, expires, tuple(counts), marks, keep=keep),
        *(Delta(key + PROFILE, time, expires, once, keep=keep) for key in lesson.owners),
        *(Delta(place + key + SHARE, time, expires, once, keep=keep) for key in lesson.owners),
        *(Delta(key + PROFILE, time, expires, once, (), who, keep=keep) for key in (lesson.address, lesson.network)),
        *(Delta(key + COMMON, time, expires, once, keep=keep) for key in lesson.common),
        Delta(lesson.domain + COMMON, time, expires, (*once, *rhythm), keep=keep),
    )


def receipt(
    attempt: Attempt,
    context: Context,
    keys: Keys,
    requirement: Requirement,
    accepted: tuple[tuple[str, ...], ...],
) -> Receipt:
    """What to keep of this assessment until its outcomes are known.

    `accepted`: methods that meet the requirement, those of stricter tiers included.
    """
    return Receipt(
        lesson=lesson(attempt, context, keys),
        domain=attempt.domain,
        journey=attempt.journey,
        tier=requirement.tier,
        amr=() if requirement.satisfied else accepted,
        satisfied=requirement.satisfied,
        activity=tuple([key for key in (keys.subject, keys.address, keys.network, keys.asn) if key]),
    )


def told(kept: Receipt, now: float) -> Receipt:
    """The receipt, with by how much the attempt is told late at `now`."""
    late = round(now - kept.lesson.time)
    return msgspec.structs.replace(kept, late=late) if late > 0 else kept


def settle(
    kept: Receipt, outcome: Outcome, now: float, retention: Retention = USUAL
) -> tuple[Receipt, tuple[Delta, ...]]:
    """One outcome's effect: the receipt as it now stands, and the deltas.

    1. Confirmed fraud takes back what was taught, and nothing teaches afterwards.
    2. A proof (requirement met by a passed challenge, or met already and the session established, or
       confirmed by a person) teaches once; a stronger proof later tops it up.
    3. A failed challenge or recovery counts as a failure, once. An abandoned one changes nothing.
    """
    kept = answered(kept, outcome.kind, outcome.amr)
    fraud = kept.fraud or outcome.kind == "confirmed_fraud"
    units = 0 if fraud else max(kept.taught, _units(kept, outcome))
    return concluded(kept, outcome.kind, units, now, retention)


def answered(kept: Receipt, kind: str, amr: tuple[str, ...]) -> Receipt:
    """The receipt after a challenge, if this outcome is one that was passed, by these methods: its requirement may be
    met now."""
    if kind == "challenge_passed" and _meets(kept, amr):
        return msgspec.structs.replace(kept, satisfied=True, amr=())
    return kept


def concluded(
    kept: Receipt, kind: str, units: int, now: float, retention: Retention = USUAL
) -> tuple[Receipt, tuple[Delta, ...]]:
    """The effect of an outcome after which the assessment has taught so many units in total: `settle` works them out,
    the decision log has them."""
    again, gain = kind in kept.reported, units - kept.taught
    if not again:
        kept = msgspec.structs.replace(kept, reported=(*kept.reported, kind))
    if kind == "confirmed_fraud":
        taken = tuple(inverse(delta) for delta in taught(kept.lesson, kept.taught, retention)) if kept.taught else ()
        return msgspec.structs.replace(kept, taught=0, fraud=True), taken
    deltas: tuple[Delta, ...] = ()
    if kind in ("challenge_failed", "recovery_failed") and not again:
        deltas = tuple(
            Delta(key + ACTIVITY, now, now + retention.activity, counts)
            for key, counts in zip(kept.activity, _FAILURES, strict=False)
        )
    if kind == "recovery_completed" and not again:
        deltas = (recovered(kept.lesson.subject, now, retention),)
    if gain <= 0 or kept.fraud:
        return kept, deltas
    return msgspec.structs.replace(kept, taught=units), (*deltas, *taught(kept.lesson, gain, retention))


def _meets(kept: Receipt, amr: tuple[str, ...]) -> bool:
    if kept.tier is Tier.DENY:
        return False
    return not amr or accepts(kept.amr, amr)


def _units(kept: Receipt, outcome: Outcome) -> int:
    if outcome.kind == "confirmed_legitimate":
        return UNITS
    if outcome.kind in ("challenge_passed", "session_established", "recovery_completed") and kept.satisfied:
        return UNITS if outcome.kind == "challenge_passed" and STRONG.intersection(outcome.amr) else 1
    return 0


def recovered(subject: bytes, now: float, retention: Retention = USUAL) -> Delta:
    """A recovery was completed: remembered with the subject's sensitive steps."""
    return Delta(subject + ACTIVITY, now, now + retention.sequence, (), (("recovered", (int(now),)),))


def reported(event: SecurityEvent, subject: bytes, now: float, retention: Retention = USUAL) -> tuple[Delta, ...]:
    """What is remembered of a security event: marks, with the subject's sensitive steps and for as long. Nothing of one
    that is older than that.

    The newest of a kind counts, and of several in one second the worst, so that events may come in any order, and
    again. `signals.informed` reads `reported` (time and level; without a level, nothing is reported any more) and
    `breached` (time, and 1 or, once it was changed, 0).
    """
    time = now if event.time is None else event.time
    keep = max(retention.sequence, retention.activity)
    marks = _told(event, int(time))
    if not marks or time + keep <= now:
        return ()
    return (Delta(subject + ACTIVITY, time, time + keep, (), marks),)


def _told(event: SecurityEvent, at: int) -> tuple[tuple[str, Mark], ...]:
    password, at_risk = event.credential_type == LISTED, ("reported", (at, _LEVELS.index("high")))
    match event.kind:
        case "risk_level_change":
            return (("reported", (at, _LEVELS.index(event.level))),)
        case "credential_compromise":
            return (("breached", (at, 1)) if password else at_risk,)
        case "credential_change":
            step = ("profile_update", (at,))
            return (step, ("breached", (at, 0))) if password else (step,)
        case "account_disabled":
            return (at_risk,) if event.hijacked else ()
        case "account_enabled":
            return (("reported", (at,)),)
        case "recovery_activated":
            return (("recovery", (at,)),)
        case _:
            return (("profile_update", (at,)),)


_LEVELS: Final = RISK_LEVELS[1:]
