"""A small world without databases: operators and cities as declared, addresses in rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from riskd.adapters.timezones import Timezones
from riskd.config.paths import data_directory
from riskd.core.address import Address
from riskd.core.attempt import Attempt
from riskd.core.context import Located, Place, Route
from riskd.offline.truth import Truth
from riskd.offline.world.addresses import Pools, Spot
from riskd.offline.world.assumptions import DEFAULTS, Values
from riskd.offline.world.run import truth_of
from riskd.offline.world.tables import Tables, read_tables
from riskd.offline.world.world import Asked, OpenDoor, Settings, World

TABLES: Final[Tables] = read_tables(data_directory("world"))
ZONES: Final = ("Europe/Oslo", "America/New_York", "Asia/Bangkok")


def blocks() -> Iterator[tuple[int, int, Spot]]:
    """64 networks of each operator in four cities of its country; global operators have some in every country."""
    codes = [each.code for each in TABLES.countries]
    for number, (asn, country) in enumerate(dict.fromkeys((each.asn, each.country) for each in TABLES.operators)):
        for at in range(64):
            code = country or codes[at % len(codes)]
            where = codes.index(code)
            spot = Spot(code, f"{code}{at % 4}", 5.0 + 3 * where + at % 4 / 8, 10.0 * where - 90, ZONES[where % 3])
            yield asn, (40 << 24) + (number << 16) + (at << 8), spot


POOLS: Final = Pools(TABLES.operators, blocks())
LIVELY: Final = {
    **DEFAULTS,
    "share_customer": 0.66,
    "share_workforce": 0.28,
    "visits_median": 58.0,
    "visits_spread": 1.15,
}
"""Few customers who come every week show in some days what many would in a year."""
KINDS: Final = {each.asn: each.kind for each in TABLES.operators if not each.country}


class SmallGeo:
    """The geo facts of that world."""

    _zones = Timezones()

    def locate(self, address: Address, time: float) -> Located:
        """See `GeoLookup`."""
        asn, spot = POOLS.owner(address.value & ~255)
        kind = KINDS.get(asn, "")
        place = Place(spot.country, spot.latitude, spot.longitude, 100.0, "", spot.city, spot.timezone)
        return place, Route(asn, "", kind == "hosting", kind if kind in ("vpn", "relay") else ""), ()

    def offset(self, timezone: str, time: float) -> int | None:
        """See `GeoLookup`."""
        return self._zones.offset(timezone, time)


def world(**wanted: object) -> World:
    """A world with these settings."""
    return assumed(LIVELY, msgspec.convert(wanted, Settings))


def assumed(values: Values, settings: Settings) -> World:
    """A world with other assumptions."""
    return World(settings, values, TABLES, POOLS)


def attempts(**wanted: object) -> list[tuple[Attempt, Truth]]:
    """The attempts in a world with these settings if everybody is let in."""
    return tried(world(**wanted))


def tried(made: World) -> list[tuple[Attempt, Truth]]:
    """The attempts in a world if everybody is let in."""
    return [(event.ask.attempt, truth_of(event)) for event in made.play(OpenDoor()) if isinstance(event, Asked)]
