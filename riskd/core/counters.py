"""Counters: how many attempts, failures and accounts there were lately with the same value of a custom attribute, and
whether it is the account's own.

A policy names the attributes that it counts. The counts are facts for its conditions, and no features: no model reads
them.
"""

from __future__ import annotations

from typing import Final

from riskd.core.context import Remembered
from riskd.core.history import DAY, HOUR, distinct, trusted, window

MOST: Final = 4
"""Most counters of a policy: each adds two records to the read of an attempt that has it, and one to the write."""
COUNTED: Final = "counted."
"""Prefix of a count's name in conditions, before the counter."""
COUNTS: Final = {
    "attempts_1h": "attempts in the last hour",
    "attempts_24h": "attempts in the last day",
    "failures_1h": "failed attempts in the last hour",
    "failures_24h": "failed attempts in the last day",
    "subjects_24h": "accounts in the last day, estimated",
    "own": "what this account has proven, in trusted units: 0.0 is nothing, from 2.0 the value is its own",
}
"""The counts of a counter, and what each of them counts."""


def source_of(count: str) -> str:
    """The source of a count: the account's history, or what all accounts did with the value."""
    return "history" if count == "own" else "reputation"


def counts(remembered: Remembered, now: float) -> dict[str, float]:
    """By `COUNTER.COUNT`, the counts of every counter until `now` that could be read."""
    hour, day = window("attempt", now, HOUR), window("attempt_day", now, DAY)
    found, unread = {}, remembered.unread
    for counter, memory in remembered.counted.items():
        if COUNTED + counter not in unread:
            tallies = memory.activity.tallies
            found[f"{counter}.attempts_1h"] = hour.count(tallies.attempt)
            found[f"{counter}.attempts_24h"] = day.count(tallies.attempt_day)
            found[f"{counter}.failures_1h"] = hour.count(tallies.failure)
            found[f"{counter}.failures_24h"] = day.count(tallies.failure_day)
            found[f"{counter}.subjects_24h"] = distinct(memory.activity, "subject", now, DAY)
        if "subject" not in unread:
            found[f"{counter}.own"] = trusted(memory.profile.tallies.account, now)
    return found
