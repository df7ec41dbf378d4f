"""`riskd caller`: create tokens for callers, and list who may call what."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import print_json
from riskd.core.errors import Problem


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `caller` and its actions."""
    caller = commands.add_parser("caller", description="Create tokens for callers, and show who may call what.")
    actions = caller.add_subparsers(required=True, metavar="ACTION")
    new = actions.add_parser(
        "new",
        help="create a token and its entry for the callers file",
        description="Create a token for a caller, and print it once. Below it is the entry for the callers file "
        "(setting `server.callers`), which holds only the token's SHA-256. Nothing is written to disk.",
    )
    new.add_argument("name", metavar="NAME", help="name of the caller, in lower case")
    new.add_argument(
        "--method",
        metavar="METHOD",
        action="append",
        help="role or method that the caller may use; repeatable (default: assessor)",
    )
    new.add_argument(
        "--tenant",
        metavar="NAME",
        action="append",
        help='tenant that the caller may name, or "*" for all; repeatable (default: none, "")',
    )
    new.add_argument("--json", action="store_true", help="print JSON")
    new.set_defaults(handler=_new)
    purpose = "check the callers file, and show who may call what"
    codes = "exit codes: 0 the file is valid; 2 refused: all problems are listed"
    listed = actions.add_parser("list", help=purpose, description=purpose, epilog=codes)
    listed.add_argument("file", metavar="FILE", nargs="?", help="callers file (default: server.callers)")
    listed.add_argument("--json", action="store_true", help="print JSON")
    add_arguments(listed)
    listed.set_defaults(handler=_list)


def _new(args: argparse.Namespace) -> int:
    from riskd.server.identity.callers import new_token, token_hash
    from riskd.server.identity.callers_file import NAME, InvalidCallers, unknown_methods

    methods, tenants = args.method or ["assessor"], args.tenant or [""]
    problems = list(unknown_methods("--method", methods))
    if not NAME.fullmatch(args.name):
        remedy = "use lower-case letters, digits and -_., and begin with a letter or digit"
        problems.append(Problem("NAME", f"{args.name!r} is not a valid name", remedy))
    if problems:
        raise InvalidCallers(problems)
    token = new_token()
    entry = {"token_sha256": [token_hash(token)], "methods": methods, "tenants": tenants}
    if args.json:
        print_json({"token": token, "entry": {args.name: entry}})
        return 0
    print(f"token, shown only once: {token}\n\nentry for the callers file:\n\n[{args.name}]")
    for key, texts in entry.items():
        print(f"{key} = {json.dumps(texts, ensure_ascii=False)}")
    return 0


def _list(args: argparse.Namespace) -> int:
    from riskd.server.identity.callers_file import InvalidCallers, read_callers

    server = given(args).settings.server
    path = args.file or server.callers
    if not path:
        remedy = "set it, or name a file; until it is set, anyone who reaches the port may call"
        raise InvalidCallers([Problem("server.callers", "is not set", remedy)])
    callers = read_callers(Path(path), mutual=bool(server.tls_client_ca)).all
    if args.json:
        rows = {
            each.name: {
                "methods": sorted(each.methods),
                "tenants": sorted(each.tenants),
                "tokens": len(each.token_sha256),
                "certificates": each.certificates,
            }
            for each in callers
        }
        print_json(rows)
        return 0
    for each in callers:
        known = [*each.certificates, *([f"{len(each.token_sha256)} token"] if each.token_sha256 else [])]
        print(f"{each.name}: known by {', '.join(known)}")
        print(f"  tenants  {', '.join(tenant or 'none named' for tenant in sorted(each.tenants))}")
        print(f"  methods  {', '.join(method.removeprefix('riskd.v1.') for method in sorted(each.methods))}")
    return 0
