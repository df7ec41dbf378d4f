"""Settings: the precedence of sources, and the messages for mistakes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.cli.main import main
from riskd.config import FIELDS, Secret, Settings, add_pepper, explain, load, obtain_peppers
from riskd.config.pepper import split
from riskd.config.sources import CONFIG_BYTES
from riskd.config.store_url import StoreUrl, read_url, url_problems
from riskd.core.errors import InvalidSettings
from riskd.host import files
from riskd.server.json_log import JsonFormatter

PEPPER = "correct horse battery staple"

Case = tuple[str | bytes | None, dict[str, str], dict[str, str], str]
MISTAKES: dict[str, Case] = {
    "unknown section": (
        "[servr]\nport = 1\n",
        {},
        {},
        "{file}:2:1: there is no section 'servr' (did you mean server?)",
    ),
    "unknown setting": (
        "[server]\nprot = 1\n",
        {},
        {},
        "{file}:2:1: [server] has no setting 'prot' (did you mean port?)",
    ),
    "value in place of a section": (
        "server = 1\n",
        {},
        {},
        "{file}:1:1: 'server' is a section, not a value (did you mean [server]?)",
    ),
    "wrong type": (
        '[server]\n\nport = "80"\n',
        {},
        {},
        "{file}:3:1: server.port cannot be '80' (use an integer, 0 to 65535; the default is 50551)",
    ),
    "a truth value is no number": (
        "[server]\nworkers = true\n",
        {},
        {},
        "{file}:2:1: server.workers cannot be True (use an integer, 1 to 256; the default is 1)",
    ),
    "dotted key out of range": (
        "server.grace_s = -1\n",
        {},
        {},
        "{file}:1:1: server.grace_s cannot be -1 (use a number, 0 to 600; the default is 10.0)",
    ),
    "not one of the choices": (
        '[store]\nkind = "rocks"\n',
        {},
        {},
        "{file}:2:1: store.kind cannot be 'rocks' (use `lmdb` or `redis` or `memory`; the default is 'lmdb')",
    ),
    "not TOML": ("[server\n", {}, {}, "{file}:1:8: "),
    "not UTF-8": (b"\xff", {}, {}, "{file}: byte 0 is not UTF-8"),
    "nested without end": ("a = " + "[" * 100_000, {}, {}, "{file}: cannot be read: "),
    "a number without end": ("a = " + "9" * 5000, {}, {}, "{file}: cannot be read: "),
    "home of nobody": (
        "",
        {"RISKD_STATE__DIR": "~nobody-of-that-name/riskd"},
        {},
        "state.dir: ~nobody-of-that-name/riskd is in a home directory that is not known (write an absolute path",
    ),
    "too large": ("#" * (CONFIG_BYTES + 1), {}, {}, "{file}: has more than 1048576 bytes (keep it to at most 1048576)"),
    "no such file": (None, {}, {}, "{file}: No such file or directory"),
    "variable out of range": (
        "",
        {"RISKD_SERVER__THREADS": "65"},
        {},
        "RISKD_SERVER__THREADS: server.threads cannot be '65' (use an integer, 0 to 64; the default is 0)",
    ),
    "unknown variable": ("", {"RISKD_STORE__PAHT": "x"}, {}, "RISKD_STORE__PAHT: [store] has no setting 'paht'"),
    "bad attribute name": (
        "",
        {"RISKD_ATTRIBUTES__NAMES": "ok,Not OK"},
        {},
        "RISKD_ATTRIBUTES__NAMES: attributes.names",
    ),
    "attribute that no condition could count": (
        '[attributes]\nnames = ["in"]\n',
        {},
        {},
        "{file}:2:1: attributes.names cannot be ['in'] (use a list of names in lower case (letters, digits and _, 63",
    ),
    "flag": ("", {}, {"metrics.port": "many"}, "flag metrics.port: metrics.port cannot be 'many'"),
    "short pepper": ("", {"RISKD_PEPPER": "hush"}, {}, "RISKD_PEPPER: the pepper has 4 bytes"),
    "file that is not there": ("", {"RISKD_GEO__CITY": "/no/city.mmdb"}, {}, "geo.city: /no/city.mmdb is not a file"),
    "directory that is not there": (
        "",
        {},
        {"release.models": "/no/models"},
        "release.models: /no/models is not a dir",
    ),
    "memory store of several": ("", {}, {"store.kind": "memory", "server.workers": "2"}, "store.kind: `memory` is not"),
    "servers that nobody named": ("", {}, {"store.kind": "redis"}, "store.url: is missing for `redis`"),
    "servers for a file": ("", {}, {"store.url": "redis://a"}, "store.url: `lmdb` has no servers (set store.kind"),
    "half a certificate of the store": (
        "",
        {"RISKD_STORE__TLS_KEY": __file__},
        {"store.kind": "redis", "store.url": "rediss://a"},
        "store.tls_cert: a certificate needs its key",
    ),
    "certificates for plain text": (
        "",
        {"RISKD_STORE__TLS_CA": __file__},
        {"store.kind": "redis", "store.url": "redis://a"},
        "store.url: does not use TLS, but certificates are set (write rediss://",
    ),
    "one underscore": (
        "",
        {"RISKD_SERVER_TLS_CLIENT_CA": "clients.pem"},
        {},
        "RISKD_SERVER_TLS_CLIENT_CA: is not a variable of riskd (did you mean RISKD_SERVER__TLS_CLIENT_CA?)",
    ),
    "one socket for two services": (
        "",
        {},
        {"subjects.socket": "/run/riskd/a.sock", "release.socket": "/run/riskd/a.sock"},
        "release.socket: /run/riskd/a.sock is also subjects.socket (choose another path)",
    ),
    "half of TLS": ("", {"RISKD_SERVER__TLS_KEY": __file__}, {}, "server.tls_cert: a certificate needs its key"),
    "half a point": (
        "[geo]\nedge = [51.5]\n",
        {},
        {},
        "geo.edge: 51.5 is not a point (write latitude and longitude in degrees)",
    ),
    "latitude and longitude swapped": (
        "",
        {"RISKD_GEO__EDGE": "-122.4,37.8"},
        {},
        "geo.edge: -122.4, 37.8 is not a point",
    ),
    "a point that is none": (
        "[geo]\nedge = [nan, 0.0]\n",
        {},
        {},
        "{file}:2:1: geo.edge cannot be [nan, 0.0] (use two numbers, latitude and longitude; the default is empty)",
    ),
    "log too small": (
        "",
        {},
        {"log.keep_mb": "16"},
        "log.keep_mb: is too small for 1 worker with segments",
    ),
}


def refused(file: Path, environ: Mapping[str, str], flags: Mapping[str, str]) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        explain(str(file), environ, flags)
    return [str(problem) for problem in caught.value.problems]


def test_settings_of_another_machine_are_read_without_its_files(tmp_path: Path) -> None:
    """Settings that are not of this machine may name files, homes and sockets that it does not have; everything else
    is checked."""
    file = tmp_path / "riskd.toml"
    file.write_text(
        f'[server]\ntls_cert = "/no/a.pem"\ntls_key = "/no/b.pem"\n[state]\ndir = "/{"s" * 120}"\n'
        '[release]\npolicies = "~nobody-of-that-name/policies"\n[attributes]\nnames = ["payee_id"]\n'
    )
    assert len(refused(file, {}, {})) == 6
    assert explain(str(file), {}, {}, here=False).settings.attributes.names == ("payee_id",)
    with pytest.raises(InvalidSettings, match="needs its key"):
        explain(str(file), {"RISKD_SERVER__TLS_KEY": ""}, {}, here=False)


@pytest.mark.parametrize("case", MISTAKES)
def test_mistake_says_where_what_and_remedy(case: str, tmp_path: Path) -> None:
    """Each kind of mistake is refused with its place and a remedy."""
    content, environ, flags, expected = MISTAKES[case]
    file = tmp_path / "riskd.toml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    (problem,) = refused(file, environ, flags)
    assert problem.startswith(expected.format(file=file))


URLS = {
    "a/b": "is not a URL",
    "http://a": "has a scheme other than redis, rediss, unix",
    "redis://[::1": "has no hosts",
    "redis://": "has no hosts",
    "redis://a:66000": "has no hosts, or hosts that cannot be read",
    "redis://a,,b": "has no hosts, or hosts that cannot be read",
    "redis://@a": "has no user before the @",
    "redis://a?timeout=1": "has a query",
    "redis://a/name": "may have only the number of a database",
    "redis://a,b/3": "selects a database, but a cluster",
    "unix://host/path": "must be a path for a Unix socket",
    "redis://me:hush@a": "contains a password",
}
"""Store URLs that are refused, and the message for each."""


@pytest.mark.parametrize("url", URLS)
def test_bad_url_of_a_store_is_refused_without_being_repeated(url: str, tmp_path: Path) -> None:
    """The message for a bad store URL says what is wrong without quoting the URL, which could hold a secret."""
    (tmp_path / "riskd.toml").touch()
    (problem,) = refused(tmp_path / "riskd.toml", {}, {"store.kind": "redis", "store.url": url})
    assert problem.startswith(f"store.url: {URLS[url]}")
    assert "hush" not in problem


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("redis://a", StoreUrl(nodes=(("a", 6379),))),
        ("rediss://me@a:1/2", StoreUrl(nodes=(("a", 1),), tls=True, username="me", database=2)),
        ("redis://a:1,[::1]:2,10.0.0.3", StoreUrl(nodes=(("a", 1), ("::1", 2), ("10.0.0.3", 6379)))),
        ("unix:///run/redis%20x.sock", StoreUrl(path="/run/redis x.sock")),
    ],
)
def test_urls_of_stores(url: str, read: StoreUrl) -> None:
    """A store URL can name one server, several nodes, TLS, a user, a database, or a socket."""
    assert list(url_problems(url)) == []
    assert read_url(url) == read


def test_password_of_the_store_is_never_shown(tmp_path: Path) -> None:
    """The store's password comes from the environment or a file, and is not in any print of the settings."""
    (tmp_path / "secret").write_text("hush-hush\n")
    given = {"RISKD_STORE__KIND": "redis", "RISKD_STORE__URL": "redis://a"}
    for environ in (
        {"RISKD_STORE_PASSWORD": "hush-hush"},
        {"RISKD_SECRETS__STORE_PASSWORD_FILE": f"{tmp_path}/secret"},
    ):
        settings = explain(None, {**given, **environ}, {}).settings
        assert settings.secrets.store_password.reveal() == b"hush-hush"
        assert "hush" not in repr(settings)


