"""Novelty: whether the subject was ever proven to have used this before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Context
from riskd.core.features.feature import Feature
from riskd.core.features.past import tally, taught
from riskd.core.history import WEEK, trusted


def _feature(what: str, *, article: str, source: str, purpose: str = "security", word: str = "") -> Feature:
    return Feature(
        name=f"new_{what}",
        group="novelty",
        unit="0 or 1",
        direction=1,
        reason=f"NEW_{what.upper()}",
        why=f"1 until this {word or what} has been used as long as the account, for two weeks, or repeatedly",
        text=f"this is {article} that the account has not been used with",
        sources=("history", source),
        purpose=purpose,
    )


FEATURES: Final = (
    _feature("country", article="a country", source="place"),
    _feature("asn", article="a network operator", source="route", word="network operator"),
    _feature("network", article="a network", source="reputation", word="/24 or /48 network"),
    _feature("device", article="a device", source="device_id", purpose="device"),
    _feature("browser", article="a browser", source="agent", word="browser and version"),
    _feature("os", article="an operating system", source="agent", word="system and version"),
)
_TABLES: Final = tuple(feature.name.removeprefix("new_") for feature in FEATURES)
_NONE: Final = (math.nan,) * len(FEATURES)


def compute(_: Attempt, context: Context) -> Sequence[float]:
    """The values of `FEATURES`."""
    past = taught(context)
    if past is None:
        return _NONE
    tallies, values, now = past.tallies, context.values, context.now
    account = tallies["sign_in"][""]
    return [
        is_new(tally(tallies, table, values[table]), account, now) if table in values else math.nan for table in _TABLES
    ]


def is_new(known: list[int] | None, account: list[int], now: float) -> float:
    """1.0 until a value is settled: as old as the account, two weeks old, or worth a whole trusted unit.

    So the first sign-in after a registration is not from a new country, and one stolen pass does not
    settle the thief's.
    """
    if not known:
        return 1.0
    settled = known[0] <= account[0] or known[0] <= int(now // WEEK) - 2 or trusted(known, now) >= 1.0
    return float(not settled)
