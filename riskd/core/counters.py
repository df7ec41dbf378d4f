"""Counters: how many attempts, failures and accounts there were lately with the same value of a custom attribute.

A policy names the attributes that it counts. The counts are facts for its conditions, and no features: no model reads
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from riskd.core.history import DAY, HOUR, History, distinct, window

MOST: Final = 4
"""Most counters of a policy: each of them adds a record to the read and to the write of an attempt that has it."""
COUNTED: Final = "counted."
"""Prefix of a count's name in conditions, before the counter."""
COUNTS: Final = {
    "attempts_1h": "attempts in the last hour",
    "attempts_24h": "attempts in the last day",
    "failures_1h": "failed attempts in the last hour",
    "failures_24h": "failed attempts in the last day",
    "subjects_24h": "accounts in the last day, estimated",
}
"""The counts of a counter, and what each of them counts."""


def counts(activities: Mapping[str, History], now: float) -> dict[str, float]:
    """By `COUNTER.COUNT`, the counts of every counter until `now`, from the activity of the value that it counts."""
    hour, day = window("attempt", now, HOUR), window("attempt_day", now, DAY)
    found = {}
    for counter, activity in activities.items():
        tallies = activity.tallies
        found[f"{counter}.attempts_1h"] = hour.count(tallies.attempt)
        found[f"{counter}.attempts_24h"] = day.count(tallies.attempt_day)
        found[f"{counter}.failures_1h"] = hour.count(tallies.failure)
        found[f"{counter}.failures_24h"] = day.count(tallies.failure_day)
        found[f"{counter}.subjects_24h"] = distinct(activity, "subject", now, DAY)
    return found
