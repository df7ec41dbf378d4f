"""Consistency: whether what the client reports about itself is consistent, and fits its address."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from riskd.core.attempt import Attempt, Device, Network
from riskd.core.context import Agent, Context, Place, Route
from riskd.core.features.feature import Feature
from riskd.core.features.geodesy import distance_km
from riskd.core.features.past import Past

KM_PER_MS: Final = 100.0
"""Distance per millisecond of round-trip time, at the speed of light in fibre, there and back."""
SLOWEST_MS: Final = 60_000.0

FEATURES: Final = (
    Feature(
        name="timezone_gap_h",
        group="consistency",
        unit="hours, 0 to 12",
        direction=1,
        reason="TIMEZONE_MISMATCH",
        why="hours between the device's clock and that of the address's place: attackers who borrow an address often "
        "keep their own time; missing behind relays and satellites, whose place is not the person's",
        text="The device's timezone does not match its location.",
        sources=("timezone", "place"),
        purpose="device",
    ),
    Feature(
        name="language_mismatch",
        group="consistency",
        unit="0 or 1",
        direction=0,
        reason="LANGUAGE_MISMATCH",
        why="1 when the languages name regions and none of them is the country of the address, which is true of "
        "travellers too",
        text="The device's language does not match the country of the address.",
        sources=("languages", "place"),
        purpose="device",
    ),
    Feature(
        name="hints_mismatch",
        group="consistency",
        unit="0 or 1",
        direction=1,
        reason="FORGED_BROWSER",
        why="1 when the client hints (Sec-CH-UA-Platform, -Mobile) contradict the user agent; missing without hints",
        text="The browser contradicts itself about the system that it runs on.",
        sources=("agent",),
    ),
    Feature(
        name="reported_gap_km",
        group="consistency",
        unit="km",
        direction=1,
        reason="PLACE_MISMATCH",
        why="distance beyond both uncertainty radii between the reported coordinates and the place of the address; "
        "missing behind anonymisers",
        text="The location that the device reports does not match its address.",
        sources=("reported_place", "place"),
        purpose="location",
    ),
    Feature(
        name="rtt_ms",
        group="consistency",
        unit="ms",
        direction=0,
        reason="UNUSUAL_LATENCY",
        why="round-trip time to the client: a long one often means a relay, and Wiefling 2021 finds it nearly as "
        "telling as the address",
        text="The connection is unusually slow or fast for its location.",
        sources=("rtt",),
    ),
    Feature(
        name="rtt_shortfall_km",
        group="consistency",
        unit="km",
        direction=1,
        reason="PLACE_TOO_FAR",
        why="how much nearer the client must be than the place of its address, at 100 km for each ms of round trip "
        "(light in fibre); missing unless the setting `geo.edge` says where the time is measured",
        text="The client answers faster than light could travel from the location of its address.",
        sources=("rtt", "place"),
    ),
    Feature(
        name="forwarded_hops",
        group="consistency",
        unit="addresses",
        direction=0,
        reason="FORWARDED_CHAIN",
        why="number of addresses in X-Forwarded-For as received",
        text="The connection passed through several proxies.",
        of_address=True,
    ),
    Feature(
        name="forwarded_mismatch",
        group="consistency",
        unit="0 or 1",
        direction=0,
        reason="FORWARDED_CHAIN",
        why="1 when the chain begins with another address than the client's: a proxy in front of it, or an invented "
        "header",
        text="The chain of proxies starts with a different address.",
        of_address=True,
    ),
)
_ELSEWHERE: Final = ("relay", "satellite")
"""Anonymizers whose honest users are elsewhere than their address. For a VPN, Tor or a proxy the gap is computed."""
_SYSTEMS: Final = {
    "windows": ("Windows",),
    "macos": ("Macintosh", "Mac OS X"),
    "ios": ("iPhone", "iPad", "iPod", "Macintosh"),
    "android": ("Android", "Linux"),
    "chrome os": ("CrOS",),
    "chromium os": ("CrOS",),
    "chromeos": ("CrOS",),
    "linux": ("Linux", "X11"),
}
"""By platform (client hint), the words that a user agent has on it. Desktop modes of Android and iPad claim Linux and
Macintosh."""
_MOBILE: Final = "Mobi"
_WORDS: Final = (*dict.fromkeys(word for words in _SYSTEMS.values() for word in words), _MOBILE)


def compute(attempt: Attempt, context: Context, _past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    place, device, network = context.place, attempt.device, attempt.network
    located = place if isinstance(place, Place) else None
    rtt = None if network.rtt_ms is None else max(min(network.rtt_ms, SLOWEST_MS), 0.0)
    return (
        _timezone_gap(context, located),
        _language_mismatch(device, located) if device else math.nan,
        _hints_mismatch(device.user_agent, device.platform, device.mobile)
        if device and isinstance(context.agent, Agent)
        else math.nan,
        _reported_gap(attempt, context, located),
        math.nan if rtt is None else rtt,
        math.nan if rtt is None else _shortfall(rtt, context.measured_from, located),
        float(len(network.forwarded)),
        float(begins_elsewhere(network)) if network.forwarded else math.nan,
    )


def _timezone_gap(context: Context, place: Place | None) -> float:
    if place is None or place.utc_offset_min is None or context.device_offset_min is None:
        return math.nan
    if isinstance(context.route, Route) and context.route.anonymizer in _ELSEWHERE:
        return math.nan
    apart = abs(context.device_offset_min - place.utc_offset_min) % 1440
    return min(apart, 1440 - apart) / 60


def _language_mismatch(device: Device, place: Place | None) -> float:
    if place is None or not place.country:
        return math.nan
    regions = _regions(device.languages)
    return float(place.country.upper() not in regions) if regions else math.nan


@lru_cache(1024)
def _regions(tags: tuple[str, ...]) -> frozenset[str]:
    return frozenset(region for tag in tags if (region := _region(tag)))


def _region(tag: str) -> str:
    """The two-letter region subtag of a BCP 47 tag, '' without one (`zh-Hant-TW` -> `TW`)."""
    for part in tag.split("-")[1:]:
        if len(part) == 1:
            break
        if len(part) == 2 and part.isalpha():
            return part.upper()
    return ""


@lru_cache(1024)
def _hints_mismatch(agent: str, platform: str, mobile: bool | None) -> float:
    names = _SYSTEMS.get(platform.lower())
    if names is None and mobile is None:
        return math.nan
    wrong_system = names is not None and not any(name in agent for name in names)
    wrong_class = mobile is not None and mobile != (_MOBILE in agent)
    return float(wrong_system or wrong_class)


@lru_cache(1024)
def systems(agent: str) -> str:
    """The words of a user agent that client hints are compared with. They give the same result as the whole text."""
    return " ".join([word for word in _WORDS if word in agent])


def _reported_gap(attempt: Attempt, context: Context, place: Place | None) -> float:
    route, reported = context.route, attempt.place
    if place is None or reported is None or (isinstance(route, Route) and route.anonymizer):
        return math.nan
    apart = distance_km(reported.latitude, reported.longitude, place.latitude, place.longitude)
    return max(apart - place.radius_km - max(reported.accuracy_m or 0.0, 0.0) / 1000, 0.0)


def _shortfall(rtt_ms: float, measured_from: Place | None, place: Place | None) -> float:
    if measured_from is None or place is None:
        return math.nan
    apart = distance_km(place.latitude, place.longitude, measured_from.latitude, measured_from.longitude)
    return max(apart - place.radius_km - measured_from.radius_km - rtt_ms * KM_PER_MS, 0.0)


def begins_elsewhere(network: Network) -> bool:
    """Whether X-Forwarded-For begins with another address than the client's."""
    chain = network.forwarded
    return bool(chain) and chain[0].strip().lower() != network.client_ip.strip().lower()
