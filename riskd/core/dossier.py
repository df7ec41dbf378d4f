"""What is kept of one subject: a summary for people, an export as plain data, and its removal from shared records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import asdict, replace

from riskd.core import receipts, replies
from riskd.core.history import (
    DAY,
    EMPTY,
    PROFILE_TABLES,
    TABLES,
    WEEK,
    Delta,
    History,
    decode,
    encode,
    fold,
    last_visit,
    trusted,
    window,
)
from riskd.core.learn import Receipt
from riskd.core.marks import Mark
from riskd.core.pseudonym import Pseudonyms
from riskd.core.recall import RECEIPT, REPLY, WAIT
from riskd.core.requirement import Tier
from riskd.core.stored import PLACE, expiry, pack, payload
from riskd.core.tallies import SEEN, Tallies

OPEN: Final = 100
"""Most open assessments in a summary."""
_STEPS: Final = ("recovery", "recovered", "profile_update", "payment", "registration", "unmet")
_REPORTED: Final[dict[Mark, str]] = {
    (0,): "reported_low",
    (1,): "reported_medium",
    (2,): "reported_high",
    (): "no_more_reported",
}
_BREACHED: Final[dict[Mark, str]] = {(1,): "credential_breached", (0,): "credential_changed"}


class Seen(Struct, frozen=True):
    """A value in a subject's history, used for `units` in proven sign-ins between `first` and `last`.

    Both are the start of a week in epoch seconds, the finest time that is kept. `value` is a short pseudonym for values
    that are not kept as such. `trust` is in units, of which a proof teaches 1 and a strong proof 6.
    """

    table: str
    value: str
    first: float
    last: float
    units: int
    trust: float


class Step(Struct, frozen=True):
    """A sensitive step of a subject, a challenge that it did not meet, or a security event about it. `time` is in epoch
    seconds."""

    kind: str
    time: float


class Open(Struct, frozen=True):
    """An assessment whose outcomes can still be reported. `id` is its assessment id, unless the pepper was rotated
    since: then another id, by which its outcomes can also be reported. Times are epoch seconds."""

    id: str
    time: float
    journey: str
    tier: str
    units: int
    reported: tuple[str, ...]
    expires: float


class Summary(Struct, frozen=True, kw_only=True):
    """A summary for support staff. For an unknown subject, everything is empty or 0. Times are epoch seconds.

    `since` and `last` are the times of the first and last proven sign-in, `units` what they taught in total;
    `attempts` and `failures` are those of the last day.
    """

    since: float
    last: float
    units: int
    attempts: float
    failures: float
    seen: tuple[Seen, ...]
    steps: tuple[Step, ...]
    open: tuple[Open, ...]


def summary(profile: History, activity: History, found: Sequence[tuple[str, Receipt, float]], now: float) -> Summary:
    """Summarise a subject's histories and receipts. `found`: (assessment id, receipt, expiry) for each receipt.

    Steps and receipts are sorted newest first, the values of each table most used first.
    """
    sign_ins = profile.tallies.account
    seen = [
        Seen(table, value, tally[0] * WEEK, (tally[0] + len(tally) - 2) * WEEK, sum(tally[1:]), trusted(tally, now))
        for table in SEEN
        for value, tally in sorted(profile.tallies.of(table).items(), key=lambda item: -sum(item[1][1:]))
    ]
    steps = [Step(kind, mark[0]) for kind in _STEPS for mark in activity.marks.get(kind, ())]
    steps += [
        Step(words.get(mark[1:], kind), mark[0])
        for kind, words in (("reported", _REPORTED), ("breached", _BREACHED))
        for mark in activity.marks.get(kind, ())
    ]
    opened = [
        Open(name, kept.lesson.time, kept.journey, kept.tier.name, kept.taught, kept.reported, expires)
        for name, kept, expires in found
    ]
    return Summary(
        since=sign_ins[0] * WEEK if sign_ins else 0.0,
        last=last_visit(profile, now) or 0.0,
        units=sum(sign_ins[1:]),
        attempts=window("attempt_day", now, DAY).count(activity.tallies.attempt_day),
        failures=window("failure_day", now, DAY).count(activity.tallies.failure_day),
        seen=tuple(seen),
        steps=tuple(sorted(steps, key=lambda step: -step.time)),
        open=tuple(sorted(opened, key=lambda receipt: -receipt.time)[:OPEN]),
    )


def described(key: bytes, record: bytes, pseudonyms: Pseudonyms) -> dict[str, object]:
    """A stored record as plain data, with all fields by name, and bytes in hex.

    Raises msgspec.DecodeError if the record is not of the kind that its key says.
    """
    document, kind = payload(record), key[-1:]
    if kind == RECEIPT:
        return _plain(receipts.decode(document, key[:PLACE], pseudonyms)[0])
    if kind == REPLY:
        return _plain(replies.decode(document))
    if kind == WAIT:
        return {}
    history = decode(document)
    tallies = {table: values for table in TABLES if (values := history.tallies.of(table))}
    return _plain(replace(history, tallies=Tallies(**tallies)))


def _plain(value: Struct) -> dict[str, object]:
    return {name: _value(part) for name, part in asdict(value).items()}


def _value(value: object) -> object:
    if isinstance(value, Struct):
        return _plain(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Tier):
        return value.name
    if isinstance(value, dict):
        return {str(name): _value(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_value(part) for part in value]
    return value


def without_share(record: bytes, share: bytes) -> bytes | None:
    """Subtract a subject's share from a device's record. Returns the new record; None if nothing is left.

    Counts never fall below zero, so parts of the share may have expired from the record in the meantime.
    """
    left, subtracted = decode(payload(record)), decode(payload(share))
    for table in PROFILE_TABLES:
        for value, (first, *counts) in subtracted.tallies.of(table).items():
            for week, n in enumerate(counts, first):
                fold(left, Delta(b"", week * float(WEEK), 0.0, ((table, value, -n),), undo=True))
    return pack(expiry(record), encode(left)) if left != EMPTY else None
