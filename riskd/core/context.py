"""The facts that the engine gathers for an attempt. A fact that could not be had is `Missing`."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from riskd.core.bounds import Asn, Latitude, Longitude, Offset, Radius
from riskd.core.history import EMPTY, History

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
    "behaviour": "how the form was filled in",
    "credential": "whether the first factor was checked",
    "session": "the session that the attempt belongs to",
    "federation": "the upstream assertion",
    "outside": "breach corpora and shared signals",
    "history": "what is remembered of the subject",
    "reputation": "what is remembered of the address, its network and the device",
}
"""Where facts come from. A policy names the sources that it expects, and what a gap in each means."""


WHYS: Final = (
    "not_sent",
    "not_consented",
    "not_found",
    "not_installed",
    "unroutable",
    "unreadable",
    "none_yet",
    "unavailable",
    "stale",
)
"""Why a fact could not be had; or, of one that was had and used, that it comes from data that are too old."""
AGEING: Final = ("place", "route")
"""Sources whose facts can be stale: they come from databases that are built once and age from then on."""


class Missing(Struct, frozen=True):
    """A fact that could not be had. A value, so that the core can decide with it. `why` is one of `WHYS`."""

    source: str
    why: str


class Place(Struct, frozen=True, gc=False):
    """Where an address is believed to be. Degrees and kilometres.

    `radius_km` is the uncertainty: the database's own where it has one, else 300 km for a city-level
    answer (the 75th percentile of disagreement between two free databases on home ISPs).
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
    """Who carries the address. `anonymizer` is '', vpn, tor, proxy, relay or satellite."""

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
    """What is remembered of one entity: what its owners taught, and what was tried lately."""

    profile: History = EMPTY
    activity: History = EMPTY


NOTHING: Final = Memory()


class Remembered(Struct, frozen=True, kw_only=True):
    """The histories of every entity of an attempt, and how common its values are in the domain."""

    subject: Memory = NOTHING
    device: Memory = NOTHING
    fingerprint: Memory = NOTHING
    address: Memory = NOTHING
    network: Memory = NOTHING
    asn: Memory = NOTHING
    popularity: dict[str, History] = {}
    """Table name (`country`, `browser`, ...) to the history of this attempt's value in that table."""
    domain: History = EMPTY


class Context(Struct, frozen=True, kw_only=True):
    """All facts of one attempt. `now` is the attempt's time, seconds since the Unix epoch."""

    now: float
    values: dict[str, str]
    """This attempt's value in each table of `history.PROFILE_TABLES` that has one."""
    place: Place | Missing
    route: Route | Missing
    agent: Agent | Missing
    remembered: Remembered | Missing
    device_offset_min: int | None = None
    """Minutes east of UTC of the device's timezone at the attempt's time."""
    measured_from: Place | None = None
    """Where the round-trip time was measured, if the deployment says so: the edge that ends TLS."""
    missing: tuple[Missing, ...] = ()
    """Every fact that could not be had, the ones above included."""
    stale: tuple[str, ...] = ()
    """Sources of `AGEING` whose facts are above and come from data that are older than the deployment trusts."""