def test_a_networked_store_gets_more_threads() -> None:
    """With a store on the network the default is two threads; an explicit setting takes precedence."""
    redis = {"store.kind": "redis", "store.url": "redis://a"}
    assert explain(None, {}, {}).settings.server.threads == 1
    assert explain(None, {}, redis).settings.server.threads == 2
    assert explain(None, {}, {**redis, "server.threads": "3"}).settings.server.threads == 3


def test_every_mistake_at_once(tmp_path: Path) -> None:
    """Mistakes of all sources are reported at once, including values that another source overrides."""
    file = tmp_path / "riskd.toml"
    file.write_text('[server]\nport = "x"\nworkers = 0\n[nope]\n')
    environ = {"RISKD_SERVER__PORT": "y", "RISKD_PEPPER": "short"}
    assert len(refused(file, environ, {"server.port": "1", "log.keep_mb": "z"})) == 5


def test_stronger_source_wins(tmp_path: Path) -> None:
    """A flag overrides the environment, which overrides the file, which overrides the default; each value's origin is
    reported."""
    file = tmp_path / "riskd.toml"
    file.write_text("[server]\nport = 1\nworkers = 2\nthreads = 3\n")
    environ = {"RISKD_CONFIG": str(file), "RISKD_SERVER__WORKERS": "4", "RISKD_SERVER__THREADS": "5"}
    loaded = explain(None, environ, {"server.threads": "6"})
    server, origins = loaded.settings.server, loaded.origins
    assert (server.host, server.port, server.workers, server.threads) == ("127.0.0.1", 1, 4, 6)
    assert [origins[f"server.{name}"] for name in ("host", "port", "workers", "threads")] == [
        "default",
        str(file),
        "RISKD_SERVER__WORKERS",
        "flag server.threads",
    ]


