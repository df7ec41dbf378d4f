"""How attempts, outcomes and security events change histories.

An attempt counts as activity at once. It teaches a profile only when an outcome proves that it was the owner's. A
security event is remembered, but teaches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from riskd.core.attempt import RISK_LEVELS, Attempt, Outcome, SecurityEvent
from riskd.core.context import Context, Place, Remembered, Route
from riskd.core.features import NAMES
from riskd.core.features.behaviour import TYPING_SCALE, typing_habit, typing_rhythm
from riskd.core.features.sequence import SENSITIVE
from riskd.core.features.sharing import crowded
from riskd.core.history import HOUR, OLDEST, WEEK, Delta, inverse, slot
from riskd.core.marks import Mark, placed
from riskd.core.pseudonym import Keys
from riskd.core.recall import ACTIVITY, COMMON, OWN, PROFILE, SHARE
from riskd.core.requirement import STANDALONE, Requirement, Tier, accepts
from riskd.core.retention import USUAL, Retention
from riskd.core.stored import PLACE

STEPS: Final = (*SENSITIVE, "registration")
"""Journeys that are remembered as marks of the subject, for the features of the group `sequence`."""
STRONG: Final = frozenset({"hwk", "swk", "sc", "pop"})
"""RFC 8176 methods that prove possession of a key."""
BREACHABLE: Final = "password"
"""The credential type (CAEP 1.0) that breach lists contain. A change of another type, such as a PIN, does not clear a
breach: whoever has the password may have added the PIN."""
UNITS: Final = 6
"""Units taught by a challenge passed with a key, or by a person's confirmation; any other proof teaches one. Six are
enough for a value to be the subject's own at once."""
SPACING: Final = 20 * HOUR
"""Seconds between two lessons without a key from devices on probation, of one account: proofs in a row are no
independent evidence. Less than a day, so that whoever comes daily, not always at the same hour, teaches daily."""
_NEW_DEVICE: Final = NAMES.index("new_device")
UNMET: Final = frozenset({"challenge_failed", "challenge_abandoned"})
"""Outcomes of a challenge that was not met: denied, answered wrongly, or left until it timed out."""
TYPING_CLAMP: Final = 2.0
"""How far, in standard deviations, a lesson's typing rhythm may lie from the subject's; it is clamped to that."""


class Lesson(Struct, frozen=True):
    """All that an attempt would teach, and to whose histories. Bytes are pseudonyms; `time` is in epoch seconds."""

    time: float
    subject: bytes
    owners: tuple[bytes, ...]
    """Device and fingerprint, as far as known. Each learns how common it is, and each subject keeps its share of it."""
    address: bytes
    network: bytes
    """Address and network learn how common they are, and by how many accounts they are used."""
    common: tuple[bytes, ...]
    """The network operator, and the values with a popularity record. They learn how common they are."""
    domain: bytes
    values: dict[str, str]
    """The attempt's value by table, as in `Context.values`."""
    place: tuple[int | float, ...] = ()
    """A `marks.PlaceMark`; empty if the place is unknown."""
    typing: tuple[int, int] = (0, 0)
    """Mean log typing interval and its square, in thousandths; zeros if unknown."""
    counted: tuple[bytes, ...] = ()
    """What counters count of the attempt. The subject learns which of it is its own; a later failure counts, too."""


class Receipt(Struct, frozen=True):
    """What is kept of an assessment until its outcomes are known. `receipts` defines the stored form."""

    lesson: Lesson
    domain: str
    journey: str
    tier: Tier
    amr: tuple[tuple[str, ...], ...]
    """Method combinations that would meet the requirement; empty if it was satisfied already."""
    satisfied: bool
    activity: tuple[bytes, ...]
    """Who counts a later failure: the subject, the address, the network and, if known, the network operator."""
    taught: int = 0
    """Units taught so far."""
    fraud: bool = False
    """Whether fraud was confirmed."""
    reported: tuple[str, ...] = ()
    """Kinds of the outcomes so far. Repeating one has no further effect."""
    late: int = 0
    """Seconds between the attempt and its assessment, which is large in a backfill."""
    probation: bool = False
    """Whether the device was not yet the account's own, see `SPACING`."""

    def until(self, retention: Retention) -> float:
        """When the receipt expires, in epoch seconds: `retention.receipt` after the assessment was made."""
        return self.lesson.time + self.late + retention.receipt


