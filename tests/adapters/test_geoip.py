"""Geo lookups: each database schema is read correctly, and no file, however damaged, breaks a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import geoip2.database
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet  # type: ignore[import-untyped]

from riskd.adapters.geoip import ANYWHERE_KM, CITY_RADIUS_KM, COUNTRY_RADIUS_KM, GeoIp
from riskd.adapters.timezones import Timezones
from riskd.core.address import Address, parse
from riskd.core.context import Missing, Place, Route
from riskd.core.errors import InvalidGeo
from riskd.offline.geo.mmdb import MmdbWriter

MAXMIND = Path(__file__).parents[1] / "data" / "maxmind"
CITY = MAXMIND / "GeoIP2-City-Test.mmdb"
COUNTRY = MAXMIND / "GeoIP2-Country-Test.mmdb"
ASN = MAXMIND / "GeoLite2-ASN-Test.mmdb"
ANONYMOUS = MAXMIND / "GeoIP2-Anonymous-IP-Test.mmdb"
BAD = sorted((MAXMIND / "bad").glob("*.mmdb"))
ZONES = Timezones()
JULY = 1_783_000_000.0
PROBES = (
    "1.0.0.1",
    "2.125.160.216",
    "8.8.8.8",
    "81.2.69.142",
    "175.16.199.1",
    "214.0.1.1",
    "2001:480:10::1",
    "2a02::1",
)
OSLO = {
    "country_code": "NO",
    "state1": "Oslo",
    "state2": "",
    "city": "Oslo",
    "postcode": "",
    "latitude": 59.9,
    "longitude": 10.75,
    "timezone": "",
}


def address(text: str) -> Address:
    parsed = parse(text)
    assert parsed is not None
    return parsed


def geo(*paths: Path, uses: dict[int, str] | None = None) -> GeoIp:
    return GeoIp.open(paths, uses or {}, ZONES)


def place(lookup: GeoIp, text: str) -> Place:
    found, _, _ = lookup.locate(address(text), JULY)
    assert isinstance(found, Place), found
    return found


def route(lookup: GeoIp, text: str) -> Route:
    _, found, _ = lookup.locate(address(text), JULY)
    assert isinstance(found, Route), found
    return found


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a database of the given records by network; gives its path."""

    def write(name: str, records: dict[str, dict[str, Any]], ip_version: int = 4) -> Path:
        writer = MMDBWriter(ip_version, name, ipv4_compatible=ip_version == 6, float_type="f32")
        for network, record in records.items():
            writer.insert_network(IPSet([network]), record)
        path = tmp_path / f"{name}.mmdb"
        writer.to_db_file(str(path))
        return path

    return write


def test_without_files_everything_is_not_installed() -> None:
    """Without databases the service starts, and its gaps have the reason `not_installed`."""
    expected = (Missing("place", "not_installed"), Missing("route", "not_installed"), ())
    assert geo().locate(address("8.8.8.8"), JULY) == expected


@pytest.mark.parametrize("text", ["10.0.0.1", "127.0.0.1", "fe80::1", "2002::1"])
def test_unroutable_addresses_are_never_looked_up(text: str) -> None:
    """A private address is never looked up."""
    assert geo(CITY, ASN).locate(address(text), JULY) == (
        Missing("place", "unroutable"),
        Missing("route", "unroutable"),
        (),
    )


def test_unknown_addresses_are_not_found() -> None:
    """An address without a record gives the reason `not_found`."""
    expected = (Missing("place", "not_found"), Missing("route", "not_found"), ())
    assert geo(CITY, ASN, ANONYMOUS).locate(address("9.9.9.9"), JULY) == expected


def test_nested_city() -> None:
    """A GeoIP2 record gives its own radius and timezone."""
    found = place(geo(CITY), "2.125.160.216")
    assert found == Place("GB", 51.75, -1.25, 100.0, "England", "Boxford", "Europe/London", 60)


def test_every_nested_city_is_read_as_geoip2_reads_it() -> None:
    """MaxMind's reader and ours agree on every place in its test file."""
    lookup = geo(CITY)
    with geoip2.database.Reader(CITY) as reader:
        compared = 0
        for network, _ in reader._db_reader:
            text = str(network.network_address)
            ours, theirs = lookup.locate(address(text), JULY)[0], reader.city(text)
            if isinstance(ours, Place) and theirs.location.latitude is not None:
                expected = (theirs.country.iso_code, theirs.city.name or "", theirs.location.latitude)
                assert (ours.country, ours.city, ours.latitude) == expected
                compared += 1
        assert compared > 100


