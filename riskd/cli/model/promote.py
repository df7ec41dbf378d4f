"""`riskd model promote` and `riskd model rollback`: change which model decides, if it passes the gate."""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from riskd.cli.arguments import user
from riskd.cli.model.listing import history_line
from riskd.cli.model.opening import add_action, loaded, opened
from riskd.cli.terminal import print_json, print_table
from riskd.core.attempt import DOMAINS
from riskd.core.errors import UNDECODABLE, InvalidModel, Problem, RiskdError
from riskd.wording import quantity

if TYPE_CHECKING:
    from riskd.offline.evaluation.document import Evaluation
    from riskd.offline.models.promotion import Check

NOT_PASSED: Final = 1
ROLES: Final = ("champion", "challenger")
_NEXT: Final = """\
A service that follows its files decides by this within seconds; if a release was activated by hand, only
after `riskd release create` and `riskd release activate`."""
_SHADOW: Final = "Score it in shadow: `riskd release shadow`."


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the actions."""
    promote = add_action(
        actions,
        "promote",
        "make a model the champion, if it is no worse than the present one; or the challenger, to be scored in shadow",
        _promote,
        epilog="exit codes: 0 done; 1 a check did not pass, and nothing has changed; 2 refused: it would not be "
        "served. Every check is printed with its figures. A challenger decides nothing: only its latency is checked.",
    )
    promote.add_argument("domain", metavar="DOMAIN", choices=DOMAINS, help=f"one of {', '.join(DOMAINS)}")
    promote.add_argument("version", metavar="VERSION", help="version to promote")
    promote.add_argument(
        "--evaluation", metavar="FILE", type=Path, help="document of `riskd evaluate` (default: the bundle's own)"
    )
    promote.add_argument(
        "--rate", default="1%", help="false-positive rate at which recall is compared: 1%% or 0.1%% (default: 1%%)"
    )
    promote.add_argument(
        "--force", metavar="REASON", help="promote although checks fail; the reason is kept in the history"
    )
    promote.add_argument("--dry-run", action="store_true", help="print the checks, change nothing")
    _role(promote)
    _who(promote)
    purpose = "give a role back to the version that had it before; repeat it to go further back"
    back = add_action(actions, "rollback", purpose, _rollback)
    back.add_argument("domain", metavar="DOMAIN", choices=DOMAINS, help=f"one of {', '.join(DOMAINS)}")
    _role(back)
    _who(back)


def _role(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as", dest="role", choices=ROLES, default="champion", help="the role (default: champion)")


def _who(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, kept in the history")
    parser.add_argument(
        "--actor", metavar="NAME", default="", help="who asks for it (default: the user of this process)"
    )


def _promote(args: argparse.Namespace) -> int:
    from riskd.adapters.model_registry import Act

    settings, registry = opened(args)
    path = registry.path(args.domain, args.version)
    held = registry.holder(args.domain, args.role)
    if held == args.version:
        raise _refused(f"{args.version} is {args.role} already")
    if args.role == "challenger" and registry.holder(args.domain, "champion") == args.version:
        raise _refused(f"{args.version} is the champion, and cannot be its own challenger")
    document = _evaluation(args.evaluation, path) if args.role == "champion" else None
    checks = _checks(args, settings.models.trusted_keys, path, registry.champion(args.domain), document)
    failed = tuple(check.name for check in checks if not check.passed)
    done = not args.dry_run and (not failed or bool(args.force))
    act = Act(
        time=time.time(),
        actor=args.actor or user(),
        act="promote",
        role=args.role,
        version=args.version,
        before=held,
        reason=args.force or args.reason,
        forced=failed if args.force else (),
        evaluation=hashlib.sha256(document).hexdigest() if document else "",
    )
    if done:
        registry.give(args.domain, act)
    if args.json:
        print_json({"checks": checks, "passed": not failed, "promoted": done, "act": act if done else None})
    else:
        marks = {True: "ok", False: "NO"}
        print_table(("", "check", "figures"), [(marks[check.passed], check.name, check.said) for check in checks])
        if done:
            print(history_line(act))
            print(_SHADOW if args.role == "challenger" else _NEXT)
        elif failed:
            many = f"{len(failed)} of {quantity(len(checks), 'check')}"
            print(f"{many} did not pass; nothing has changed. --force REASON overrides.")
    return NOT_PASSED if failed and not done else 0


def _checks(
    args: argparse.Namespace, trusted: Sequence[str], path: Path, champion: Path, document: bytes | None
) -> list[Check]:
    """Every check of the gate. Raises InvalidModel for a candidate that a service would refuse."""
    from riskd.adapters.model_file import read_signature
    from riskd.offline.evaluation.document import RATES
    from riskd.offline.models.promotion import Check, judged, quick

    if args.rate not in RATES:
        raise _refused(f"--rate {args.rate!r} is not one of {', '.join(RATES)}")
    candidate, signature = loaded(trusted, path, args.domain), read_signature(path)
    signed = f"by {signature.key}" if signature else "not signed"
    checks = [
        Check("features", True, f"all known, defined as here; schema {candidate.schema}"),
        Check("signature", True, signed + ("" if trusted else "; models.trusted_keys requires none")),
    ]
    if args.role == "champion":
        checks += judged(_decoded(args.evaluation, document), path.name, champion.name, args.rate)
    checks.append(quick(candidate, loaded((), champion, args.domain)))
    return checks


def _evaluation(file: Path | None, bundle: Path) -> bytes | None:
    """The evaluation in a file, else the one in the bundle. Raises InvalidModel if it cannot be read."""
    from riskd.adapters.model_file import read_evaluation

    try:
        return file.read_bytes() if file else read_evaluation(bundle)
    except OSError as error:
        raise _no_evaluation(file, f"cannot be read: {error.strerror}") from error


def _decoded(file: Path | None, document: bytes | None) -> Evaluation | None:
    from riskd.offline.evaluation.document import Evaluation

    try:
        return msgspec.json.decode(document, type=Evaluation) if document is not None else None
    except UNDECODABLE as error:
        raise _no_evaluation(file, f"is not an evaluation: {error}") from error


def _no_evaluation(file: Path | None, what: str) -> RiskdError:
    return InvalidModel([Problem(str(file or "evaluation.json"), what, "riskd evaluate --out DIR makes one")])


def _rollback(args: argparse.Namespace) -> int:
    from riskd.adapters.model_registry import Act

    settings, registry = opened(args)
    held, target = registry.holder(args.domain, args.role), registry.before(args.domain, args.role)
    if target:
        loaded(settings.models.trusted_keys, registry.path(args.domain, target), args.domain)
    act = Act(
        time=time.time(),
        actor=args.actor or user(),
        act="rollback",
        role=args.role,
        version=target,
        before=held,
        reason=args.reason,
    )
    registry.give(args.domain, act)
    if args.json:
        print_json(act)
    else:
        print(history_line(act))
        print(_SHADOW if args.role == "challenger" else _NEXT)
    return 0


def _refused(what: str) -> RiskdError:
    return InvalidModel([Problem("model promote", what, "riskd model list says who has which role")])
