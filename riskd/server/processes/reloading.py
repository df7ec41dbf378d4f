"""Loads policies, models and geo databases into a worker: at its start, at SIGHUP, and when the files change.

Each worker loads geo databases by itself. Releases are led by the first worker: it proposes what the configured
directories hold, and either every worker installs it or none does.
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
from riskd.geo_databases import geo_files, open_databases, open_geo, relocate, report_reload
from riskd.host.background import surviving
from riskd.ports import Meter
from riskd.releases import Releases
from riskd.wiring import open_releases

SECONDS: Final = 10.0
"""Time for all workers to load a release from the directories."""
UNFORESEEN: Final = Problem("reload", "an unexpected error in riskd", "see the event work_failed in its log")
_LOG: Final = logging.getLogger("riskd.reloading")


def load(settings: Settings, meter: Meter, *, restarted: bool) -> tuple[Releases, GeoIp]:
    """The releases and geo databases with which a worker starts. Raises InvalidFile with every problem.

    `restarted`: the worker replaces one that died. It then starts with the last good release and without bad geo
    databases, because a bad file must not cost a running service a worker.
    """
    releases = open_releases(settings)
    problems: list[Problem] = []
    try:
        releases.follow(*release_folders(settings), timeout=SECONDS)
    except (Unavailable, RefusedRelease) as error:  # a full disk or another program must not stop the service
        _LOG.warning("release_not_kept", extra={"fields": {"problems": error.problems}})
    except RiskdError as error:
        problems += error.problems
    has_release = not problems or releases.active() is not None
    geo, bad = _usable_geo(settings)
    problems += bad
    if problems and not (restarted and has_release):
        raise InvalidFile(problems)
    report_reload(meter, problems)
    return releases, geo


def reload(settings: Settings, engine: Engine, releases: Releases, meter: Meter, *, leads: bool) -> None:
    """Use what the files hold now. If they are refused, the previous version stays in use.

    `leads`: propose the release for all workers, too.
    """
    problems: Sequence[Problem] = [UNFORESEEN]
    with surviving("reload"):
        problems = _reloaded(settings, engine, releases, leads=leads)
    report_reload(meter, problems)
    if not problems:
        _LOG.info("reloaded", extra={"fields": {"release": engine.release.id}})


def _reloaded(settings: Settings, engine: Engine, releases: Releases, *, leads: bool) -> Sequence[Problem]:
    problems: list[Problem] = []
    if leads:
        try:
            releases.follow(*release_folders(settings), timeout=SECONDS)
        except RiskdError as error:
            problems += error.problems
    try:
        relocate(settings, engine)
    except InvalidGeo as error:
        problems += error.problems
    return problems


def _usable_geo(settings: Settings) -> tuple[GeoIp, Sequence[Problem]]:
    """The geo databases that can be used, and the problems of the others."""
    try:
        return open_geo(settings), ()
    except InvalidGeo as error:
        problems = error.problems
    usable: list[Path] = []
    for path in geo_files(settings):
        with suppress(InvalidGeo):
            open_databases([*usable, path])
            usable.append(path)
    return open_databases(usable, settings.geo.stale_days), problems
