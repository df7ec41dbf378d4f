"""`riskd model list`, `show`, `verify` and `sign`: which models there are, which role they have, and who signed
them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from riskd.cli.model.opening import add_action, add_name, loaded, opened
from riskd.cli.terminal import print_json, print_table
from riskd.core.attempt import DOMAINS
from riskd.core.errors import InvalidModel, Problem
from riskd.core.score import schema_of
from riskd.wording import quantity, when

if TYPE_CHECKING:
    from riskd.adapters.model_registry import Act

REFUSED: Final = 2


class Listed(Struct, frozen=True, kw_only=True):
    """A model in the list. `since`: when it got its role (epoch seconds), None if the history does not say."""

    domain: str
    version: str
    role: str
    since: float | None
    kind: str
    created: str
    features: int
    schema: str
    signed_by: str


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the actions."""
    purpose = "list the models of every identity domain, and who has which role"
    listed = add_action(actions, "list", purpose, _list)
    listed.add_argument("--domain", choices=DOMAINS, action="append", help="identity domain; repeatable (default: all)")
    show = add_action(
        actions, "show", "show one model: figures, features, signature, and the history of its roles", _show
    )
    add_name(show)
    purpose = "load models as a service would: hashes, features, bounds, and a trusted signature if required"
    verify = add_action(
        actions, "verify", purpose, _verify, epilog="exit codes: 0 all would be served; 2 one would not"
    )
    verify.add_argument("domain", choices=DOMAINS, nargs="?", metavar="DOMAIN", help="identity domain (default: all)")
    verify.add_argument("version", metavar="VERSION", nargs="?", help="version (default: all of the domain)")
    sign = add_action(actions, "sign", "sign bundles, and print the public key for models.trusted_keys", _sign)
    sign.add_argument(
        "--key", metavar="FILE", type=Path, required=True, help="Ed25519 private key, PEM without a password"
    )
    sign.add_argument("bundles", metavar="BUNDLE", type=Path, nargs="+", help="directory of a bundle")


def _list(args: argparse.Namespace) -> int:
    from riskd.adapters.model_file import read_manifest, read_signature

    _, registry = opened(args)
    rows = []
    for domain in args.domain or DOMAINS:
        held = {role: registry.holder(domain, role) for role in ("champion", "challenger")}
        for version in registry.versions(domain):
            path = registry.path(domain, version)
            manifest, signature = read_manifest(path), read_signature(path)
            role = next((role for role in held if held[role] == version), "")
            rows.append(
                Listed(
                    domain=domain,
                    version=version,
                    role=role,
                    since=_since(registry.history(domain), role, version),
                    kind=manifest.kind,
                    created=manifest.created,
                    features=len(manifest.features),
                    schema=manifest.schema,
                    signed_by=signature.key if signature else "",
                )
            )
    if args.json:
        print_json(rows)
        return 0
    cells = [
        (
            *(row.domain, row.version, row.role, when(row.since) if row.since else ""),
            *(row.kind, row.created, str(row.features), row.signed_by[:16]),
        )
        for row in rows
    ]
    print_table(("domain", "version", "role", "since", "kind", "created", "features", "signed by"), cells)
    return 0


def _since(history: Sequence[Act], role: str, version: str) -> float | None:
    last = next((act for act in reversed(history) if act.role == role), None)
    return last.time if last and last.version == version else None


def _show(args: argparse.Namespace) -> int:
    from riskd.adapters.model_file import read_forest, read_manifest, read_signature

    settings, registry = opened(args)
    path = registry.path(args.domain, args.version) if args.version else registry.champion(args.domain)
    manifest, signature, document = read_manifest(path), read_signature(path), read_forest(path)
    acts = [act for act in registry.history(args.domain) if path.name in (act.version, act.before)]
    roles = [role for role in ("champion", "challenger") if registry.holder(args.domain, role) == path.name]
    if args.json:
        print_json({"path": str(path), "roles": roles, "manifest": manifest, "signature": signature, "history": acts})
        return 0
    leaves = sum(isinstance(node, float | int) for tree in document.trees for node in tree)
    key = signature.key if signature else ""
    trust = " (trusted)" if key in settings.models.trusted_keys else " (not in models.trusted_keys)"
    names = dict.fromkeys((manifest.name, f"{manifest.domain} {manifest.version}"))
    figures = [f"{value:<10.4g} {name}" for name, value in manifest.metrics.items()]
    facts = {
        "model": f"{', '.join(names)}, {manifest.kind}, {manifest.created}",
        "role": ", ".join(roles) or "none",
        "forest": f"{quantity(len(document.steps), 'step function')}, {quantity(len(document.trees), 'tree')} with "
        f"{quantity(leaves, 'leaf', 'leaves')}, {quantity(len(document.calibration), 'knot')} of calibration",
        "features": f"{len(manifest.features)}, schema {schema_of(manifest.features)}",
        "data": manifest.data or "not stated",
        "code": manifest.code or "not stated",
        "metrics": f"\n{'':<10} ".join(figures) or "none",
        "signed by": key + trust if key else "none",
        "files": ", ".join(sorted([*manifest.files, "manifest.json"])),
        "path": str(path),
    }
    for name, value in facts.items():
        print(f"{name:<10} {value}")
    for act in acts:
        print(history_line(act))
    return 0


def history_line(act: Act) -> str:
    """An entry of the history in one line."""
    what = f"{act.act} {act.version or 'none'} as {act.role}, after {act.before or 'none'}"
    why = f": {act.reason}" if act.reason else ""
    forced = f" [forced past: {', '.join(act.forced)}]" if act.forced else ""
    return f"{when(act.time)}  {what}, by {act.actor}{why}{forced}"


def _verify(args: argparse.Namespace) -> int:
    from riskd.adapters.model_file import read_signature

    settings, registry = opened(args)
    problems: list[Problem] = []
    rows = []
    for domain in [args.domain] if args.domain else DOMAINS:
        for version in [args.version] if args.version else registry.versions(domain):
            try:
                path = registry.path(domain, version)
                forest = loaded(settings.models.trusted_keys, path, domain)
                signature = read_signature(path)
            except InvalidModel as error:
                problems += error.problems
                continue
            by = signature.key if signature else ""
            checked = bool(by) and bool(settings.models.trusted_keys)
            rows.append(
                {"domain": domain, "version": version, "schema": forest.schema, "signed_by": by, "trusted": checked}
            )
    if not rows and not problems:
        remedy = "name another directory with --models, or in release.models"
        problems.append(
            Problem(str(registry.models), f"has no models of {args.domain or 'any identity domain'}", remedy)
        )
    if args.json:
        print_json({"sound": rows, "problems": problems})
        return REFUSED if problems else 0
    for row in rows:
        by = f"signed by {str(row['signed_by'])[:16]}" if row["signed_by"] else "not signed"
        trust = " (trusted)" if row["trusted"] else " (not checked: models.trusted_keys is empty)"
        print(f"{row['domain']} {row['version']}: sound, schema {row['schema']}, {by}{trust}")
    if problems:
        raise InvalidModel(problems)
    return 0


def _sign(args: argparse.Namespace) -> int:
    from riskd.adapters.model_file import MANIFEST, sign

    signed = {}
    for path in args.bundles:
        loaded((), path)
        signed[str(path)] = sign(path, (path / MANIFEST).read_bytes(), args.key)
    if args.json:
        print_json(signed)
        return 0
    for name, signature in signed.items():
        print(f"{name}: signed with {signature.key}")
    return 0
