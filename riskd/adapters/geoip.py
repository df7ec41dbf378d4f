"""Looks up the place and route of an address in MMDB files (maxminddb with its C extension).

The kind of a file is recognised by the fields of its records, not by its name: city or country (flat, as in the
ip-location-db files of DB-IP; nested, as in GeoIP2, GeoLite2 and DB-IP's own), ASN (GeoLite2-ASN, GeoIP2-ISP), or
Anonymous IP. Records are validated when they are read, so a damaged record only causes a gap.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv6Address
from itertools import chain
from pathlib import Path
from typing import Annotated, Final, Protocol

import maxminddb
from maxminddb import InvalidDatabaseError
from msgspec import Meta, Struct, ValidationError, convert

from riskd.core.address import Address
from riskd.core.bounds import Asn, Latitude, Longitude
from riskd.core.context import AGEING, Located, Missing, Place, Route
from riskd.core.errors import InvalidGeo, Problem

CITY_RADIUS_KM: Final = 300.0
"""Radius of a city without one in the file: for home ISPs two free databases differ by 280 km at the 75th percentile.
"""
COUNTRY_RADIUS_KM: Final = 1000.0
"""Radius of a point that stands for a whole country, as in GeoLite2."""
ANYWHERE_KM: Final = 20_038.0
"""Radius if only the country is known: half the Earth's circumference, so that no distance counts as travel."""

_SAMPLE: Final = 1000
"""Networks of each IP version that are read before a file is used. Takes about 0.1 s."""
_MULTICAST: Final = 224 << 24
_FIRST_GLOBAL_IPV6: Final = 0x2000 << 112
_REMEDY: Final = "download it again, or run `riskd geo install`; replace files by renaming, do not overwrite them"
_DAMAGED: Final = (InvalidDatabaseError, UnicodeDecodeError, ValidationError)
_BROKEN: Final = (*_DAMAGED, ValueError, TypeError, LookupError, RecursionError, struct.error)
_WHYS: Final = ("unroutable", "not_installed", "not_found", "unreadable")
_NO_PLACE: Final = {why: Missing("place", why) for why in _WHYS}
_NO_ROUTE: Final = {why: Missing("route", why) for why in _WHYS}
_UNROUTABLE: Final = (_NO_PLACE["unroutable"], _NO_ROUTE["unroutable"], ())

_Radius = Annotated[float, Meta(gt=0, le=ANYWHERE_KM)]


class Zones(Protocol):
    """The timezone look-ups that GeoIp uses. They never raise, and are thread-safe."""

    def offset(self, name: str, time: float) -> int | None:
        """The offset of zone `name` at `time` (epoch seconds) in minutes east of UTC; None if unknown."""
        ...

    def at(self, latitude: float, longitude: float) -> str:
        """The zone of a point; '' if there is none."""
        ...


class Database(Struct, frozen=True):
    """A description of an open file. `kind`: city, asn or anonymous. `families`: the IP versions that it covers."""

    kind: str
    name: str
    type: str
    families: tuple[int, ...]
    build_epoch: int
    nodes: int


class _FlatCity(Struct, frozen=True, gc=False):
    country_code: str = ""
    state1: str = ""
    city: str = ""
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    timezone: str = ""


class _Names(Struct, frozen=True, gc=False):
    en: str = ""


class _Named(Struct, frozen=True, gc=False):
    iso_code: str = ""
    names: _Names = _Names()


class _Location(Struct, frozen=True, gc=False):
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    accuracy_radius: _Radius | None = None
    time_zone: str = ""


class _NestedCity(Struct, frozen=True, gc=False):
    country: _Named = _Named()
    subdivisions: tuple[_Named, ...] = ()
    city: _Named = _Named()
    location: _Location = _Location()


class _Asn(Struct, frozen=True, gc=False):
    autonomous_system_number: Asn = 0
    autonomous_system_organization: str = ""


