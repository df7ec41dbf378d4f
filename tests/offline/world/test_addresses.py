"""Addresses are drawn from the databases by operator and country, deterministically."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from random import Random

import pytest

from riskd.adapters.geoip import GeoIp
from riskd.adapters.timezones import Timezones
from riskd.core.address import Address
from riskd.core.context import Located, Place, Route
from riskd.core.errors import InvalidGeo
from riskd.offline.geo.mmdb import MmdbWriter
from riskd.offline.world.addresses import draw_pools, text
from riskd.offline.world.tables import Operator
from tests.offline.world.small import POOLS, TABLES

OPERATORS = (
    Operator("NO", "access", 64500, 1.0),
    Operator("NO", "mobile", 64501, 1.0),
    Operator("", "hosting", 64502, 1.0),
)
RANGES = {"20.0.0.0/16": 64500, "20.1.0.0/20": 64501, "30.0.0.0/20": 64502, "40.0.0.0/16": 64503}


class Cities:
    """Norway below 25.0.0.0 and Germany above, two cities in each, and operators as in a real file."""

    def __init__(self, asn: Path) -> None:
        self._asn = GeoIp.open([asn], {}, Timezones())

    def networks(self, asns: Collection[int]) -> Iterable[tuple[int, int, int]]:
        """See `GeoIp`."""
        return self._asn.networks(asns)

    def locate(self, address: Address, time: float) -> Located:
        """See `GeoLookup`."""
        country = "NO" if address.value < 25 << 24 else "DE"
        return Place(country, 60.0, 10.0, 50.0, "", f"{country}{address.value >> 8 & 1}"), Route(64500), ()

    def offset(self, timezone: str, time: float) -> int | None:
        """See `GeoLookup`."""
        return None


@pytest.fixture
def database(tmp_path: Path) -> Path:
    writer = MmdbWriter()
    for network, asn in RANGES.items():
        ends = IPv4Network(network)
        record = writer.store({"autonomous_system_number": asn})
        writer.add(int(ends[0]), int(ends[-1]), record)
    with (tmp_path / "asn.mmdb").open("wb") as file:
        writer.write(file, "test-ASN", 1)
    return tmp_path / "asn.mmdb"


def test_addresses_are_the_operators_own(database: Path) -> None:
    """Drawn addresses lie in the operator's networks, `near` gives the same city, and the draw is reproducible."""
    pools = draw_pools(Cities(database), OPERATORS, 0.0)
    assert pools.digest() == draw_pools(Cities(database), OPERATORS, 0.0).digest()
    random = Random(1)
    for kind, network in (("access", "20.0.0.0/16"), ("mobile", "20.1.0.0/20")):
        asn = pools.operator(random, "NO", kind)
        for _ in range(50):
            block = pools.block(random, "NO", asn)
            assert IPv4Address(text(pools.host(random, block))) in IPv4Network(network)
            assert pools.spots[pools.near(random, asn, pools.spots[block])].city == pools.spots[block].city
    assert IPv4Address(text(pools.rented(random, "hosting", "NO"))) in IPv4Network("30.0.0.0/20")


def test_every_network_of_an_operator_is_walked(database: Path) -> None:
    """Walking a file gives exactly the operators' networks, whole."""
    found: dict[int, int] = {}
    for asn, first, size in Cities(database).networks({64500, 64502}):
        assert IPv4Address(first) in IPv4Network(next(text for text, of in RANGES.items() if of == asn))
        found[asn] = found.get(asn, 0) + size
    assert found == {64500: 1 << 16, 64502: 1 << 12}


def test_a_country_without_addresses_is_refused(database: Path) -> None:
    """If the databases have no addresses for a country, the error names it."""
    with pytest.raises(InvalidGeo, match="access operators in SE"):
        draw_pools(Cities(database), (*OPERATORS, Operator("SE", "access", 64503, 1.0)), 0.0)


def test_carriers_keep_their_subscribers_behind_the_same_gateways() -> None:
    """A carrier's gateways are always the same."""
    carrier = next(each for each in TABLES.operators if each.kind == "mobile")
    assert POOLS.gateways(carrier.country, carrier.asn) == POOLS.gateways(carrier.country, carrier.asn)
    assert len(set(POOLS.gateways(carrier.country, carrier.asn))) > 20
