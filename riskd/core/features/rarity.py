"""Rarity: how uncommon the attempt's values are in the whole identity domain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Agent, Context
from riskd.core.features.feature import Feature
from riskd.core.features.past import Past

ENOUGH: Final = 30
"""Fewest proven sign-ins in the domain for these features to be computed."""


def _feature(what: str, *, word: str, source: str, purpose: str = "security") -> Feature:
    return Feature(
        name=f"{what}_rarity",
        group="rarity",
        unit="nats, 0 and up",
        direction=1,
        reason=f"RARE_{what.upper()}",
        why=f"how rare this {word} is: -ln of its share of the domain's proven sign-ins; rare ones mark real takeovers "
        "too, not only simulated ones",
        text=f"Very few accounts sign in with this {word}.",
        sources=("reputation", source),
        reads=(what, "domain"),
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


def compute(_attempt: Attempt, context: Context, past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`; missing while the domain has fewer than `ENOUGH` proven sign-ins."""
    if past is None or past.everyone < ENOUGH:
        return _NONE
    values, unreadable = context.values, not isinstance(context.agent, Agent)
    everyone, popularity = past.everyone, past.popularity
    return [
        math.nan
        if table not in values or (unreadable and table == "agent")
        else math.log((everyone + 1) / (popularity[table] + 1))
        if popularity[table] < everyone
        else 0.0
        for table in _TABLES
    ]
