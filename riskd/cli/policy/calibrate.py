"""`riskd policy calibrate`: sets bands from a friction budget."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from riskd.cli.policy import decisions
from riskd.cli.terminal import print_json, progress, save
from riskd.core.errors import InvalidSettings, Problem
from riskd.core.features import NAMES
from riskd.core.policy import Policy
from riskd.wording import quantity

if TYPE_CHECKING:
    from riskd.offline.policies.calibrate import Calibration


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `policy calibrate`."""
    purpose = "set the bands from a friction budget; exit code 1 if the log is too small for one of them"
    parser = actions.add_parser(
        "calibrate",
        help=purpose,
        description=f"Calibrate policies: {purpose}.",
        epilog="exit codes: 0 done; 1 the log is too small for a journey; 2 refused: a policy, the log or a flag",
    )
    decisions.add_policies(parser)
    decisions.add_models(parser, decisions.RECORDED)
    decisions.add_arguments(parser)
    parser.add_argument(
        "--budget",
        metavar="SHARE",
        type=_budget,
        help="share of good decisions that may be challenged (default: each journey's friction_budget)",
    )
    parser.add_argument(
        "--presume-good", action="store_true", help="count decisions without a reported outcome as good"
    )
    parser.add_argument("--write", metavar="FILE", type=Path, help="write the policy with the new bands to a new file")
    parser.set_defaults(handler=_run)


def _budget(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1, such as 0.01 or 1%")
    return share


def _run(args: argparse.Namespace) -> int:
    from riskd.offline.policies.backtest import passes
    from riskd.offline.policies.calibrate import Samples, calibrate, collect

    given = decisions.policies_of(args)
    with progress() as begin:
        backtest, policies = decisions.backtest(args, given, begin)
        _refuse_to_write(args, policies)
        policies = [policy.of(args.tenant) for policy in policies]
        chosen = _chosen(args, policies)
        samples = Samples()
        for part in passes(backtest, partial(collect, presumed=args.presume_good)):
            samples += part
    decisions.refuse_nothing(backtest.log, samples.tally)
    calibrations = [calibrate(samples, policy, name, budget) for policy, name, budget in chosen]
    if args.json:
        print_json(calibrations)
    else:
        _print(calibrations, samples.tally.counts, args.tenant)
    if args.write and any(one.new for one in calibrations):
        _write(args.write, backtest.policies[0], calibrations)
    return 1 if any(one.refused for one in calibrations) else 0


def _chosen(args: argparse.Namespace, policies: list[Policy]) -> list[tuple[Policy, str, float]]:
    """The journeys to calibrate, each with its budget. Raises InvalidSettings if none has one."""
    chosen = [
        (policy, name, budget)
        for policy in policies
        for name, journey in policy.journeys.items()
        if (name in args.journey if args.journey else journey.bands.edges)
        and (budget := args.budget or journey.friction_budget) is not None
    ]
    if not chosen:
        remedy = "give one, such as 1%, or write a friction_budget into the journeys"
        raise InvalidSettings([Problem("--budget", "no journey has a friction budget", remedy)])
    return chosen


def _refuse_to_write(args: argparse.Namespace, policies: list[Policy]) -> None:
    file: Path | None = args.write
    if file is not None and args.tenant:
        what, remedy = "would write the tenant's bands as the policy's", "leave it out, and write them below the tenant"
        raise InvalidSettings([Problem("--write", what, remedy)])
    if file is not None and file.exists():
        raise InvalidSettings([Problem("--write", f"{file} is there already", "name a new file, then compare them")])
    if file is not None and len(policies) != 1:
        raise InvalidSettings([Problem("--write", "several policies are calibrated", "choose one with --domain")])


def _write(file: Path, policy: tuple[str, str], calibrations: list[Calibration]) -> None:
    from riskd.adapters.cel_rules import CelCompiler
    from riskd.adapters.policy_file import read_policy, with_bands

    text = with_bands(*policy, {one.journey: one.new for one in calibrations if one.new})
    read_policy(policy[0], text, CelCompiler(NAMES))
    save(file, text)


def _print(calibrations: list[Calibration], counts: Mapping[str, int], tenant: str) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    known, unknown, wrong = (counts.get(name, 0) for name in ("replayed", "without_verdict", "wrong_credential"))
    console.print(
        f"{quantity(known, 'decision')} with a verdict, {unknown:,} without, {wrong:,} with a wrong credential"
    )
    for one in calibrations:
        head = f"{one.domain} {one.journey}"
        if one.refused:
            more = f"; {quantity(one.needed, 'more good decision')} needed" if one.needed else ""
            console.print(Text(f"{head}: refused: {one.refused}{more}", "yellow"))
            continue
        assert one.friction
        assert one.recall
        limit = f"at most {one.budget * 100:.3g} % of good decisions, with a confidence of 95 %"
        console.print(Text(f"{head}: challenge {limit}", "bold"))
        changes = {"friction": (one.good, one.friction), "recall": (one.fraud, one.recall)}
        for name, (total, (old, new)) in changes.items():
            console.print(f"  {name:<8} {old} -> {new} of {total:,}")
    for domain in dict.fromkeys(one.domain for one in calibrations if one.new):
        console.print(f"\n# {domain}.yaml")
        lines = ["journeys:"]
        for one in (one for one in calibrations if one.domain == domain and one.new):
            lines += [f"  {one.journey}:", "    bands:"]
            lines += [f"      {tier}: {edge!r} # was {one.old[tier]!r}" for tier, edge in (one.new or {}).items()]
        if tenant:
            lines = ["tenants:", f"  {json.dumps(tenant, ensure_ascii=False)}:", *(f"    {line}" for line in lines)]
        console.print(Text("\n".join(lines)))