def test_a_timezone_by_an_old_name_is_still_a_timezone() -> None:
    """Old timezone names, such as Asia/Harbin, are resolved."""
    assert place(geo(CITY), "175.16.199.1").utc_offset_min == 480


def test_flat_city(write: Write) -> None:
    """A flat record has no radius or timezone: the documented radius and the timezone of the point are used."""
    found = place(geo(write("city ipv4", {"1.1.1.0/24": OSLO})), "1.1.1.1")
    assert (found.country, found.region, found.city) == ("NO", "Oslo", "Oslo")
    assert (round(found.latitude, 4), found.longitude, found.radius_km) == (59.9, 10.75, CITY_RADIUS_KM)
    assert (found.timezone, found.utc_offset_min) == ("Europe/Oslo", 120)


def test_less_is_known_with_a_larger_radius(write: Write) -> None:
    """Without a city the radius is that of a country; without a point it is unlimited."""
    records = {"1.1.1.0/24": OSLO | {"city": ""}, "1.1.2.0/24": {"country_code": "NO"}}
    lookup = geo(write("city ipv4", records))
    assert place(lookup, "1.1.1.1").radius_km == COUNTRY_RADIUS_KM
    assert place(lookup, "1.1.2.1") == Place("NO", 0.0, 0.0, ANYWHERE_KM)
    assert place(geo(COUNTRY), "81.2.69.160").radius_km == ANYWHERE_KM


def test_a_record_without_a_country_is_not_found(write: Write) -> None:
    """A record without a country is no place."""
    records = {"1.1.1.0/24": OSLO, "1.1.2.0/24": OSLO | {"country_code": ""}}
    lookup = geo(write("city ipv4", records))
    assert lookup.locate(address("1.1.2.1"), JULY)[0] == Missing("place", "not_found")


def test_each_family_has_its_file(write: Write) -> None:
    """IPv4 and IPv6 may have a file each, and each is used only for its own addresses."""
    four = write("four", {"1.1.1.0/24": OSLO})
    six = write("six", {"2a02::/32": OSLO | {"city": "Bergen"}}, ip_version=6)
    lookup = geo(four, six)
    assert [database.families for database in lookup.databases()] == [(4,), (6,)]
    assert (place(lookup, "1.1.1.1").city, place(lookup, "2a02::1").city) == ("Oslo", "Bergen")
    assert geo(four).locate(address("2a02::1"), JULY)[0] == Missing("place", "not_installed")
    assert geo(six).locate(address("1.1.1.1"), JULY)[0] == Missing("place", "not_installed")


def test_two_files_for_one_question_are_refused(tmp_path: Path) -> None:
    """A second city database for the same addresses is refused, whatever its name is, since the answer must not depend
    on their order. The same file may be named twice."""
    for name in ("city.mmdb", CITY.name):
        (tmp_path / name).write_bytes(CITY.read_bytes())
        with pytest.raises(InvalidGeo) as caught:
            geo(CITY, tmp_path / name)
        assert [(problem.where, problem.what) for problem in caught.value.problems] == [
            (str(tmp_path / name), f"is a second city database for IPv{family}, in addition to {CITY}")
            for family in (4, 6)
        ]
    assert len(geo(CITY, ASN, Path(str(CITY))).databases()) == 2


def test_asn() -> None:
    """The AS number comes with its organization, if there is one."""
    lookup = geo(ASN)
    assert route(lookup, "1.128.0.1") == Route(1221, "Telstra Pty Ltd")
    assert route(lookup, "216.160.83.56") == Route(209)


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ("hosting", Route(1221, "Telstra Pty Ltd", hosting=True)),
        ("vpn", Route(1221, "Telstra Pty Ltd", anonymizer="vpn")),
        ("relay", Route(1221, "Telstra Pty Ltd", anonymizer="relay")),
        ("satellite", Route(1221, "Telstra Pty Ltd", anonymizer="satellite")),
    ],
)
def test_uses_of_as_numbers(use: str, expected: Route) -> None:
    """The table of AS numbers marks hosting providers and anonymizers."""
    assert route(geo(ASN, uses={1221: use}), "1.128.0.1") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("65.0.0.1", Route(0, "", anonymizer="tor")),
        ("1.2.0.1", Route(0, "", anonymizer="vpn")),
        ("1.124.213.1", Route(0, "", anonymizer="tor")),
        ("6.1.0.3", Route(0, "", anonymizer="proxy")),
        ("6.1.0.4", Route(0, "", anonymizer="proxy")),
        ("71.160.223.1", Route(0, "", hosting=True)),
    ],
)
def test_anonymizers_are_known_without_an_as_number(text: str, expected: Route) -> None:
    """An Anonymous IP file alone identifies an exit; the AS number is then 0, and Tor takes precedence over VPN."""
    assert route(geo(ANONYMOUS), text) == expected


