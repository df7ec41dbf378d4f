"""Presence: what the account has always sent and this attempt leaves out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Context
from riskd.core.features.feature import Feature
from riskd.core.features.past import Past, standing
from riskd.core.history import PROFILE_TABLES

VOLUNTARY: Final = {
    "device": "a device identifier",
    "fingerprint": "a device fingerprint",
    "language": "a language",
    "timezone": "a timezone",
    "screen": "a screen size",
    "browser": "a recognised browser",
    "os": "a recognised operating system",
}
"""What a client can choose to send or not, by history table."""

FEATURES: Final = tuple(
    Feature(
        name=f"{table}_left_out",
        group="presence",
        unit="0 or 1",
        direction=1,
        reason="LEFT_OUT",
        why=f"1 when the account has always come with {what} and this attempt has none: it is then judged as a "
        "stranger's",
        text=f"The account is always used with {what}, but this attempt has none.",
        sources=("history",),
        reads=("subject",),
    )
    for table, what in VOLUNTARY.items()
)
_NONE: Final = (math.nan,) * len(FEATURES)
_NOTHING: Final = (0.0,) * len(FEATURES)


def compute(_attempt: Attempt, context: Context, past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    if past is None or not past.settled:
        return _NONE
    tallies, values = past.profile.tallies, context.values
    gone = [table for table in VOLUNTARY if table not in values and getattr(tallies, table)]
    if not gone:
        return _NOTHING
    return [float(table in gone and _always(past, table, context.now)) for table in VOLUNTARY]


def _always(past: Past, table: str, now: float) -> bool:
    """Whether the account always sends a value of this table: attempts without one are not settled.

    The table must have values. A full one may have forgotten some, so sign-ins that it lacks may have had a value:
    such an account is taken for one that always sends one.
    """
    known = getattr(past.profile.tallies, table)
    without = [] if len(known) >= PROFILE_TABLES[table].capacity else _without(past.account, list(known.values()))
    return not without or not standing(without, past.began, now)[1]


def _without(account: list[int], values: list[list[int]]) -> list[int]:
    """The tally of the sign-ins without a value of a table: all of them less those with one; [] if there are none."""
    first, left = account[0], account[1:]
    for tally in values:
        if not tally:  # it came with every sign-in
            return []
        for at, n in enumerate(tally[1:], tally[0] - first):
            if 0 <= at < len(left):
                left[at] -= n
    begun = next((at for at, n in enumerate(left) if n > 0), None)
    return [] if begun is None else [first + begun, *left[begun:]]
