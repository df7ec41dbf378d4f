"""Rarity: how uncommon this attempt's values are in the whole identity domain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Agent, Context, Missing
from riskd.core.features.feature import Feature
from riskd.core.features.past import everyone, popularity

ENOUGH: Final = 30.0
"""Proven sign-ins in the domain below which nothing can be called rare."""


def _feature(what: str, *, word: str, source: str, purpose: str = "security") -> Feature:
    return Feature(
        name=f"{what}_rarity",
        group="rarity",
        unit="nats, 0 and up",
        direction=1,
        reason=f"RARE_{what.upper()}",
        why=f"-ln of the share of the domain's proven sign-ins with this {word}; rarity transfers to real takeovers",
        text=f"hardly anybody signs in with this {word}",
        sources=("reputation", source),
        purpose=purpose,
    )


FEATURES: Final = (
    _feature("country", word="country", source="place"),
    _feature("asn", word="network operator", source="route"),
    _feature("agent", word="user agent", source="agent"),
    _feature("language", word="language", source="languages", purpose="device"),
    _feature("timezone", word="timezone", source="timezone", purpose="device"),
)
_TABLES: Final = tuple(feature.name.removesuffix("_rarity") for feature in FEATURES)
_NONE: Final = (math.nan,) * len(FEATURES)


def compute(_: Attempt, context: Context) -> Sequence[float]:
    """The values of `FEATURES`; missing while the domain has fewer than `ENOUGH` proven sign-ins."""
    remembered, values, now = context.remembered, context.values, context.now
    if isinstance(remembered, Missing):
        return _NONE
    total = everyone(remembered, now)
    if total < ENOUGH:
        return _NONE
    readable = isinstance(context.agent, Agent)
    return [
        math.log((total + 1.0) / (popularity(remembered, table, now) + 1.0))
        if table in values and (readable or table != "agent")
        else math.nan
        for table in _TABLES
    ]