class _Anonymous(Struct, frozen=True, gc=False):
    is_tor_exit_node: bool = False
    is_anonymous_vpn: bool = False
    is_public_proxy: bool = False
    is_residential_proxy: bool = False
    is_hosting_provider: bool = False


_CLEAN: Final = _Anonymous()


_PlaceNames = tuple[str, str, str]
_Point = tuple[float | None, float | None, float | None, str]


def _flat_place(record: object, time: float, zones: Zones) -> Place | None:
    flat = convert(record, _FlatCity)
    point = flat.latitude, flat.longitude, None, flat.timezone
    return _place((flat.country_code, flat.state1, flat.city), point, time, zones)


def _nested_place(record: object, time: float, zones: Zones) -> Place | None:
    nested = convert(record, _NestedCity)
    at = nested.location
    region = nested.subdivisions[0].names.en if nested.subdivisions else ""
    point = at.latitude, at.longitude, at.accuracy_radius, at.time_zone
    return _place((nested.country.iso_code, region, nested.city.names.en), point, time, zones)


def _place(names: _PlaceNames, point: _Point, time: float, zones: Zones) -> Place | None:
    country, region, city = names
    if not country:
        return None
    latitude, longitude, radius, zone = point
    if latitude is None or longitude is None:
        return Place(country, 0.0, 0.0, ANYWHERE_KM, region, city, zone, zones.offset(zone, time))
    zone = zone or zones.at(latitude, longitude)
    radius = radius or (CITY_RADIUS_KM if city else COUNTRY_RADIUS_KM)
    return Place(country, latitude, longitude, radius, region, city, zone, zones.offset(zone, time))


_PlaceReader = Callable[[object, float, Zones], Place | None]
_KINDS: Final[tuple[tuple[str, frozenset[str], _PlaceReader | None], ...]] = (
    ("anonymous", frozenset({"is_anonymous", "is_anonymous_vpn", "is_tor_exit_node", "is_hosting_provider"}), None),
    ("asn", frozenset({"autonomous_system_number"}), None),
    ("city", frozenset({"country_code"}), _flat_place),
    ("city", frozenset({"country", "city", "location", "registered_country", "continent"}), _nested_place),
)
"""Kind of file, fields of which any one identifies it, and the function that reads a place. The first match wins."""


class _File(Struct, frozen=True):
    database: Database
    get: Callable[[str], object]
    get_with_length: Callable[[str], tuple[object, int]]
    read_place: _PlaceReader | None