def attempt_deltas(attempt: Attempt, keys: Keys, now: float, retention: Retention = USUAL) -> tuple[Delta, ...]:
    """The activity that every assessment counts, proven or not. Each entity counts only what a feature reads of it."""
    expires, keep = now + retention.activity, retention.activity
    longest = _longest(retention)
    failed = attempt.credential_result == "failed"
    subject = (("subject", slot(keys.subject)),)
    address = (("address", slot(keys.address)),)
    journey, counts = attempt.journey, _BOTH[failed]
    if journey in STEPS:
        step, mark = (*counts, ("journey_day", journey, 1)), ((journey, (int(now),)),)
        own = Delta(keys.subject + ACTIVITY, now, now + longest, step, mark, address, keep=longest)
    else:
        own = Delta(keys.subject + ACTIVITY, now, expires, counts, (), address, keep=longest)
    deltas = [
        own,
        Delta(keys.address + ACTIVITY, now, expires, counts, (), subject, keep=keep),
        Delta(keys.network + ACTIVITY, now, expires, _FINE[failed], (), subject, keep=keep),
    ]
    if keys.asn:
        deltas.append(Delta(keys.asn + ACTIVITY, now, expires, _COARSE[failed], keep=keep))
    if keys.device:
        deltas.append(Delta(keys.device + ACTIVITY, now, expires, _FINE[False], (), subject, keep=keep))
    if keys.counted:
        deltas += [Delta(key + ACTIVITY, now, expires, counts, (), subject, keep=keep) for key in keys.counted.values()]
    return tuple(deltas)


_Counts = tuple[tuple[str, str, int], ...]
_FAILURES: Final[tuple[_Counts, ...]] = (
    *[(("failure", "", 1), ("failure_day", "", 1))] * 2,
    (("failure", "", 1),),
    (("failure_day", "", 1),),
)
"""What a failure that is reported later counts as: for the subject, the address, the network and the operator. For
counters it counts as for the subject."""
_FINE: Final[dict[bool, _Counts]] = {
    False: (("attempt", "", 1),),
    True: (("attempt", "", 1), ("failure", "", 1)),
}
_COARSE: Final[dict[bool, _Counts]] = {
    False: (("attempt_day", "", 1),),
    True: (("attempt_day", "", 1), ("failure_day", "", 1)),
}
_BOTH: Final = {failed: _FINE[failed] + _COARSE[failed] for failed in (False, True)}
"""What an attempt counts as, by whether its credential failed: in the tables of the last hour (`_FINE`), in those of
the last day (`_COARSE`), and in both."""


def lesson(attempt: Attempt, context: Context, keys: Keys, *, trusted_network: bool = False) -> Lesson:
    """What this attempt would teach.

    The place of an address is not learned behind an anonymiser, from a trusted network, nor if a crowd shares the
    address: a carrier's gateway may be far from the people behind it.
    """
    values, popularity = context.values, keys.popularity
    place: tuple[int | float, ...] = ()
    hidden = isinstance(context.route, Route) and context.route.anonymizer != ""
    if hidden:
        values, popularity = values.copy(), popularity.copy()
        values.pop("country", None)
        popularity.pop("country", None)
    elif isinstance(context.place, Place) and not trusted_network and not crowded(context):
        where = context.place
        place = placed(context.now, where.latitude, where.longitude, where.radius_km)
    return Lesson(
        time=context.now,
        subject=keys.subject,
        owners=tuple(filter(None, (keys.device, keys.fingerprint))),
        address=keys.address,
        network=keys.network,
        common=tuple(filter(None, (*popularity.values(), keys.asn))),
        domain=keys.domain,
        values=values,
        place=place,
        typing=_typing(attempt, context),
        counted=tuple(keys.counted.values()) if keys.counted else (),
    )