def test_lists_and_fractions_from_the_environment() -> None:
    """Values from the environment are converted to the type of the setting."""
    names = {"RISKD_ATTRIBUTES__NAMES": "branch, channel"}
    settings = load(environ={**names, "RISKD_SERVER__GRACE_S": "2.5", "RISKD_GEO__EDGE": "51.5, -0.1"})
    assert settings.attributes.names == ("branch", "channel")
    assert settings.geo.edge == (51.5, -0.1)
    assert settings.server.grace_s == 2.5


def test_variables_that_are_not_ours() -> None:
    """Variables that Kubernetes sets for services named riskd or riskd-server are ignored."""
    links = {
        "RISKD_PORT": "tcp://10.0.0.1:1",
        "RISKD_SERVICE_HOST": "10.0.0.1",
        "RISKD_SERVER_PORT": "tcp://10.0.0.1:1",
    }
    assert load(environ=links).server.port == 50551


def value(settings: Settings, key: str) -> object:
    return getattr(getattr(settings, FIELDS[key].section), FIELDS[key].name)


def test_paths_follow_the_state_directory() -> None:
    """`state.dir` moves everything that riskd writes; the XDG variables and RISKD_GEO_DIR are honoured."""
    settings = load(environ={"XDG_STATE_HOME": "/state", "XDG_DATA_HOME": "/data"})
    ours = {key: field.in_state for key, field in FIELDS.items() if field.in_state}
    assert {key: value(settings, key) for key in ours} == {key: f"/state/riskd/{name}" for key, name in ours.items()}
    assert (settings.store.path, settings.log.dir) == ("/state/riskd/store", "/state/riskd/decisions")
    assert settings.geo.dir == "/data/riskd/geo"
    settings = load(environ={"RISKD_STATE__DIR": "/var/lib/riskd", "RISKD_GEO_DIR": "/geo", "XDG_DATA_HOME": "/data"})
    assert (settings.store.path, settings.geo.dir) == ("/var/lib/riskd/store", "/geo")