class GeoIp:
    """Looks up addresses in a set of open files. Immutable, and thread-safe. To reload, open a new one.

    The files stay mapped in memory as long as the object lives, so they may only be replaced by renaming.
    """

    def __init__(self, files: Iterable[_File], asn_uses: Mapping[int, str], zones: Zones, stale_after: float) -> None:
        self._files = tuple(files)
        by_kind = {(file.database.kind, family): file for file in self._files for family in file.database.families}
        self._city = {family: file for (kind, family), file in by_kind.items() if kind == "city"}
        self._asn = {family: file.get for (kind, family), file in by_kind.items() if kind == "asn"}
        self._anonymous = {family: file.get for (kind, family), file in by_kind.items() if kind == "anonymous"}
        self._asn_uses = asn_uses
        self._zones = zones
        self._fresh_until = _expiries(by_kind, stale_after)
        self._all_fresh_until = min(self._fresh_until.values(), default=math.inf)

    @classmethod
    def open(
        cls, paths: Iterable[Path], asn_uses: Mapping[int, str], zones: Zones, *, stale_after: float = math.inf
    ) -> GeoIp:
        """Open and check every file. Without files, every look-up is missing with `not_installed`.

        `asn_uses`: the use of an AS number: hosting, vpn, relay or satellite. `stale_after`: seconds from the build of
        a file until its answers are stale. Raises InvalidGeo with every bad file: corrupt, of an unknown kind, or a
        second one of its kind for the same IP version.
        """
        if find_spec("maxminddb.extension") is None:
            remedy = "reinstall it from a wheel; pure Python is 10 times slower"
            raise InvalidGeo([Problem("maxminddb", "was built without its C extension", remedy)])
        files: dict[Path, _File] = {}
        problems: list[Problem] = []
        for path in dict.fromkeys(paths):
            try:
                files[path] = _open(path)
            except InvalidGeo as error:
                problems += error.problems
        problems += _duplicates(files)
        if problems:
            raise InvalidGeo(problems)
        return cls(files.values(), asn_uses, zones, stale_after)

    def databases(self) -> tuple[Database, ...]:
        """Descriptions of the open files, for metrics and `riskd geo status`."""
        return tuple(file.database for file in self._files)

    def offset(self, timezone: str, time: float) -> int | None:
        """The offset of an IANA timezone at `time` (epoch seconds) in minutes east of UTC; None if unknown."""
        return self._zones.offset(timezone, time)

    def locate(self, address: Address, time: float) -> Located:
        """Place and route of `address`, and which of them are stale at `time` (epoch seconds). Never raises.

        `time` also decides the place's offset from UTC. A route is as old as the oldest file that it comes from. Its
        AS number is 0 if it is unknown, and only the Anonymous IP database has the address.
        """
        if not address.routable:
            return _UNROUTABLE
        place, route = self._locate_place(address, time), self._locate_route(address)
        stale = () if time <= self._all_fresh_until else self._stale(place, route, address.version, time)
        return place, route, stale

    def _stale(self, place: Place | Missing, route: Route | Missing, family: int, time: float) -> tuple[str, ...]:
        return tuple(
            source
            for source, fact in zip(AGEING, (place, route), strict=True)
            if not isinstance(fact, Missing) and time > self._fresh_until[source, family]
        )

    def networks(self, asns: Collection[int]) -> Iterator[tuple[int, int, int]]:
        """AS number, first address and number of addresses of every IPv4 network of these AS numbers, in order.

        Reads the whole ASN database, which takes seconds. Skips records that cannot be read.
        """
        database = next(
            (file for file in self._files if file.database.kind == "asn" and 4 in file.database.families), None
        )
        number = 1 << 24
        while database is not None and number < _MULTICAST:
            record, length = database.get_with_length(str(IPv4Address(number)))
            size = 1 << 32 - length
            asn = record.get("autonomous_system_number") if isinstance(record, dict) else None
            if isinstance(asn, int) and asn in asns:
                yield asn, number, size
            number = (number // size + 1) * size

    def _locate_place(self, address: Address, time: float) -> Place | Missing:
        file = self._city.get(address.version)
        if file is None or file.read_place is None:
            return _NO_PLACE["not_installed"]
        try:
            record = file.get(address.text)
            place = None if record is None else file.read_place(record, time, self._zones)
        except _DAMAGED:
            return _NO_PLACE["unreadable"]
        return place or _NO_PLACE["not_found"]

    def _locate_route(self, address: Address) -> Route | Missing:
        get_asn = self._asn.get(address.version)
        get_anonymous = self._anonymous.get(address.version)
        try:
            record = get_asn(address.text) if get_asn else None
            asn = convert(record, _Asn) if record is not None else None
            flags = convert(get_anonymous(address.text) or {}, _Anonymous) if get_anonymous else _CLEAN
        except _DAMAGED:
            return _NO_ROUTE["unreadable"]
        if asn is not None and asn.autonomous_system_number:
            number, organization = asn.autonomous_system_number, asn.autonomous_system_organization
        elif flags != _CLEAN:
            number, organization = 0, ""
        else:
            return _NO_ROUTE["not_found" if get_asn else "not_installed"]
        use = self._asn_uses.get(number, "")
        hosting = flags.is_hosting_provider or use == "hosting"
        return Route(number, organization, hosting, _anonymizer(flags, use))


def _expiries(files: Mapping[tuple[str, int], _File], stale_after: float) -> dict[tuple[str, int], float]:
    """Until when each source is fresh (epoch seconds), by source and IP version."""
    until: dict[tuple[str, int], float] = {}
    for (kind, family), file in files.items():
        source = "place" if kind == "city" else "route"
        end = file.database.build_epoch + stale_after
        until[source, family] = min(until.get((source, family), math.inf), end)
    return until


def _anonymizer(flags: _Anonymous, use: str) -> str:
    if flags.is_tor_exit_node:
        return "tor"
    if flags.is_anonymous_vpn:
        return "vpn"
    if flags.is_public_proxy or flags.is_residential_proxy:
        return "proxy"
    return "" if use == "hosting" else use


def _open(path: Path) -> _File:
    try:
        found = _probe(path)
        reader = maxminddb.open_database(path, maxminddb.MODE_MMAP_EXT)
    except OSError as error:
        raise InvalidGeo([Problem(str(path), f"cannot be opened: {error.strerror}", "check the path")]) from error
    except _BROKEN as error:
        raise InvalidGeo([Problem(str(path), f"is not a usable MMDB file: {error}", _REMEDY)]) from error
    meta = reader.metadata()
    fields = {field for records in found.values() for record in records for field in record}
    for kind, telling, read_place in _KINDS:
        if fields & telling:
            families = tuple(family for family, records in found.items() if records)
            database = Database(kind, path.name, meta.database_type, families, meta.build_epoch, meta.node_count)
            return _File(database, reader.get, reader.get_with_prefix_len, read_place)
    what = f"is of the unknown kind {meta.database_type!r} with the fields {', '.join(sorted(fields)) or '(none)'}"
    raise InvalidGeo([Problem(str(path), what, "use a city, country, ASN or Anonymous IP database")])


def _probe(path: Path) -> dict[int, list[dict[str, object]]]:
    """The first records of a file by IP version, read with the pure Python reader, which a damaged file cannot crash.

    The C extension (maxminddb 3.2.0) assumes that every key of a record is text, without checking. Neither reader can
    iterate safely: the C reader overruns its buffer in a cyclic tree, and the Python reader fails at ::1:0:0. So this
    walks through the file with look-ups.
    """
    with maxminddb.open_database(path, maxminddb.MODE_MMAP) as reader:
        families = (4,) if reader.metadata().ip_version == 4 else (4, 6)
        found = {family: list(_walk(reader.get_with_prefix_len, family)) for family in families}
    for record in chain.from_iterable(found.values()):
        _require_text_keys(record)
    return found


def _walk(
    look_up: Callable[[IPv4Address | IPv6Address], tuple[object, int]], family: int
) -> Iterator[dict[str, object]]:
    bits, number = (32, 0) if family == 4 else (128, _FIRST_GLOBAL_IPV6)
    for _ in range(_SAMPLE):
        record, length = look_up(IPv4Address(number) if family == 4 else IPv6Address(number))
        if record is not None:
            yield convert(record, dict[str, object])
        size = 1 << bits - length
        number = (number // size + 1) * size
        if number >> bits:
            return


def _require_text_keys(value: object) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise InvalidDatabaseError(f"a field is named {key!r}")
            _require_text_keys(inner)
    elif isinstance(value, list):
        for inner in value:
            _require_text_keys(inner)


def _duplicates(files: Mapping[Path, _File]) -> list[Problem]:
    problems = []
    first: dict[tuple[str, int], Path] = {}
    for path, file in files.items():
        kind = file.database.kind
        for family in file.database.families:
            other = first.setdefault((kind, family), path)
            if other != path:
                what = f"is a second {kind} database for IPv{family}, in addition to {other}"
                problems.append(Problem(str(path), what, "use only one of the two"))
    return problems
