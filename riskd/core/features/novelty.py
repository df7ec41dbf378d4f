"""Novelty: whether the subject was ever proven to have used this before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Context
from riskd.core.features.feature import Feature
from riskd.core.features.past import Past, standing
from riskd.core.tallies import UNCOUNTED


def _feature(what: str, *, article: str, source: str, purpose: str = "security", word: str = "") -> Feature:
    return Feature(
        name=f"new_{what}",
        group="novelty",
        unit="0 or 1",
        direction=1,
        reason=f"NEW_{what.upper()}",
        why=f"1 until this {word or what} has been used as long as the account, repeatedly over weeks, or with a key",
        text=f"this is {article} that the account has not been used with",
        sources=tuple(dict.fromkeys(("history", source))),
        purpose=purpose,
    )


FEATURES: Final = (
    _feature("country", article="a country", source="place"),
    _feature("asn", article="a network operator", source="route", word="network operator"),
    _feature("network", article="a network", source="history", word="/24 or /48 network"),
    _feature("device", article="a device", source="device_id", purpose="device"),
    _feature("browser", article="a browser", source="agent", word="browser, in any version,"),
    _feature("os", article="an operating system", source="agent", word="system, in any version,"),
)
_TABLES: Final = tuple(feature.name.removeprefix("new_") for feature in FEATURES)
_VERSIONED: Final = ("browser", "os")
_NONE: Final = (math.nan,) * len(FEATURES)


def compute(_attempt: Attempt, context: Context, past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    if past is None or not past.settled:
        return _NONE
    settled, values = past.settled, context.values
    return [
        math.nan
        if table not in settled
        else 0.0
        if settled[table]
        else float(not (table in _VERSIONED and _upgraded(past, table, values[table], context.now)))
        for table in _TABLES
    ]


def _upgraded(past: Past, table: str, value: str, now: float) -> bool:
    """Whether another version of it is settled: browsers replace themselves every few weeks."""
    product = value.rpartition(" ")[0]
    return any(
        standing(known or past.account, past.account, now)[1]
        for other, known in (getattr(past.profile.tallies, table) or UNCOUNTED).items()
        if product and other.rpartition(" ")[0] == product
    )
