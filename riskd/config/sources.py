"""Reads settings: defaults < TOML file < environment < flags, by priority. Reports all mistakes at once."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, get_type_hints

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from riskd.config.checks import problems_of
from riskd.config.fields import FIELDS, Field
from riskd.config.pepper import pepper_problems, split
from riskd.config.secret import Secret
from riskd.config.settings import Settings
from riskd.core.errors import InvalidFile, InvalidSettings, Problem

CONFIG_BYTES: Final = 1 << 20
"""Largest configuration file read."""
THREADS: Final = {"lmdb": 1, "memory": 1, "redis": 2}
"""Default number of handler threads by kind of store (docs/decisions/0022, 0028)."""
SECRET_BYTES: Final = 1 << 16
"""Most bytes read of a secret's file. A pepper file grows by a line with each rotation."""
_TOML: Final = "write TOML: https://toml.io/en/v1.0.0"
_SECTIONS: Final = tuple(dict.fromkeys(field.section for field in FIELDS.values()))


class Loaded(Struct, frozen=True):
    """The settings, and the origin of each value by key: `default`, a file, a variable or a flag."""

    settings: Settings
    origins: dict[str, str]


class _Given(Struct, frozen=True):
    """A value as it was given. `where`: its place, for problems. `text`: the source has only text, so numbers and
    lists are parsed from it."""

    key: str
    value: object
    where: str
    origin: str
    line: int = 0
    text: bool = True

    @property
    def column(self) -> int:
        """Only the line of a key is known, so the column is the first."""
        return 1 if self.line else 0


def load(
    config: str | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
) -> Settings:
    """The settings, without their origins: see `explain`. `environ` defaults to the process's environment."""
    return explain(config, os.environ if environ is None else environ, flags or {}).settings


def explain(config: str | None, environ: Mapping[str, str], flags: Mapping[str, str], *, here: bool = True) -> Loaded:
    """The settings from all sources, and their origins.

    `config`: the TOML file; None means `RISKD_CONFIG`, and no file if that is unset. `flags`: text by key
    (`server.port`). `here`: they are settings of this machine, so the files that they name must be there.
    Raises InvalidSettings with every problem, also in values that another source overrides.
    """
    problems: list[Problem] = []
    path = config if config is not None else environ.get("RISKD_CONFIG", "")
    given = [
        *_from_home(environ),
        *(_from_file(path, problems) if path else ()),
        *_from_environment(environ),
        *(_Given(key, value, f"flag {key}", f"flag {key}") for key, value in flags.items()),
    ]
    values: dict[str, object] = {}
    origins = dict.fromkeys(FIELDS, "default")
    for one in given:
        field = FIELDS.get(one.key)
        if field is None:
            problems.append(_unknown(one))
            continue
        try:
            values[one.key] = _converted(field, one)
            origins[one.key] = one.origin
        except msgspec.ValidationError:
            problems.append(_invalid(field, one))
    problems += _misspelt(environ)
    settings = _built(_derived(values))
    problems += problems_of(settings, origins, here=here)
    settings = _with_secrets(settings, environ, problems)
    if problems:
        raise InvalidSettings(problems)
    return Loaded(settings, origins)


def _from_home(environ: Mapping[str, str]) -> Iterator[_Given]:
    for variable, key, below in (("XDG_STATE_HOME", "state.dir", "riskd"), ("XDG_DATA_HOME", "geo.dir", "riskd/geo")):
        if environ.get(variable):
            yield _Given(key, f"{environ[variable]}/{below}", variable, f"${variable}")


def _from_file(path: str, problems: list[Problem]) -> Iterator[_Given]:
    try:
        document, text = read_toml(Path(_absolute(path)), CONFIG_BYTES, "check --config and RISKD_CONFIG")
    except InvalidFile as error:
        problems += [replace(problem, where=path) for problem in error.problems]
        return
    lines = _lines(text)
    for section, content in document.items():
        pairs = content.items() if isinstance(content, dict) else [("", content)]
        for name, value in pairs:
            key = f"{section}.{name}" if name else section
            line = lines.get(key, lines.get(section, 0))
            yield _Given(key, value, path, path, line, text=False)


def read_toml(path: Path, most: int, unreadable: str) -> tuple[dict[str, object], str]:
    """The document in a TOML file of at most `most` bytes, and its text. Raises InvalidFile.

    `unreadable`: the remedy for a file that cannot be opened.
    """
    text, line, column = "", 0, 0
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
        if len(raw) > most:
            raise InvalidFile([Problem(str(path), f"has more than {most} bytes", f"keep it to at most {most}")])
        text = raw.decode()
        return tomllib.loads(text), text
    except OSError as error:
        what, remedy = error.strerror or "cannot be read", unreadable
    except UnicodeDecodeError as error:
        what, remedy = f"byte {error.start} is not UTF-8", "save the file as UTF-8"
    except tomllib.TOMLDecodeError as error:
        what, line, column = _located(str(error), text)
        remedy = _TOML
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, or nesting as deep
        what, remedy = f"cannot be read: {error}", _TOML
    raise InvalidFile([Problem(str(path), what, remedy, line, column)])


def _located(message: str, text: str) -> tuple[str, int, int]:
    found = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    if not found:
        return message, 0, 0
    if found[1] is None:
        return message, text.count("\n") + 1, 1
    return message[: found.start()], int(found[1]), int(found[2])