def test_the_anonymous_file_wins_over_the_table() -> None:
    """What is known about the address takes precedence over what is known about its network."""
    lookup = geo(ASN, ANONYMOUS, uses={29518: "relay"})
    assert route(lookup, "89.160.20.112").anonymizer == "relay"
    assert route(geo(ANONYMOUS, uses={0: "relay"}), "65.0.0.1").anonymizer == "tor"


@pytest.mark.parametrize(
    "damage",
    [
        {"latitude": "north"},
        {"latitude": 91.0},
        {"longitude": float("nan")},
        {"country_code": 47},
        {"city": {"en": "Oslo"}},
    ],
)
def test_a_record_of_another_shape_is_unreadable(write: Write, damage: dict[str, Any]) -> None:
    """A malformed record is unreadable for its own addresses only."""
    lookup = geo(write("city ipv4", {"1.1.1.0/24": OSLO, "2.2.2.0/24": OSLO | damage}))
    assert lookup.locate(address("2.2.2.2"), JULY)[0] == Missing("place", "unreadable")
    assert place(lookup, "1.1.1.1").city == "Oslo"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("asn", {"autonomous_system_number": 64500}, {"autonomous_system_number": "many"}),
        ("anonymous", {"is_anonymous_vpn": True}, {"is_anonymous_vpn": "sometimes"}),
    ],
)
def test_a_route_of_another_shape_is_unreadable(
    write: Write, name: str, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    """A malformed record of an operator or anonymizer is unreadable for its own addresses only."""
    lookup = geo(write(name, {"1.1.1.0/24": good, "2.2.2.0/24": bad}))
    assert lookup.locate(address("2.2.2.2"), JULY)[1] == Missing("route", "unreadable")
    assert route(lookup, "1.1.1.1") in (Route(64500), Route(0, "", anonymizer="vpn"))


def test_a_corrupt_record_behind_the_probe_is_unreadable(write: Write) -> None:
    """Damage that was not found at open becomes a gap when a request meets it."""
    towns = {f"1.{second}.{third}.0/24": f"Town {second}.{third}" for second in range(5) for third in range(256)}
    file = write("city ipv4", {network: OSLO | {"city": town} for network, town in towns.items()})
    content = file.read_bytes()
    at = content.index(b"Town 4.255") - 1
    file.write_bytes(content[:at] + b"\x3f" + content[at + 1 :])
    lookup = geo(file)
    assert lookup.locate(address("1.4.255.1"), JULY)[0] == Missing("place", "unreadable")
    assert place(lookup, "1.0.0.1").city == "Town 0.0"


@pytest.mark.parametrize("path", BAD, ids=[path.stem for path in BAD])
def test_bad_geo_files_are_refused_with_a_remedy(path: Path) -> None:
    """Each corrupt file is refused at open, by name and with a remedy."""
    with pytest.raises(InvalidGeo) as caught:
        geo(path)
    (problem,) = caught.value.problems
    assert problem.where == str(path)
    assert problem.what
    assert problem.remedy


@pytest.mark.parametrize("deep", [{"city": {"somewhat": "x"}}, {"subdivisions": [{"somewhat": "x"}]}], ids=str)
def test_a_field_without_a_textual_name_is_refused(write: Write, deep: dict[str, Any]) -> None:
    """A file whose fields are not named by text is refused, however deep they are: the C reader would not check it."""
    file = write("city", {"1.1.1.0/24": {"country": {"iso_code": "NO"}} | deep})
    text, other = (bytes([kind << 5 | len("somewhat")]) + b"somewhat" for kind in (2, 4))
    file.write_bytes(file.read_bytes().replace(text, other))
    with pytest.raises(InvalidGeo, match="a field is named b'somewhat'"):
        geo(file)


def test_all_bad_files_are_named_at_once(tmp_path: Path) -> None:
    """All bad files are reported at once."""
    (tmp_path / "text.mmdb").write_text("not a database")
    paths = [tmp_path / "absent.mmdb", tmp_path / "text.mmdb", tmp_path, CITY]
    with pytest.raises(InvalidGeo) as caught:
        geo(*paths)
    assert [problem.where for problem in caught.value.problems] == [str(path) for path in paths[:3]]


def test_a_file_of_another_kind_is_refused() -> None:
    """The error names the kind of the file, and the kinds that can be used."""
    with pytest.raises(InvalidGeo, match=r"is of the unknown kind 'Test' with the fields ip"):
        geo(MAXMIND / "bad" / "libmaxminddb-uint64-max-epoch.mmdb")


@settings(max_examples=150)
@given(st.sampled_from([CITY, ASN, ANONYMOUS]), st.data())
def test_a_damaged_geo_file_is_refused_or_returns_values(original: Path, data: st.DataObject) -> None:
    """With any bytes changed or cut off, a file is refused at open, or lookups return values."""
    content = bytearray(original.read_bytes())
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=40)):
        content[at] = byte
    length = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.mmdb"
        path.write_bytes(content[:length])
        for found in _answers(path):
            assert isinstance(found, Place | Route | Missing)


