"""Sequence: sensitive steps of the account lately. Takeovers go from recovery to profile update to payment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Context, Missing
from riskd.core.features.feature import Feature
from riskd.core.features.past import Past
from riskd.core.history import DAY, HOUR, SEQUENCE_SECONDS, History, newest, window

LONG_AGO_H: Final = SEQUENCE_SECONDS / HOUR
"""The value for 'not in the last 30 days', in hours."""
SENSITIVE: Final = ("recovery", "profile_update", "payment")


def _hours_since(step: str, *, why: str, text: str, reason: str) -> Feature:
    return Feature(
        name=f"hours_since_{step}",
        group="sequence",
        unit="hours, 720 for not lately",
        direction=-1,
        reason=reason,
        why=why,
        text=text,
        sources=("history",),
        reads=("subject",),
    )


FEATURES: Final = (
    _hours_since(
        "recovery",
        why="hours since a recovery was completed: the person who completed it may not be the owner",
        text="The account was recovered recently.",
        reason="RECENT_RECOVERY",
    ),
    Feature(
        name="recovery_attempts_24h",
        group="sequence",
        unit="attempts",
        direction=1,
        reason="RECENT_RECOVERY",
        why="recoveries begun in the last day",
        text="Recovery of the account was attempted recently.",
        sources=("history",),
        reads=("subject",),
    ),
    _hours_since(
        "profile_update",
        why="hours since a change of contact data or authenticators was requested",
        text="Contact data or authenticators were changed recently.",
        reason="RECENT_CHANGE",
    ),
    _hours_since(
        "registration",
        why="hours since the account was registered, as riskd saw or `registration_time` says: new accounts are often "
        "made for abuse, and have no habits yet",
        text="The account is new.",
        reason="NEW_ACCOUNT",
    ),
    Feature(
        name="sensitive_kinds_24h",
        group="sequence",
        unit="0 to 3",
        direction=1,
        reason="SENSITIVE_SEQUENCE",
        why="how many of recovery, profile update and payment were tried in the last day, this attempt included",
        text="Several sensitive steps follow one another.",
        sources=("history",),
        reads=("subject",),
    ),
)
_NONE: Final = (math.nan,) * len(FEATURES)


def compute(attempt: Attempt, context: Context, _past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    remembered, now = context.remembered, context.now
    if isinstance(remembered, Missing):
        return _NONE
    activity = remembered.subject.activity
    day = window("journey_day", now, DAY)
    tried = {journey: day.count(activity.tallies.journey_day, journey) for journey in SENSITIVE}
    registered = _hours(activity, "registration", now)
    if attempt.registration_time is not None:  # the later of what riskd saw and what the caller states
        registered = min(registered, max((now - attempt.registration_time) / HOUR, 0.0))
    return (
        _hours(activity, "recovered", now),
        tried["recovery"],
        _hours(activity, "profile_update", now),
        registered,
        float(len([journey for journey, count in tried.items() if count > 0 or journey == attempt.journey])),
    )


def _hours(activity: History, kind: str, now: float) -> float:
    """Hours since the newest mark of this kind. A mark in the future, by a clock that runs ahead, counts as now."""
    mark = newest(activity, kind, now) if activity.marks else None
    return min(max((now - mark[0]) / HOUR, 0.0), LONG_AGO_H) if mark else LONG_AGO_H