def _lines(text: str) -> dict[str, int]:
    """The line of each key, for problems. Finds keys that are written in the usual way."""
    section = ""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            section = header[1]
            found.setdefault(section, number)
        elif pair := re.match(r"\s*([\w.-]+)\s*=", line):
            found.setdefault(f"{section}.{pair[1]}" if section else pair[1], number)
    return found


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Given]:
    """Variables `RISKD_SECTION__FIELD`. Names without a double underscore are ignored: Kubernetes sets `RISKD_PORT`."""
    if environ.get("RISKD_GEO_DIR"):
        yield _Given("geo.dir", environ["RISKD_GEO_DIR"], "RISKD_GEO_DIR", "RISKD_GEO_DIR")
    for variable in sorted(environ):
        section, mark, name = variable.removeprefix("RISKD_").lower().partition("__")
        if mark and variable.startswith("RISKD_"):
            yield _Given(f"{section}.{name}", environ[variable], variable, variable)


def _misspelt(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Variables with one underscore too few. If they were ignored, a service could start without its TLS settings.

    Excepted are `RISKD_GEO_DIR`, which is valid, and values `tcp://...`, which Kubernetes sets for a service that is
    called `riskd-server`.
    """
    for field in FIELDS.values():
        variable = field.variable.replace("__", "_", 1)
        if variable != "RISKD_GEO_DIR" and not environ.get(variable, "tcp://").startswith(("tcp://", "udp://")):
            yield Problem(variable, "is not a variable of riskd", f"did you mean {field.variable}?")


def _converted(field: Field, one: _Given) -> object:
    value = one.value
    if one.text and isinstance(value, str) and isinstance(field.default, tuple):
        value = tuple(part.strip() for part in value.split(",") if part.strip())
    converted: object = msgspec.convert(value, field.type, strict=not one.text)
    return converted


def _invalid(field: Field, one: _Given) -> Problem:
    what = f"{field.key} cannot be {one.value!r:.80}"
    usual = "empty" if field.default in ("", ()) else f"{field.default!r}"
    return Problem(one.where, what, f"use {field.accepts}; the default is {usual}", one.line, one.column)


def _unknown(one: _Given) -> Problem:
    section, _, name = one.key.partition(".")
    if section in _SECTIONS and name:
        known = [field.name for field in FIELDS.values() if field.section == section]
        what, near = f"[{section}] has no setting {name!r}", difflib.get_close_matches(name, known, 1)
    elif section in _SECTIONS:
        what, near = f"{section!r} is a section, not a value", [f"[{section}]"]
    else:
        what, near = f"there is no section {section!r}", difflib.get_close_matches(section, _SECTIONS, 1)
    return Problem(
        one.where, what, f"did you mean {near[0]}?" if near else "`riskd settings` lists them", one.line, one.column
    )


def _derived(values: Mapping[str, object]) -> dict[str, object]:
    """The values of all settings, given or not: with defaults that depend on other settings, and absolute paths."""
    found = {key: values.get(key, field.default) for key, field in FIELDS.items()}
    state = _absolute(str(found["state.dir"]))
    for key, field in FIELDS.items():
        if field.path:
            found[key] = _absolute(str(found[key])) or (f"{state}/{field.in_state}" if field.in_state else "")
    found["server.threads"] = found["server.threads"] or THREADS[str(found["store.kind"])]
    return found


def _absolute(path: str) -> str:
    """The absolute path. A URL, or a path in an unknown home directory (`~name/...`), is returned unchanged."""
    path = os.path.expanduser(path)  # noqa: PTH111 - `Path.expanduser` raises
    return str(Path(path).absolute()) if path and not path.startswith("~") and "://" not in path else path


def _built(values: Mapping[str, object]) -> Settings:
    sections = {}
    for section, kind in get_type_hints(Settings).items():
        fields = [field for field in FIELDS.values() if field.section == section]
        sections[section] = kind(**{field.name: values[field.key] for field in fields})
    return Settings(**sections)


def _with_secrets(settings: Settings, environ: Mapping[str, str], problems: list[Problem]) -> Settings:
    """The settings with their secrets, which come from the environment or else from files."""
    secrets = settings.secrets
    where, peppers = _secret("RISKD_PEPPER", "secrets.pepper_file", secrets.pepper_file, environ)
    _, password = _secret("RISKD_STORE_PASSWORD", "secrets.store_password_file", secrets.store_password_file, environ)
    if where:
        problems += pepper_problems(where, split(peppers))
    path = "" if where == "RISKD_PEPPER" else secrets.pepper_file
    secrets = replace(secrets, pepper=Secret(peppers), pepper_file=path, store_password=Secret(password))
    return replace(settings, secrets=secrets)


def _secret(variable: str, setting: str, path: str, environ: Mapping[str, str]) -> tuple[str, bytes]:
    """The origin of a secret, and its value; both empty if there is none."""
    if found := environ.get(variable, "").encode("utf-8", "surrogateescape"):
        return variable, found
    if path and Path(path).is_file() and os.access(path, os.R_OK):
        with Path(path).open("rb") as file:
            return setting, file.read(SECRET_BYTES).strip()
    return "", b""