PATHS = [key for key, field in FIELDS.items() if field.path]


@pytest.mark.parametrize("prefix", ["~/", ""])
def test_every_path_is_absolute(prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths and `~` are resolved when settings are loaded; a URL stays as it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for key in PATHS:
        if FIELDS[key].path == "dir":
            (tmp_path / key).mkdir()
        elif FIELDS[key].path == "file":
            (tmp_path / key).write_text(PEPPER)
    others = {"store.kind": "redis", "store.url": "rediss://a", "subjects.serve": "off", "release.serve": "off"}
    settings = load(environ={}, flags={**others, **{key: f"{prefix}{key}" for key in PATHS}})
    said = {key: value(settings, key) for key in PATHS}
    assert said == {key: str(tmp_path / key) for key in PATHS}
    assert load(environ={}, flags={"log.dataset": "s3://bucket/log"}).log.dataset == "s3://bucket/log"


@given(st.binary(min_size=16, max_size=64))
def test_a_secret_does_not_show(value: bytes) -> None:
    """A secret appears neither in repr nor in JSON."""
    assert repr(Secret(value)) == "Secret(hidden)"
    with pytest.raises(TypeError):
        msgspec.json.encode(Secret(value))


def test_settings_do_not_show_the_pepper(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`riskd settings` shows where the pepper comes from, and not the pepper."""
    monkeypatch.setenv("RISKD_PEPPER", PEPPER)
    assert main(["settings", "--json"]) == 0
    shown = capsys.readouterr().out
    assert PEPPER not in shown
    assert '"RISKD_PEPPER"' in shown
    assert PEPPER not in repr(load())


def test_check_says_nothing_but_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` exits with 0 and prints nothing, or exits with 2 and prints every mistake to stderr."""
    assert main(["settings", "--check"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["settings", "--check", "--set", "server.port=x", "--set", "store.kind=y"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 2


def test_pepper_file(tmp_path: Path) -> None:
    """A pepper file has one pepper per line, without surrounding white space; the environment variable takes
    precedence."""
    file = tmp_path / "pepper"
    file.write_text(f"{PEPPER}\n")
    flags = {"secrets.pepper_file": str(file)}
    assert obtain_peppers(load(environ={}, flags=flags)) == [PEPPER.encode()]
    assert obtain_peppers(load(environ={"RISKD_PEPPER": PEPPER[::-1]}, flags=flags)) == [PEPPER[::-1].encode()]
    file.write_text(f"{PEPPER}\n\n  {PEPPER[::-1]}")
    assert obtain_peppers(load(environ={}, flags=flags)) == [PEPPER.encode(), PEPPER[::-1].encode()]
    file.write_text("".join(f"{number:064}\n" for number in range(500)))
    assert len(split(load(environ={}, flags=flags).secrets.pepper.reveal())) == 500


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the pepper has 0 bytes"),
        (b"only 15 bytes..\n", "the pepper has 15 bytes"),
        (PEPPER.encode() + b"\n" + b"x" * 65 + b"\n", "the pepper has 65 bytes"),
        (None, "secrets.pepper_file: .+: No such file or directory .let riskd read it"),
    ],
    ids=["empty", "too short", "a layer that is too long", "gone"],
)
def test_a_pepper_file_that_became_unusable_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    """A pepper file is read again whenever a pepper may have been added; what cannot be used is refused by its size, or
    by the setting that names the file."""
    file = tmp_path / "pepper"
    file.write_text(PEPPER)
    settings = load(environ={}, flags={"secrets.pepper_file": str(file)})
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(InvalidSettings, match=said):
        obtain_peppers(settings)


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Where the development pepper cannot be made, the error names `state.dir` and the alternative."""
    (tmp_path / "file").touch()
    settings = load(environ={}, flags={"state.dir": str(tmp_path / "file" / "state")})
    with pytest.raises(InvalidSettings, match=r"state.dir: .+file/state.+: Not a directory .+or set RISKD_PEPPER"):
        obtain_peppers(settings)


def test_a_pepper_is_added_once(tmp_path: Path) -> None:
    """If several processes add a pepper at once, only one is added, because a store accepts one new pepper at a
    time."""
    file = tmp_path / "pepper"
    file.write_text(f"{PEPPER}\n")
    with ThreadPoolExecutor(8) as pool:
        for wanted in range(1, 9):
            list(pool.map(lambda _, before=wanted: add_pepper(file, before), range(8)))
            peppers = obtain_peppers(load(environ={}, flags={"secrets.pepper_file": str(file)}))
            assert (len(peppers), len(set(peppers)), peppers[0]) == (wanted + 1, wanted + 1, PEPPER.encode())


def test_development_pepper_is_made_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a pepper, one is created once, readable by its owner only, with a warning that does not show it, and
    synced to disk."""
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync", synced.append)
    settings = load(environ={"RISKD_STATE__DIR": str(tmp_path / "state")})
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(8) as pool:
        (pepper,) = {pepper for (pepper,) in pool.map(lambda _: obtain_peppers(settings), range(8))}
    assert obtain_peppers(settings) == [pepper]
    assert len(pepper) == 64
    file = tmp_path / "state" / "pepper"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert sorted(path.name for path in file.parent.iterdir()) == ["pepper", "pepper.lock"]
    assert synced == [file.parent]
    told = f"development_pepper: made in {file} (set RISKD_PEPPER or secrets.pepper_file in production)"
    assert [record.message for record in caplog.records] == [told]
    assert json.loads(JsonFormatter().format(caplog.records[0]))["event"] == "development_pepper"
    assert pepper.decode() not in caplog.text


def test_every_setting_is_documented() -> None:
    """Every setting has a docstring."""
    assert all(field.doc.endswith(".") and field.accepts for field in FIELDS.values())
    assert len({field.variable for field in FIELDS.values()}) == len(FIELDS)
