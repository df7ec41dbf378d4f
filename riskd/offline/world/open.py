"""Makes a world with the settings of this host: its addresses come from the installed geo databases."""

from __future__ import annotations

from riskd.adapters.geoip import GeoIp
from riskd.config import Settings, data_directory
from riskd.core.errors import InvalidGeo, Problem
from riskd.geo_databases import geo_files, open_databases
from riskd.offline.world.addresses import draw_pools
from riskd.offline.world.assumptions import Values
from riskd.offline.world.tables import read_tables
from riskd.offline.world.world import Settings as Wanted
from riskd.offline.world.world import World


def open_world(settings: Settings, wanted: Wanted, values: Values) -> tuple[World, GeoIp]:
    """The world, and the databases with its addresses, which never count as stale.

    Raises InvalidGeo without a city and an ASN database.
    """
    geo = open_databases(geo_files(settings))
    kinds = {database.kind for database in geo.databases()}
    absent = [kind for kind in ("city", "asn") if kind not in kinds]
    if absent:
        what = f"no {' and no '.join(absent)} database is installed, and a world needs real addresses"
        raise InvalidGeo([Problem("geo databases", what, "run `riskd geo install`, then simulate again")])
    tables = read_tables(data_directory("world"))
    return World(wanted, values, tables, draw_pools(geo, tables.operators, wanted.start)), geo
