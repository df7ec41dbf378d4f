"""`riskd settings`: print the settings and where they come from, check them, and print the reference page."""

from __future__ import annotations

import argparse
import json
import os
import pwd
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from riskd.cli.terminal import aligned, markdown_table, print_json
from riskd.config import FIELDS, Field, Loaded, Settings, explain
from riskd.core.errors import InvalidSettings, Problem

_INTRODUCTION: Final = """\
# Settings

For operators: every setting with its default and meaning. The defaults suit an embedded start. Sources, where each
overrides the one before:

1. the default,
2. the TOML file of `--config`, else of `RISKD_CONFIG`: `port` of `[server]` is `server.port`,
3. the environment: `RISKD_SERVER__PORT` (separate lists by commas),
4. flags: `--set server.port=50551`, and the short ones of `riskd serve --help`.

riskd reports all mistakes at once, with file and line or variable, and exits with code 2. `riskd settings` prints the
values in use and where each comes from; `riskd settings --check` prints only mistakes. This page is
`riskd settings --markdown`.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `settings`."""
    parser = commands.add_parser("settings", description="Show every setting, its value and where it comes from.")
    add_arguments(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--check", action="store_true", help="print only mistakes; exit code 2 if there are any")
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--markdown", action="store_true", help="print the reference page docs/settings.md")
    parser.set_defaults(handler=_run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that set settings: --config and --set."""
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings (default: $RISKD_CONFIG, else none)")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="set one setting: server.port=50551; repeatable"
    )


def given(
    args: argparse.Namespace,
    short: Mapping[str, str | None] | None = None,
    *,
    here: bool = True,
    writes: bool = False,
) -> Loaded:
    """The settings that the arguments ask for. `short`: values of settings that have a flag of their own; `here`: see
    `explain`; `writes`: the command writes into directories of the service.

    Raises InvalidSettings.
    """
    flags = {key: value for key, value in (short or {}).items() if value is not None}
    malformed = []
    for pair in args.set:
        key, equals, value = pair.partition("=")
        flags[key.strip()] = value
        if not equals:
            malformed.append(Problem("--set", f"{pair!r} has no `=`", "write --set server.port=50551"))
    if malformed:
        raise InvalidSettings(malformed)
    loaded = explain(args.config, os.environ, flags, here=here)
    if writes and os.geteuid() == 0:
        _refuse_root(loaded.settings)
    return loaded


def _refuse_root(settings: Settings) -> None:
    """Raise InvalidSettings if the service runs as another user, who could not write to what root makes there."""
    for key, made in (
        ("log.dir", settings.log.dir),
        ("store.path", settings.store.path),
        ("release.dir", settings.release.dir),
    ):
        with suppress(FileNotFoundError):
            if owner := Path(made).stat().st_uid:
                what = f"{made} belongs to {_name(owner)}, who could not write to what root makes there"
                raise InvalidSettings([Problem(key, what, "run this as the user of the service")])


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def declared(args: argparse.Namespace) -> tuple[str, ...] | None:
    """The custom attributes that the settings declare; None without settings, that is, neither a file of them nor the
    attributes. The other settings may be those of another machine. Raises InvalidSettings."""
    loaded = given(args, here=False)
    known = args.config or os.environ.get("RISKD_CONFIG") or loaded.origins["attributes.names"] != "default"
    return loaded.settings.attributes.names if known else None


def _run(args: argparse.Namespace) -> int:
    if args.markdown:
        print(markdown(), end="")
        return 0
    loaded = given(args)
    if args.json:
        print_json(_rows(loaded))
    elif not args.check:
        print(aligned([(key, json.dumps(row["value"]), str(row["origin"])) for key, row in _rows(loaded).items()]))
    return 0


def _rows(loaded: Loaded) -> dict[str, dict[str, object]]:
    rows: dict[str, dict[str, object]] = {
        key: {"value": getattr(getattr(loaded.settings, field.section), field.name), "origin": loaded.origins[key]}
        for key, field in FIELDS.items()
    }
    secrets = loaded.settings.secrets
    source = ("secrets.pepper_file" if secrets.pepper_file else "RISKD_PEPPER") if secrets.pepper else "development"
    rows["secrets.pepper"] = {"value": "hidden", "origin": source}
    if secrets.store_password:
        source = "secrets.store_password_file" if secrets.store_password_file else "RISKD_STORE_PASSWORD"
        rows["secrets.store_password"] = {"value": "hidden", "origin": source}
    return rows


def markdown() -> str:
    """The reference page."""
    parts = [_INTRODUCTION]
    for section in dict.fromkeys(field.section for field in FIELDS.values()):
        doc = (type(getattr(Settings(), section)).__doc__ or "").partition("\n")[0]
        rows = [_cells(field) for field in FIELDS.values() if field.section == section]
        table = markdown_table(("setting", "default", "accepts", "environment", "meaning"), rows)
        parts.append(f"\n## [{section}]\n\n{doc}\n\n{table}")
    return "".join(parts)


def _cells(field: Field) -> tuple[str, ...]:
    default = f"`{json.dumps(field.default)}`" if field.default not in ("", ()) else ""
    return f"`{field.name}`", default, field.accepts, f"`{field.variable}`", field.doc