def _typing(attempt: Attempt, context: Context) -> tuple[int, int]:
    """`Lesson.typing`, clamped to `TYPING_CLAMP` around the subject's: a stranger must not widen what is usual."""
    rhythm, remembered = typing_rhythm(attempt), context.remembered
    if rhythm is None:
        return (0, 0)
    if isinstance(remembered, Remembered):
        habit = typing_habit(remembered.subject.profile.tallies, int(context.now // WEEK) - OLDEST)
        if habit is not None:
            mean, deviation = habit
            rhythm = min(max(rhythm, mean - TYPING_CLAMP * deviation), mean + TYPING_CLAMP * deviation)
    return (round(rhythm * TYPING_SCALE), round(rhythm * rhythm * TYPING_SCALE))


def lesson_deltas(lesson: Lesson, units: int, retention: Retention = USUAL) -> tuple[Delta, ...]:
    """The deltas that teach this lesson with this many units. `inverse` of each undoes it exactly."""
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
        *(Delta(place + key + OWN, time, expires, once, keep=keep) for key in lesson.counted),
        *(Delta(key + PROFILE, time, expires, once, (), who, keep=keep) for key in (lesson.address, lesson.network)),
        *(Delta(key + COMMON, time, expires, once, keep=keep) for key in lesson.common),
        Delta(lesson.domain + COMMON, time, expires, (*once, *rhythm), keep=keep),
    )


def new_receipt(
    attempt: Attempt,
    context: Context,
    keys: Keys,
    requirement: Requirement,
    accepted: tuple[tuple[str, ...], ...],
    *,
    probation: bool = False,
    trusted_network: bool = False,
) -> Receipt:
    """What to keep of this assessment until its outcomes are known.

    `accepted`: the method combinations that meet the requirement, including those of stricter tiers. `probation`: as
    in `Receipt`. `trusted_network`: whether the policy disregarded what the address says.
    """
    return Receipt(
        lesson=lesson(attempt, context, keys, trusted_network=trusted_network),
        domain=attempt.domain,
        journey=attempt.journey,
        tier=requirement.tier,
        amr=() if requirement.satisfied else accepted,
        satisfied=requirement.satisfied,
        activity=tuple(filter(None, (keys.subject, keys.address, keys.network, keys.asn))),
        probation=probation,
    )


def on_probation(features: Sequence[float]) -> bool:
    """Whether the device of an attempt with this vector is not yet the account's own: a new one, or left out. False if
    unknown."""
    return features[_NEW_DEVICE] == 1.0


def with_lateness(receipt: Receipt, now: float) -> Receipt:
    """The receipt of an attempt that is assessed at `now`, with `late` set."""
    late = round(now - receipt.lesson.time)
    return msgspec.structs.replace(receipt, late=late) if late > 0 else receipt


def settle(
    receipt: Receipt, outcome: Outcome, now: float, retention: Retention = USUAL, *, wait: bool = False
) -> tuple[Receipt, tuple[Delta, ...]]:
    """The effect of an outcome: the changed receipt, and deltas to apply. What it counts, it counts at its own time:
    reports that waited in a queue are no series of failures of now.

    1. Confirmed fraud undoes what the attempt taught. It never teaches afterwards.
    2. A proof teaches once, and a stronger proof later adds the difference. It is a proof if a passed challenge meets
       the requirement, if a session is established or a recovery completed once it is met, or if a person confirms it.
       On a device on probation, a proof without a key teaches nothing if it has to `wait`, because another taught
       less than `SPACING` ago.
    3. A failed challenge or recovery counts as a failure, once. A failed or abandoned challenge leaves a mark `unmet`,
       once for both; no later outcome takes it back.
    """
    receipt = after_challenge(receipt, outcome.kind, outcome.amr)
    time, units = now if outcome.time is None else outcome.time, _units(receipt, outcome)
    if receipt.probation and units < UNITS and (wait or outcome.kind in receipt.reported):
        units = 0
    units = max(receipt.taught, units)
    return settle_units(receipt, outcome.kind, units, time, retention)


def spaced(before: Receipt, after: Receipt) -> bool:
    """Whether what an outcome taught is subject to `SPACING`: the lesson of a device on probation, without a key."""
    return before.probation and before.taught < after.taught < UNITS


def after_challenge(receipt: Receipt, kind: str, amr: tuple[str, ...]) -> Receipt:
    """The receipt after an outcome: satisfied, if a challenge was passed by methods `amr` that meet the requirement.

    A challenge of unnamed methods (`amr` empty) counts as the one that was required. Methods that authenticate by
    themselves meet no IDENTITY_PROOF, unless the policy names them for it.
    """
    if kind == "challenge_passed" and _meets(receipt, amr):
        return msgspec.structs.replace(receipt, satisfied=True, amr=())
    return receipt


def settle_units(
    receipt: Receipt, kind: str, units: int, time: float, retention: Retention = USUAL
) -> tuple[Receipt, tuple[Delta, ...]]:
    """The effect of an outcome of `time`, after which the assessment has taught `units` in total.

    `settle` computes the units; a rebuild takes them from the decision log.
    """
    first, gain = kind not in receipt.reported, units - receipt.taught
    unmet = kind in UNMET and UNMET.isdisjoint(receipt.reported)
    if first:
        receipt = msgspec.structs.replace(receipt, reported=(*receipt.reported, kind))
    if kind == "confirmed_fraud":
        deltas = lesson_deltas(receipt.lesson, receipt.taught, retention) if receipt.taught else ()
        return msgspec.structs.replace(receipt, taught=0, fraud=True), tuple(inverse(delta) for delta in deltas)
    deltas = ()
    if first and kind in ("challenge_failed", "recovery_failed"):
        counted = [(key, _FAILURES[0]) for key in receipt.lesson.counted]
        failed = [*zip(receipt.activity, _FAILURES, strict=False), *counted]
        deltas = tuple([_failure(key, counts, receipt.lesson.subject, time, retention) for key, counts in failed])
    if first and kind == "recovery_completed":
        deltas = (recovery_delta(receipt.lesson.subject, time, retention),)
    if unmet:
        deltas += (unmet_delta(receipt.lesson.subject, time, receipt.lesson.time, retention),)
    if gain <= 0 or receipt.fraud:
        return receipt, deltas
    return msgspec.structs.replace(receipt, taught=units), (*deltas, *lesson_deltas(receipt.lesson, gain, retention))


def _failure(key: bytes, counts: _Counts, subject: bytes, time: float, retention: Retention) -> Delta:
    """The delta of a failure that is reported later."""
    keep = _longest(retention) if key == subject else retention.activity
    return Delta(key + ACTIVITY, time, time + retention.activity, counts, keep=keep)


def _longest(retention: Retention) -> int:
    """Seconds to keep a subject's activity: it has the attempts and the sensitive steps."""
    return max(retention.sequence, retention.activity)


def _meets(receipt: Receipt, amr: tuple[str, ...]) -> bool:
    if receipt.tier is Tier.DENY:
        return False
    if receipt.tier is Tier.IDENTITY_PROOF and not receipt.satisfied and not receipt.amr:
        return STANDALONE.isdisjoint(amr)  # who somebody is, not how they authenticated
    return not amr or accepts(receipt.amr, amr)


def _units(receipt: Receipt, outcome: Outcome) -> int:
    if outcome.kind == "confirmed_legitimate":
        return UNITS
    if outcome.kind in ("challenge_passed", "session_established", "recovery_completed") and receipt.satisfied:
        return UNITS if outcome.kind == "challenge_passed" and STRONG.intersection(outcome.amr) else 1
    return 0


def recovery_delta(subject: bytes, now: float, retention: Retention = USUAL) -> Delta:
    """The delta of a completed recovery, which is remembered as one of the subject's sensitive steps."""
    marks, keep = (("recovered", (int(now),)),), _longest(retention)
    return Delta(subject + ACTIVITY, now, now + retention.sequence, (), marks, keep=keep)


def unmet_delta(subject: bytes, time: float, attempted: float, retention: Retention = USUAL) -> Delta:
    """The delta of a challenge that was not met. Its mark has the microseconds at which it was `attempted`, so that
    several that ended in one second all count."""
    marks = (("unmet", (int(time), int(attempted % 1 * 1_000_000))),)
    return Delta(subject + ACTIVITY, time, time + retention.activity, (), marks, keep=_longest(retention))


def event_deltas(event: SecurityEvent, subject: bytes, now: float, retention: Retention = USUAL) -> tuple[Delta, ...]:
    """The deltas of a security event: marks that are kept as long as the subject's sensitive steps. Empty if the event
    is older than that, or leaves no mark.

    The newest mark of a kind counts, and of several in one second the worst; so events may arrive in any order, and
    repeatedly. `signals.with_events` reads the marks `reported` (time and level; no level withdraws earlier reports)
    and `breached` (time, and 1 for a breach or 0 for a change of the password).
    """
    time = now if event.time is None else event.time
    keep = _longest(retention)
    marks = _event_marks(event, int(time))
    if not marks or time + keep <= now:
        return ()
    return (Delta(subject + ACTIVITY, time, time + keep, (), marks),)


def _event_marks(event: SecurityEvent, at: int) -> tuple[tuple[str, Mark], ...]:
    """The marks (kind, mark) that a security event at the time `at` leaves."""
    password, at_risk = event.credential_type == BREACHABLE, ("reported", (at, _LEVELS.index("high")))
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
