"""Opens the geo databases that the settings name, and has an engine use those that replace them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Final

from riskd.adapters.asn_table import read_asn_table
from riskd.adapters.geoip import GeoIp
from riskd.adapters.timezones import Timezones
from riskd.config import Settings, data_directory
from riskd.core.errors import InvalidGeo, Problem
from riskd.engine import Engine
from riskd.host.background import every
from riskd.host.file_changes import FileChanges
from riskd.metrics.labels import DATABASES
from riskd.ports import Meter

_LOG: Final = logging.getLogger("riskd.geo")


def open_geo(settings: Settings) -> GeoIp:
    """Open the configured geo databases. Raises InvalidGeo if any of them cannot be used; none at all is allowed."""
    return open_databases(geo_files(settings), settings.geo.stale_days)


def geo_files(settings: Settings) -> list[Path]:
    """Paths of the geo databases: those the settings name, and those in `geo.dir` of a kind that they do not name."""
    geo = settings.geo
    named = {"city": geo.city, "asn": geo.asn, "anonymous": geo.anonymous}
    replaced = [kind for kind, path in named.items() if path]
    installed = sorted(Path(geo.dir).glob("*.mmdb"))
    chosen = [path for path in installed if not any(kind in path.name for kind in replaced)]
    return [*chosen, *(Path(path) for path in named.values() if path)]


def geo_paths(settings: Settings) -> list[Path]:
    """The files and the directory of which a change may change the geo databases."""
    geo = settings.geo
    return [Path(path) for path in (geo.dir, geo.city, geo.asn, geo.anonymous) if path]


def open_databases(paths: Sequence[Path], stale_days: int = 0) -> GeoIp:
    """Open these geo databases, whose facts are stale once they are older than `stale_days` (0: never).

    Raises InvalidGeo with the problems of all of them.
    """
    stale_after = stale_days * 86_400.0 or math.inf
    return GeoIp.open(paths, read_asn_table(data_directory("asns.csv")), Timezones(), stale_after=stale_after)


def announce_geo(geo: GeoIp, meter: Meter) -> None:
    """Report the build time of each kind of geo database: of several the oldest, and 0 for a kind that is absent."""
    for kind in DATABASES:
        built = [database.build_epoch for database in geo.databases() if database.kind == kind]
        meter.geo_built(kind, min(built, default=0))


def relocate(settings: Settings, engine: Engine) -> None:
    """Have the engine use the geo databases that there are now. Raises InvalidGeo; it then keeps those that it has."""
    geo = open_geo(settings)
    engine.locate_by(geo)
    announce_geo(geo, engine.parts.meter)


@contextmanager
def following_geo(settings: Settings, engine: Engine, changes: FileChanges) -> Iterator[None]:
    """Until the context exits, relocate the engine at each of the `changes`, for which it looks every `server.watch_s`
    seconds, and report what came of it."""
    meter = engine.parts.meter

    def look(_stop: Event) -> None:
        problems: Sequence[Problem] = ()
        if changes.changed(time.monotonic()):
            try:
                relocate(settings, engine)
            except InvalidGeo as error:
                problems = error.problems
            report_reload(meter, problems)

    report_reload(meter, ())
    with every(settings.server.watch_s, look, "geo"):
        yield


def report_reload(meter: Meter, problems: Sequence[Problem]) -> None:
    """Report that files were read again, and why they were refused, if they were."""
    meter.reloaded(good=not problems)
    if problems:
        meter.failed("reload")
        _LOG.error("reload_refused: %s", "; ".join(map(str, problems)), extra={"fields": {"problems": problems}})
