"""`riskd policy`: check, test, compare, backtest and calibrate policies before a service loads them."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from riskd.cli import settings
from riskd.cli.policy import backtest, calibrate, diff, signals, test, variables
from riskd.cli.terminal import complain, print_json
from riskd.core.errors import InvalidPolicy, Problem
from riskd.core.features import NAMES


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `policy` and its actions."""
    policy = commands.add_parser(
        "policy", description="Check, test, compare, backtest and calibrate policies before a service reads them."
    )
    actions = policy.add_subparsers(required=True, metavar="ACTION")
    purpose = "list every mistake of policy files, with line and column; exit code 2 if there is one"
    check = actions.add_parser(
        "check",
        help=purpose,
        description=f"Check policies: {purpose}. Attributes are checked against the settings of the service, if "
        "these are given. The files that settings name need not be on this machine.",
    )
    check.add_argument("files", metavar="FILE", type=Path, nargs="+", help="policy file, or a directory of them")
    settings.add_arguments(check)
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(handler=_check)
    for group in (test, diff, backtest, calibrate, signals, variables):
        group.add_actions(actions)


def _check(args: argparse.Namespace) -> int:
    from riskd.adapters.cel_rules import CelCompiler
    from riskd.adapters.policy_file import attributes_of, load_policy

    declared = settings.declared(args)
    compiler, right, problems, unchecked = CelCompiler(NAMES), [], [], set[str]()
    for given in args.files:
        files = sorted(given.glob("*.yaml")) if given.is_dir() else [given]
        if not files:
            problems.append(Problem(str(given), "has no policy files", "name them DOMAIN.yaml"))
        for file in files:
            try:
                policy = load_policy(file, compiler, now=time.time(), attributes=declared)
            except InvalidPolicy as error:
                problems += error.problems
            else:
                right.append({"file": str(file), "domain": policy.domain, "version": policy.version})
                unchecked |= attributes_of(policy) if declared is None else frozenset()
    if args.json:
        print_json({"right": right, "problems": problems, "unchecked_attributes": sorted(unchecked)})
        return 2 if problems else 0
    for one in right:
        print("{file}: {domain} {version}".format(**one))
    if unchecked:
        remedy = "give the settings of the service: --config FILE"
        complain(f"not checked whether these attributes are declared: {', '.join(sorted(unchecked))} ({remedy})")
    if problems:
        raise InvalidPolicy(problems)
    return 0