def _answers(path: Path) -> Iterator[object]:
    try:
        lookup = geo(path)
    except InvalidGeo:
        return
    for text in PROBES:
        yield from lookup.locate(address(text), JULY)[:2]


def test_open_files_are_listed(write: Write) -> None:
    """The open databases are listed with kind, name, families and age."""
    (database,) = geo(CITY).databases()
    assert (database.kind, database.name, database.type) == ("city", CITY.name, "GeoIP2-City")
    assert database.families == (4, 6)
    assert database.build_epoch > 1_700_000_000
    assert database.nodes > 1000


def test_a_replaced_file_stays_usable(tmp_path: Path) -> None:
    """After a file is replaced by a rename, the open one keeps working."""
    file = tmp_path / "city.mmdb"
    file.write_bytes(CITY.read_bytes())
    lookup = geo(file)
    (tmp_path / "new").write_bytes(b"")
    (tmp_path / "new").replace(file)
    assert place(lookup, "2.125.160.216").city == "Boxford"


FOUND = "1.0.0.1"
BUILT = 1_780_000_000
KINDS: dict[str, dict[str, str | int]] = {
    "city": {"country_code": "NO"},
    "asn": {"autonomous_system_number": 64500},
    "anonymous": {"is_anonymous": 1},
}


@pytest.mark.parametrize(
    ("ages", "stale"),
    [
        ({"city": 10, "asn": 10}, ()),
        ({"city": 11, "asn": 10}, ("place",)),
        ({"city": 10, "asn": 11}, ("route",)),
        ({"city": 11, "asn": 12}, ("place", "route")),
        ({"city": 1, "asn": 1, "anonymous": 11}, ("route",)),
        ({"city": 11}, ("place",)),
        ({"city": -400}, ()),
    ],
)
def test_a_geo_fact_is_stale_if_its_oldest_file_is(
    ages: dict[str, int], stale: tuple[str, ...], tmp_path: Path
) -> None:
    """A fact is stale if the oldest file that it comes from is; a missing fact is not stale."""
    paths = [built(tmp_path / f"{kind}.mmdb", KINDS[kind], BUILT - age) for kind, age in ages.items()]
    lookup = GeoIp.open(paths, {}, ZONES, stale_after=10.0)
    *facts, told = lookup.locate(address(FOUND), BUILT)
    assert told == stale
    assert [fact.source for fact in facts if isinstance(fact, Missing)] == ([] if "asn" in ages else ["route"])
    assert lookup.locate(address("9.9.9.9"), BUILT)[2] == ()
    assert lookup.locate(address("10.0.0.1"), BUILT)[2] == ()
    assert GeoIp.open(paths, {}, ZONES).locate(address(FOUND), 1e12)[2] == ()


def test_each_family_is_as_old_as_its_own_file(write: Write, tmp_path: Path) -> None:
    """An old IPv6 file does not make facts about an IPv4 address stale."""
    four = built(tmp_path / "four.mmdb", KINDS["city"], BUILT)
    six = write("six", {"2a02::/16": OSLO}, 6)
    lookup = GeoIp.open([four, six], {}, ZONES, stale_after=10.0)
    later = max(database.build_epoch for database in lookup.databases()) + 11
    assert lookup.locate(address(FOUND), BUILT + 10)[2] == ()
    assert lookup.locate(address(FOUND), BUILT + 11)[2] == ("place",)
    assert (lookup.locate(address("2a02::1"), BUILT + 11)[2], lookup.locate(address("2a02::1"), later)[2]) == (
        (),
        ("place",),
    )


def built(path: Path, record: dict[str, str | int], epoch: int) -> Path:
    """A database with this build time that contains only 1.0.0.0/24."""
    writer = MmdbWriter()
    writer.add(1 << 24, (1 << 24) + 255, writer.store(record))
    with path.open("wb") as file:
        writer.write(file, "Test", epoch)
    return path


def test_offset_is_that_of_the_zones() -> None:
    """The lookup also gives the offset of the device's own timezone."""
    assert geo().offset("Europe/Oslo", JULY) == 120
    assert geo().offset("Europe/Atlantis", JULY) is None
