"""Familiarity: how much likelier this attempt's values are for anybody than for the subject."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Agent, Context
from riskd.core.familiarity import ADDRESS_WEIGHTS, AGENT_WEIGHTS, log_likelihood_ratio
from riskd.core.features.feature import Feature
from riskd.core.features.past import Past, everyone, popularity, tally, taught
from riskd.core.history import trusted


def _feature(name: str, *, levels: str, reason: str, text: str, source: str, purpose: str = "device") -> Feature:
    return Feature(
        name=name,
        group="familiarity",
        unit="nats, -10 to 10",
        direction=1,
        reason=reason,
        why=f"ln p / p(subject) over {levels} (Freeman 2016); a new value earns trust with age and use",
        text=text,
        sources=("history", source),
        purpose=purpose,
    )


FEATURES: Final = (
    _feature(
        "address_llr",
        levels="address, network, operator, country",
        reason="UNFAMILIAR_ADDRESS",
        text="the network address is not one that this account is used from",
        source="reputation",
        purpose="security",
    ),
    _feature(
        "agent_llr",
        levels="user agent, browser, system, device class",
        reason="UNFAMILIAR_BROWSER",
        text="the browser is not one that this account is used with",
        source="agent",
        purpose="security",
    ),
    _feature(
        "device_llr",
        levels="the device identifier",
        reason="UNFAMILIAR_DEVICE",
        text="the device is not one that this account is used on",
        source="device_id",
    ),
    _feature(
        "fingerprint_llr",
        levels="the device fingerprint",
        reason="UNFAMILIAR_DEVICE",
        text="the device does not look like one that this account is used on",
        source="fingerprint",
    ),
    _feature(
        "language_llr",
        levels="the preferred language",
        reason="UNFAMILIAR_SETTINGS",
        text="the language is not one that this account is used in",
        source="languages",
    ),
    _feature(
        "timezone_llr",
        levels="the timezone",
        reason="UNFAMILIAR_SETTINGS",
        text="the timezone is not one that this account is used in",
        source="timezone",
    ),
    _feature(
        "screen_llr",
        levels="the screen size",
        reason="UNFAMILIAR_SETTINGS",
        text="the screen is not one that this account is used on",
        source="screen",
    ),
)
_NONE: Final = (math.nan,) * len(FEATURES)
_Levels = tuple[tuple[str, float], ...]
_ADDRESS: Final = tuple(zip(("address", "network", "asn", "country"), ADDRESS_WEIGHTS, strict=True))
_AGENT: Final = tuple(zip(("agent", "browser", "os", "device_class"), AGENT_WEIGHTS, strict=True))
_OTHERS: Final = ("device", "fingerprint", "language", "timezone", "screen")


def compute(_: Attempt, context: Context) -> Sequence[float]:
    """The values of `FEATURES`."""
    past, values = taught(context), context.values
    if past is None:
        return _NONE
    total = everyone(past.remembered, past.now)
    return (
        _backed_off(_ADDRESS, values, past, total),
        _backed_off(_AGENT, values, past, total) if isinstance(context.agent, Agent) else math.nan,
        *(_plain(table, values[table], past, total) if table in values else math.nan for table in _OTHERS),
    )


def _plain(table: str, value: str, past: Past, total: float) -> float:
    own = trusted(tally(past.tallies, table, value), past.now)
    return log_likelihood_ratio((own,), past.total, (popularity(past.remembered, table, past.now),), total, (1.0,))


def _backed_off(levels: _Levels, values: dict[str, str], past: Past, total: float) -> float:
    """Over the levels that this attempt has a value for, their weights brought back to a sum of 1."""
    present = [level for level in levels if level[0] in values]
    if not present or present[0] is not levels[0]:
        return math.nan
    whole = 1.0 if len(present) == len(levels) else sum(weight for _, weight in present)
    return log_likelihood_ratio(
        [trusted(tally(past.tallies, table, values[table]), past.now) for table, _ in present],
        past.total,
        [popularity(past.remembered, table, past.now) for table, _ in present],
        total,
        [weight / whole for _, weight in present],
    )
