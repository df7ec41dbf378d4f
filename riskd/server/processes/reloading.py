"""A worker and the files that decide: at its start, at SIGHUP, and when they change.

Geo databases are each worker's own. For releases the first worker speaks: it proposes what the directories of the
settings hold, and every worker installs it, or none does.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from riskd.adapters.geoip import GeoIp
from riskd.config import Settings, release_folders
from riskd.core.errors import InvalidFile, InvalidGeo, Problem, RefusedRelease, RiskdError, Unavailable
from riskd.engine import Engine
from riskd.ports import Meter
from riskd.releases import Releases
from riskd.wiring import announce_geo, geo_files, open_databases, open_geo, open_releases

SECONDS: Final = 10.0
"""For all workers to load what the directories hold."""
_LOG: Final = logging.getLogger("riskd.reloading")


def load(settings: Settings, meter: Meter, *, again: bool) -> tuple[Releases, GeoIp]:
    """What a worker starts with. Raises InvalidFile with every problem.

    One that starts `again`, in the place of one that died, goes on with the last good release, and without the geo
    databases that are bad: a mistake in a file must not take a worker away from a service that runs.
    """
    releases = open_releases(settings)
    problems: list[Problem] = []
    try:
        releases.follow(*release_folders(settings), timeout=SECONDS)
    except (Unavailable, RefusedRelease) as error:  # a full disk, or another program, keeps nobody from deciding
        _LOG.warning("release_not_kept", extra={"fields": {"problems": error.problems}})
    except RiskdError as error:
        problems += error.problems
    has_release = not problems or releases.active() is not None
    geo, bad = _sound(settings)
    problems += bad
    if problems and not (again and has_release):
        raise InvalidFile(problems)
    _tell(meter, problems)
    return releases, geo


def reload(settings: Settings, engine: Engine, releases: Releases, meter: Meter, *, speaks: bool) -> None:
    """Decide by what the files hold now; what is refused stays as it was. `speaks`: for all, of releases."""
    problems: list[Problem] = []
    if speaks:
        try:
            releases.follow(*release_folders(settings), timeout=SECONDS)
        except RiskdError as error:
            problems += error.problems
    try:
        geo = open_geo(settings)
        engine.locate_by(geo)
        announce_geo(geo, meter)
    except InvalidGeo as error:
        problems += error.problems
    _tell(meter, problems)
    if not problems:
        _LOG.info("reloaded", extra={"fields": {"release": engine.release.id}})


def _sound(settings: Settings) -> tuple[GeoIp, Sequence[Problem]]:
    """The geo databases that can be used, and what is wrong with the others."""
    try:
        return open_geo(settings), ()
    except InvalidGeo as error:
        problems = error.problems
    sound: list[Path] = []
    for path in geo_files(settings):
        with suppress(InvalidGeo):
            open_databases([*sound, path])
            sound.append(path)
    return open_databases(sound, settings.geo.stale_days), problems


def _tell(meter: Meter, problems: Sequence[Problem]) -> None:
    meter.reloaded(good=not problems)
    if problems:
        meter.failed("reload")
        _LOG.error("reload_refused", extra={"fields": {"problems": problems}})
