"""The facts that the engine gathers about an attempt. A fact that could not be obtained is `Missing`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from riskd.core.bounds import Asn, Latitude, Longitude, Offset, Radius
from riskd.core.history import EMPTY, PROFILE_SECONDS, History

SOURCES: Final = {
    "place": "city and coordinates of the address, from the city database",
    "route": "operator of the address, from the ASN database",
    "agent": "browser, system and device class, from the user agent",
    "device_id": "first-party device identifier",
    "fingerprint": "device fingerprint",
    "languages": "language preferences",
    "timezone": "the device's timezone",
    "screen": "screen size",
    "attestation": "platform attestation",
    "reported_place": "coordinates reported by the client",
    "rtt": "round-trip time to the client",
    "behaviour": "how the sign-in form was filled in",
    "credential": "the result of the first factor",
    "session": "the session that the attempt belongs to",
    "federation": "the upstream assertion",
    "outside": "breach corpora and shared signals",
    "history": "what is remembered of the subject",
    "reputation": "what is remembered of the address, its network, the device and counted attributes",
}
"""The sources of facts. A policy names the sources that it expects, and the posture for a gap in each."""


WHYS: Final = {
    "not_sent": "the caller did not send it",
    "not_consented": "the person did not grant its purpose, so it was not used",
    "not_found": "the database does not know the address",
    "not_installed": "the database is not installed",
    "unroutable": "the address is not one of the public internet",
    "unreadable": "what is there could not be understood",
    "none_yet": "there is nothing yet",
    "unavailable": "riskd could not read it",
    "stale": "it was used, but its data are too old",
}
"""Reasons why a fact could not be obtained. With `stale` it was obtained."""
AGEING: Final = ("place", "route")
"""The sources whose facts can be stale: they come from databases that age after they were built."""


class Missing(Struct, frozen=True):
    """Stands for a fact that could not be obtained. `source` is one of `SOURCES`, `why` one of `WHYS`."""

    source: str
    why: str


class Place(Struct, frozen=True, gc=False):
    """The estimated location of an address, in degrees and kilometres.

    `radius_km` is the uncertainty, from the database if it gives one; else 300 km for a city-level answer (the 75th
    percentile of the disagreement between two free databases on home ISPs).
    """

    country: str
    latitude: Latitude
    longitude: Longitude
    radius_km: Radius
    region: str = ""
    city: str = ""
    timezone: str = ""
    utc_offset_min: Offset | None = None
    """Minutes east of UTC at the attempt's time."""


class Route(Struct, frozen=True, gc=False):
    """The network operator of an address. `anonymizer` is '', vpn, tor, proxy, relay or satellite."""

    asn: Asn
    organization: str = ""
    hosting: bool = False
    anonymizer: str = ""


Located = tuple[Place | Missing, Route | Missing, tuple[str, ...]]
"""Place and route of an address, and which of the two are stale: any of `AGEING`."""


class Agent(Struct, frozen=True, gc=False):
    """A parsed user agent. Versions are major versions; '' where unknown.

    `device_class` is desktop, mobile, tablet, tv, bot or other; `automated` marks scripts, headless
    browsers and crawlers.
    """

    browser: str
    browser_version: str = ""
    os: str = ""
    os_version: str = ""
    device_class: str = "other"
    automated: bool = False


class Memory(Struct, frozen=True):
    """What is remembered of one entity: its `profile`, which proven sign-ins taught, and its recent `activity`."""

    profile: History = EMPTY
    activity: History = EMPTY


NOTHING: Final = Memory()


class Remembered(Struct, frozen=True, kw_only=True):
    """The histories of every entity of an attempt, and how common its values are in the identity domain."""

    subject: Memory = NOTHING
    device: Memory = NOTHING
    fingerprint: Memory = NOTHING
    address: Memory = NOTHING
    network: Memory = NOTHING
    asn: Memory = NOTHING
    popularity: dict[str, History] = {}
    """By table (`country`, `browser`, ...), the domain-wide history of this attempt's value in that table."""
    domain: History = EMPTY
    """The history of the whole identity domain."""
    counted: dict[str, Memory] = {}
    """By counter, what is remembered of this attempt's value of its attribute: its activity, and as profile what the
    subject itself proved with it."""
    unread: tuple[str, ...] = ()
    """What could not be read, and is therefore empty: names of fields above, tables of `popularity`, `asn` for how
    common the network operator is, `operator` for its activity, and `counted.COUNTER`."""


class Context(Struct, frozen=True, kw_only=True):
    """All facts about one attempt. `now` is the attempt's time, in epoch seconds."""

    now: float
    values: dict[str, str]
    """By table of `history.PROFILE_TABLES`, this attempt's value, if it has one."""
    place: Place | Missing
    route: Route | Missing
    agent: Agent | Missing
    remembered: Remembered | Missing
    device_offset_min: int | None = None
    """The UTC offset of the device's timezone at the attempt's time, in minutes east."""
    measured_from: Place | None = None
    """Where the round-trip time was measured: the edge that terminates TLS, if the settings name it."""
    missing: tuple[Missing, ...] = ()
    """Every fact that could not be obtained, including those above."""
    stale: tuple[str, ...] = ()
    """The sources of `AGEING` whose facts above come from data older than the settings allow."""
    counted: Mapping[str, float] = {}
    """What counters counted before this attempt, see `counters.counts`. Counts that are unknown are absent."""
    kept: float = PROFILE_SECONDS
    """For how many seconds the policy keeps what sign-ins taught: a profile says nothing of earlier."""


def coverage(gaps: int, expected: int) -> float:
    """The share of the expected sources that were there, 0 to 1; 1 if none is expected."""
    return 1.0 - gaps / expected if expected else 1.0
