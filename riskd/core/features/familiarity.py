"""Familiarity: how much likelier the attempt's values are for anybody than for the subject."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Agent, Context
from riskd.core.familiarity import (
    ADDRESS_WEIGHTS,
    AGENT_WEIGHTS,
    log_likelihood_ratio,
    single_log_likelihood_ratio,
)
from riskd.core.features.feature import Feature
from riskd.core.features.past import Past

_ADDRESS: Final = ("address", "network", "asn", "country")
_AGENT: Final = ("agent", "browser", "os", "device_class")


def _feature(
    name: str,
    *,
    levels: str,
    reason: str,
    text: str,
    source: str,
    reads: tuple[str, ...],
    purpose: str = "device",
    of_address: bool = False,
) -> Feature:
    return Feature(
        name=name,
        group="familiarity",
        unit="nats, -10 to 10",
        direction=1,
        reason=reason,
        why=f"how unfamiliar {levels} to the account: ln p(value) / p(value | subject); a new value earns trust "
        "with age and use",
        text=text,
        sources=("history", source),
        reads=("subject", *reads, "domain"),
        purpose=purpose,
        of_address=of_address,
    )


FEATURES: Final = (
    _feature(
        "address_llr",
        levels="the address, network, operator and country are",
        reason="UNFAMILIAR_ADDRESS",
        text="The account is not usually used from this network address.",
        source="reputation",
        reads=_ADDRESS,
        purpose="security",
        of_address=True,
    ),
    _feature(
        "agent_llr",
        levels="the user agent, browser, system and device class are",
        reason="UNFAMILIAR_BROWSER",
        text="The account is not usually used with this browser.",
        source="agent",
        reads=_AGENT,
        purpose="security",
    ),
    _feature(
        "device_llr",
        levels="the device identifier is",
        reason="UNFAMILIAR_DEVICE",
        text="The account is not usually used on this device.",
        source="device_id",
        reads=("device",),
    ),
    _feature(
        "fingerprint_llr",
        levels="the device fingerprint is",
        reason="UNFAMILIAR_DEVICE",
        text="The device does not look like the ones this account is usually used on.",
        source="fingerprint",
        reads=("fingerprint",),
    ),
    _feature(
        "language_llr",
        levels="the preferred language is",
        reason="UNFAMILIAR_SETTINGS",
        text="The account is not usually used in this language.",
        source="languages",
        reads=("language",),
    ),
    _feature(
        "timezone_llr",
        levels="the timezone is",
        reason="UNFAMILIAR_SETTINGS",
        text="The account is not usually used in this timezone.",
        source="timezone",
        reads=("timezone",),
    ),
    _feature(
        "screen_llr",
        levels="the screen size is",
        reason="UNFAMILIAR_SETTINGS",
        text="The account is not usually used on a screen of this size.",
        source="screen",
        reads=("screen",),
    ),
)
LENIENCE: Final = 1 / 3
"""By how much the ratio of a known device is reduced before it is settled, so that a person with a new phone at home
who was challenged yesterday is not challenged again today."""
_LENIENT: Final = ("device", "fingerprint", "agent")
_NONE: Final = (math.nan,) * len(FEATURES)
_OTHERS: Final = ("device", "fingerprint", "language", "timezone", "screen")


def compute(_attempt: Attempt, context: Context, past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    if past is None or not past.settled:
        return _NONE
    values = [
        _backed_off(_ADDRESS, ADDRESS_WEIGHTS, past),
        _backed_off(_AGENT, AGENT_WEIGHTS, past) if isinstance(context.agent, Agent) else math.nan,
    ]
    settled, total, everyone, popularity = past.settled, past.total, past.everyone, past.popularity
    for table in _OTHERS:
        own = settled.get(table)
        if own is None:
            values.append(math.nan)
        else:
            llr = single_log_likelihood_ratio(own, total, popularity[table], everyone)
            values.append(llr if own else _on_probation(llr, table, past))
    return values


def _backed_off(tables: tuple[str, ...], weights: tuple[float, ...], past: Past) -> float:
    """The ratio over the levels for which the attempt has a value, with their weights scaled to a sum of 1."""
    settled = past.settled
    if tables[0] not in settled:
        return math.nan
    own = [settled[table] for table in tables if table in settled]
    if len(own) < len(tables):
        present = [weight for table, weight in zip(tables, weights, strict=True) if table in settled]
        whole = sum(present)
        tables, weights = tuple(filter(settled.__contains__, tables)), tuple([weight / whole for weight in present])
    counts = [past.popularity[table] for table in tables]
    llr = log_likelihood_ratio(own, past.total, counts, past.everyone, weights)
    return llr if own[0] else _on_probation(llr, tables[0], past)


def _on_probation(llr: float, table: str, past: Past) -> float:
    """The ratio of a value that is not settled: that of a new one, reduced by up to `LENIENCE` if it is a device's."""
    if llr > 0 and table in _LENIENT:
        return llr * (1.0 - min(past.probation.get(table, 0.0), LENIENCE))
    return llr
