"""Rhythm: whether the subject usually signs in at this time, and how much of its history is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Context
from riskd.core.familiarity import bounded, smoothed
from riskd.core.features.feature import Feature
from riskd.core.features.past import SETTLED, Past, standing, unseen_for
from riskd.core.history import DAY, WEEK, counted_since, last_visit
from riskd.core.tallies import UNCOUNTED

FEATURES: Final = (
    Feature(
        name="hour_llr",
        group="rhythm",
        unit="nats, -10 to 10",
        direction=1,
        reason="UNUSUAL_TIME",
        why="how unusual this hour and those beside it are for the account, compared with the domain's usual day: ln "
        "p(hour) / p(hour | subject)",
        text="The account is not usually used at this time of day.",
        sources=("history",),
        reads=("subject", "domain"),
        true_above=1.0,
    ),
    Feature(
        name="weekday_llr",
        group="rhythm",
        unit="nats, -10 to 10",
        direction=1,
        reason="UNUSUAL_TIME",
        why="how unusual this weekday is for the account, compared with an even week: ln p(weekday) / p(weekday | "
        "subject)",
        text="The account is not usually used on this day of the week.",
        sources=("history",),
        reads=("subject",),
        true_above=1.0,
    ),
    Feature(
        name="days_since_visit",
        group="rhythm",
        unit="days",
        direction=0,
        reason="LONG_ABSENCE",
        why="days since the last proven sign-in: a takeover of a dormant account goes unnoticed. With "
        "`registration_time`, of an account that is not remembered the fewest that are possible, if 30 or more",
        text="The account has not been used for a while.",
        sources=("history",),
        reads=("subject",),
    ),
    Feature(
        name="history_depth",
        group="rhythm",
        unit="sign-ins, decayed",
        direction=0,
        reason="SHORT_HISTORY",
        why="how many proven sign-ins are remembered: the more there are, the more any surprise counts",
        text="Little is known about this account yet.",
        sources=("history",),
        reads=("subject",),
    ),
    Feature(
        name="account_weeks",
        group="rhythm",
        unit="weeks, at most 26",
        direction=0,
        reason="SHORT_HISTORY",
        why="weeks since the earliest proven sign-in that is still remembered",
        text="The account has been known for only a short time.",
        sources=("history",),
        reads=("subject",),
    ),
)
ABSENT: Final = 30 * DAY
"""Fewest seconds without a sign-in that are known of an account that is not remembered. Fewer would say of a newcomer
that it was here a short time ago."""
_NONE: Final = (math.nan,) * len(FEATURES)
_AROUND: Final = {str(hour): tuple(str((hour + by) % 24) for by in (-1, 0, 1)) for hour in range(24)}


def compute(attempt: Attempt, context: Context, past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    if past is None:
        return _NONE
    if not past.settled:
        return _unremembered(attempt, context, past)
    tallies, now = past.profile.tallies, context.now
    hour, weekday = context.values.get("hour"), context.values.get("weekday")
    visit = last_visit(past.profile, now)
    return (
        _hour(past, hour, now) if hour else math.nan,
        _llr([(tallies.weekday or UNCOUNTED).get(weekday)], past, now, 1 / 7) if weekday else math.nan,
        max((now - visit) / DAY, 0.0) if visit else math.nan,
        past.total,
        float(max(int(now // WEEK) - past.account[0], 0)),
    )


def _unremembered(attempt: Attempt, context: Context, past: Past) -> Sequence[float]:
    """The values for an account of which no sign-in is remembered: missing, except how long it has rested at least."""
    if attempt.registration_time is None:
        return _NONE
    unseen = unseen_for(past.domain, attempt.registration_time, context.now, context.kept)
    return (math.nan, math.nan, unseen / DAY if unseen >= ABSENT else math.nan, math.nan, math.nan)


def _hour(past: Past, hour: str, now: float) -> float:
    """`hour_llr`. The domain's share is shrunk towards an even distribution over the day, with 24 sign-ins' weight."""
    hours, around = past.profile.tallies.hour or UNCOUNTED, _AROUND[hour]
    common = sum([counted_since(past.domain.hour, at, past.since) for at in around])
    return _llr([*map(hours.get, around)], past, now, (common + 3.0) / (past.everyone + 24.0))


def _llr(tallies: list[list[int] | None], past: Past, now: float, population: float) -> float:
    """The log-likelihood ratio of the values with these tallies. If none of them is settled, they count as never used,
    as a guard against poisoning."""
    began, total, own = past.began, past.total, 0.0
    for known in tallies:
        if known:
            own += standing(known, began, now)[0]
    if own < SETTLED and not any(standing(known, began, now)[1] for known in tallies if known):
        own = 0.0
    return bounded(population / smoothed(min(own / total, 1.0), total, population))
