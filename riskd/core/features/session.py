"""Session: how old the session and its authentication are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Context
from riskd.core.features.feature import Feature
from riskd.core.features.past import Past
from riskd.core.history import HOUR

FEATURES: Final = (
    Feature(
        name="session_age_h",
        group="session",
        unit="hours",
        direction=1,
        reason="OLD_SESSION",
        why="hours since the session began: its worth falls with time, how fast depends on the journey",
        text="The session is old.",
        sources=("session",),
    ),
    Feature(
        name="authentication_age_h",
        group="session",
        unit="hours",
        direction=1,
        reason="STALE_AUTHENTICATION",
        why="hours since the person last authenticated actively (RFC 9470 max_age)",
        text="The last active sign-in was long ago.",
        sources=("session",),
    ),
)


def compute(attempt: Attempt, context: Context, _past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    session, now = attempt.session, context.now
    if session is None:
        return (math.nan, math.nan)
    return (_hours(session.start_time, now), _hours(session.authentication_time, now))


def _hours(time: float | None, now: float) -> float:
    """Hours since `time`. A time in the future, by a clock that runs ahead, counts as now."""
    return math.nan if time is None else max((now - time) / HOUR, 0.0)
