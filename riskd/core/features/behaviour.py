"""Behaviour: how the sign-in form was filled in: typing rhythm, pasting, time, pointer and failures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Agent, Context
from riskd.core.features.feature import Feature
from riskd.core.features.past import Past
from riskd.core.history import counted_since
from riskd.core.tallies import Tallies

TYPING_SCALE: Final = 1000
"""Histories store typing rhythms and their squares in whole thousandths."""
FEWEST_INTERVALS: Final = 5
TYPICAL_DEVIATION: Final = 0.25
"""Prior standard deviation of one person's mean log interval between sign-ins: about a quarter up or down."""
PRIOR: Final = 5.0
"""Weight of `TYPICAL_DEVIATION`, in sign-ins."""
ENOUGH: Final = 3
"""Fewest units of typing for a habit."""
FARTHEST: Final = 10.0
LONGEST_S: Final = 3600.0

FEATURES: Final = (
    Feature(
        name="typing_deviation",
        group="behaviour",
        unit="standard deviations, at most 10",
        direction=1,
        reason="UNFAMILIAR_TYPING",
        why="how far the mean log interval between keys is from the account's own; with little history its spread is "
        "drawn towards the usual one",
        text="The typing rhythm is not the account owner's.",
        sources=("behaviour", "history"),
        reads=("subject",),
        purpose="behaviour",
    ),
    Feature(
        name="pasted",
        group="behaviour",
        unit="0 or 1",
        direction=0,
        reason="PASTED",
        why="1 when the credential was pasted, as password managers do and attack tools too",
        text="The credential was pasted.",
        sources=("behaviour",),
        purpose="behaviour",
    ),
    Feature(
        name="form_seconds",
        group="behaviour",
        unit="s, at most 3600",
        direction=0,
        reason="FORM_TIME",
        why="seconds taken to fill in the form: nobody reads and fills in a form in a fraction of a second",
        text="The form was filled in unusually fast or slowly.",
        sources=("behaviour",),
        purpose="behaviour",
    ),
    Feature(
        name="pointer_absent",
        group="behaviour",
        unit="0 or 1",
        direction=1,
        reason="NO_POINTER",
        why="1 when no pointer moved on a desktop; missing on devices without one",
        text="No mouse was moved on a desktop computer.",
        sources=("behaviour", "agent"),
        purpose="behaviour",
    ),
    Feature(
        name="form_failures",
        group="behaviour",
        unit="tries",
        direction=1,
        reason="FORM_FAILURES",
        why="failed tries on this form before this attempt",
        text="The form was tried and failed before.",
        sources=("behaviour",),
        purpose="behaviour",
    ),
)
_NONE: Final = (math.nan,) * len(FEATURES)


def compute(attempt: Attempt, context: Context, past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    behaviour, agent = attempt.behaviour, context.agent
    if behaviour is None:
        return _NONE
    desktop = isinstance(agent, Agent) and agent.device_class == "desktop"
    pointer, seconds = behaviour.pointer_events, behaviour.form_seconds
    return (
        _typing_deviation(attempt, past) if past else math.nan,
        math.nan if behaviour.pasted is None else float(behaviour.pasted),
        math.nan if seconds is None else max(min(seconds, LONGEST_S), 0.0),
        float(pointer <= 0) if desktop and pointer is not None else math.nan,
        math.nan if behaviour.form_failures is None else float(behaviour.form_failures),
    )


def typing_rhythm(attempt: Attempt) -> float | None:
    """The mean natural logarithm of the typing intervals in ms, whatever their order; None below `FEWEST_INTERVALS`."""
    intervals = attempt.behaviour.typing_intervals_ms if attempt.behaviour else ()
    if len(intervals) < FEWEST_INTERVALS:
        return None
    if not min(intervals) >= 1.0:
        intervals = tuple([max(interval, 1.0) for interval in intervals])
    return math.fsum(map(math.log, intervals)) / len(intervals)


def typing_habit(tallies: Tallies, since: int) -> tuple[float, float] | None:
    """The mean of the subject's rhythms since the week `since`, and the standard deviation expected of the next one.

    None if there are fewer than `ENOUGH` units.
    """
    typing = tallies.typing
    n = counted_since(typing, "n", since)
    if n < ENOUGH:
        return None
    mean = counted_since(typing, "sum", since) / n / TYPING_SCALE
    variance = max(counted_since(typing, "square", since) / n / TYPING_SCALE - mean * mean, 0.0)
    shrunk = (n * variance + PRIOR * TYPICAL_DEVIATION**2) / (n + PRIOR)
    return mean, math.sqrt(shrunk * (1 + 1 / n))


def _typing_deviation(attempt: Attempt, past: Past) -> float:
    habit = typing_habit(past.profile.tallies, past.since)
    rhythm = typing_rhythm(attempt) if habit else None
    if habit is None or rhythm is None:
        return math.nan
    return min(abs(rhythm - habit[0]) / habit[1], FARTHEST)
