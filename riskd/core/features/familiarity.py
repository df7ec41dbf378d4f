"""Familiarity: how much likelier this attempt's values are for anybody than for the subject."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Agent, Context
from riskd.core.familiarity import ADDRESS_WEIGHTS, AGENT_WEIGHTS, log_likelihood_ratio
from riskd.core.features.feature import Feature
from riskd.core.features.past import Past


def _feature(name: str, *, levels: str, reason: str, text: str, source: str, purpose: str = "device") -> Feature:
    return Feature(
        name=name,
        group="familiarity",
        unit="nats, -10 to 10",
        direction=1,
        reason=reason,
        why=f"ln p(value) / p(value given the subject) over {levels}; a new value earns trust with age and use",
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


def compute(_attempt: Attempt, context: Context, past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    if past is None or not past.trust:
        return _NONE
    return (
        _backed_off(_ADDRESS, past),
        _backed_off(_AGENT, past) if isinstance(context.agent, Agent) else math.nan,
        *[_plain(table, past) if table in past.trust else math.nan for table in _OTHERS],
    )


def _plain(table: str, past: Past) -> float:
    own, settled = past.trust[table]
    counts = (past.popularity[table],)
    llr = log_likelihood_ratio((own if settled else 0.0,), past.total, counts, past.everyone, (1.0,))
    return llr if settled else _on_probation(llr, own)


def _backed_off(levels: _Levels, past: Past) -> float:
    """Over the levels that this attempt has a value for, their weights brought back to a sum of 1."""
    trust = past.trust
    if levels[0][0] not in trust:
        return math.nan
    present = [level for level in levels if level[0] in trust]
    tables, weights = zip(*present, strict=True)
    if len(present) < len(levels):
        whole = sum(weights)
        weights = tuple(weight / whole for weight in weights)
    known = [trust[table] for table in tables]
    llr = log_likelihood_ratio(
        [own if settled else 0.0 for own, settled in known],
        past.total,
        [past.popularity[table] for table in tables],
        past.everyone,
        weights,
    )
    own, settled = known[0]
    return llr if settled else _on_probation(llr, own)


def _on_probation(llr: float, own: float) -> float:
    """The poison guard: until it is settled a value loses its surprise with trust, and earns no credit by itself."""
    return llr * (1.0 - own) if llr > 0 else llr
