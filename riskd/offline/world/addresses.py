"""Addresses of the world: real ones, drawn from the installed databases by country, kind of operator and city."""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from itertools import accumulate
from math import cos, hypot, radians
from random import Random
from typing import Final, Protocol

from msgspec import Struct

from riskd.core.address import parse
from riskd.core.context import Place
from riskd.core.errors import InvalidGeo, Problem
from riskd.offline.world.tables import Operator
from riskd.ports import GeoLookup

BLOCKS: Final = 240
"""How many /24 networks are drawn for each operator."""
NEAREST: Final = 8
"""Of how many of an operator's networks near a place one is drawn."""
GATEWAYS: Final = 48
"""How many addresses a mobile carrier's subscribers share."""
_REMEDY: Final = "run `riskd geo install`, or name databases in the settings"


class Spot(Struct, frozen=True, gc=False):
    """Where the databases locate a network."""

    country: str
    city: str
    latitude: float
    longitude: float
    timezone: str


def text(address: int) -> str:
    """The address in dotted notation."""
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


class Pools:
    """Networks to draw addresses from. Immutable once built."""

    def __init__(self, operators: Sequence[Operator], blocks: Iterable[tuple[int, int, Spot]]) -> None:
        """`blocks`: AS number, first address of a /24, and its location. Raises InvalidGeo for a country without
        networks."""
        self.spots: dict[int, Spot] = {}
        self._asn: dict[int, int] = {}
        self._of: dict[tuple[int, str], list[int]] = defaultdict(list)
        self._in: dict[tuple[int, str, str], list[int]] = defaultdict(list)
        for asn, first, spot in blocks:
            self.spots[first] = spot
            self._asn[first] = asn
            self._of[asn, spot.country].append(first)
            self._in[asn, spot.country, spot.city].append(first)
        owned: dict[int, list[int]] = defaultdict(list)
        for (asn, _), firsts in self._of.items():
            owned[asn] += firsts
        self._owned = owned
        self._operators: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
        for country, kind in dict.fromkeys((each.country, each.kind) for each in operators):
            sellers = [each for each in operators if (each.country, each.kind) == (country, kind)]
            found = [
                each for each in sellers if (each.asn in owned if not country else (each.asn, country) in self._of)
            ]
            if not found:
                what = f"know no addresses of {kind} operators in {country}"
                raise InvalidGeo([Problem("geo databases", what, _REMEDY)])
            asns = [each.asn for each in found]
            self._operators[country, kind] = asns, list(accumulate(each.weight for each in found))
        self._gateways: dict[tuple[int, str], tuple[int, ...]] = {}

    def operator(self, random: Random, country: str, kind: str) -> int:
        """The AS number of an operator that sells `kind` in a country."""
        asns, weights = self._operators[country, kind]
        return asns[bisect(weights, random.random() * weights[-1])]

    def block(self, random: Random, country: str, asn: int) -> int:
        """A /24 of an operator in a country."""
        return _one(random, self._of[asn, country])

    def near(self, random: Random, asn: int, spot: Spot) -> int:
        """A /24 of the same operator in the same city."""
        return _one(random, self._in[asn, spot.country, spot.city])

    def around(self, random: Random, asn: int, spot: Spot) -> int:
        """One of the /24 of an operator that are nearest to a place in its country."""

        def away(block: int) -> float:
            there = self.spots[block]
            east = (there.longitude - spot.longitude) * cos(radians(spot.latitude))
            return hypot(there.latitude - spot.latitude, east)

        return _one(random, sorted(self._of[asn, spot.country], key=away)[:NEAREST])

    def owner(self, block: int) -> tuple[int, Spot]:
        """The AS number of a /24, and its location."""
        return self._asn[block], self.spots[block]

    def rented(self, random: Random, kind: str, country: str = "") -> int:
        """An address of a hosting, vpn or relay operator: in `country` if one of them has any there, else anywhere."""
        asns, weights = self._operators["", kind]
        here = [asn for asn in asns if (asn, country) in self._of] if country else []
        if here:
            return self.host(random, _one(random, self._of[_one(random, here), country]))
        asn = asns[bisect(weights, random.random() * weights[-1])]
        return self.host(random, _one(random, self._owned[asn]))

    def gateways(self, country: str, asn: int) -> tuple[int, ...]:
        """The addresses that all subscribers of a carrier in a country share."""
        addresses = self._gateways.get((asn, country))
        if addresses is None:
            random = Random(f"gateways {asn} {country}")
            few = [self.block(random, country, asn) for _ in range(GATEWAYS // 8)]
            addresses = tuple(self.host(random, _one(random, few)) for _ in range(GATEWAYS))
            self._gateways[asn, country] = addresses
        return addresses

    def host(self, random: Random, block: int) -> int:
        """An address in a /24."""
        return block + 1 + int(random.random() * 254)

    def digest(self) -> str:
        """16 hex digits that identify the set of addresses."""
        hashed = blake2b(digest_size=8)
        for first, spot in sorted(self.spots.items()):
            hashed.update(f"{first} {spot.country} {spot.city}\n".encode())
        return hashed.hexdigest()


class Atlas(GeoLookup, Protocol):
    """Geo databases that can also list the networks of an operator."""

    def networks(self, asns: Collection[int]) -> Iterable[tuple[int, int, int]]:
        """AS number, first address and number of addresses of every IPv4 network of these operators."""
        ...


def draw_pools(geo: Atlas, operators: Sequence[Operator], time: float) -> Pools:
    """Draw networks of every operator from the databases. `time` only affects UTC offsets of places.

    Reads a whole database, which takes some seconds. Raises InvalidGeo if it has no network of a kind in a country.
    """
    local: dict[int, set[str]] = defaultdict(set)
    for each in operators:
        local[each.asn].add(each.country)
    blocks: list[tuple[int, int, Spot]] = []
    networks: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for asn, first, size in geo.networks(local.keys()):
        if size >= 256:
            networks[asn].append((first, size // 256))
    for asn, ranges in sorted(networks.items()):
        random = Random(f"blocks {asn}")
        bounds = list(accumulate(size for _, size in ranges))
        drawn = dict.fromkeys(_drawn(random, ranges, bounds) for _ in range(BLOCKS))
        for first in drawn:
            address = parse(text(first + 1))
            place = geo.locate(address, time)[0] if address else None
            if isinstance(place, Place) and ("" in local[asn] or place.country in local[asn]):
                spot = Spot(place.country, place.city, place.latitude, place.longitude, place.timezone)
                blocks.append((asn, first, spot))
    return Pools(operators, blocks)


def _drawn(random: Random, ranges: Sequence[tuple[int, int]], bounds: Sequence[int]) -> int:
    at = int(random.random() * bounds[-1])
    place = bisect(bounds, at)
    first, size = ranges[place]
    return first + 256 * (at - (bounds[place] - size))


def _one(random: Random, values: Sequence[int]) -> int:
    return values[int(random.random() * len(values))]
