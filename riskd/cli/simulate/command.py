"""`riskd simulate`: runs a world of people, machines and attackers through the real engine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from riskd.cli.arguments import class_weight
from riskd.cli.extras import require
from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import console, print_json, print_table, progress
from riskd.core.attempt import DOMAINS
from riskd.core.errors import InvalidSettings, Problem
from riskd.version import version
from riskd.wording import quantity

if TYPE_CHECKING:
    from riskd.offline.world.assumptions import Values
    from riskd.offline.world.run import Made

MOST_WEIGHT = 1000


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `simulate`."""
    parser = commands.add_parser(
        "simulate",
        description="Simulate people, machines and attackers who sign in to the real engine, and write its decision "
        "log and the truth about each assessment. Addresses are real ones, drawn from the installed geo databases "
        "(riskd geo install). The same seed makes the same files; another number of users makes another world. "
        "--assumptions lists the numbers that the world is made of. docs/simulation.md says what it is good for, and "
        "what not.",
        epilog="exit codes: 0 done; 1 --audit found something; 2 refused: arguments, settings, no geo databases",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="directory to write; must be empty or not exist")
    parser.add_argument("--users", metavar="N", type=int, default=800, help="accounts (default: %(default)s)")
    parser.add_argument("--days", metavar="N", type=float, default=365.0, help="length in days (default: %(default)g)")
    parser.add_argument(
        "--seed", metavar="N", type=int, default=1, help="seed of everything that is drawn (default: %(default)s)"
    )
    parser.add_argument(
        "--domain", choices=DOMAINS, action="append", help="identity domain; repeatable (default: all three)"
    )
    parser.add_argument(
        "--attack-share",
        metavar="P",
        type=float,
        default=0.06,
        help="approximate share of attempts that are attacks (default: %(default)g)",
    )
    parser.add_argument(
        "--weight",
        metavar="CLASS=N",
        action="append",
        default=[],
        help="weight of a class of attack among those of its domain, instead of the one in docs/simulation.md; 0 for "
        "none; repeatable",
    )
    parser.add_argument("--vary", metavar="SEED", type=int, help="draw every assumption from its range, with this seed")
    parser.add_argument("--assumptions", action="store_true", help="print the table of assumptions, and stop")
    parser.add_argument(
        "--audit",
        metavar="DIR",
        type=Path,
        nargs="*",
        help="check the worlds of an earlier --out, or a new one that is not kept, for signals that give attackers "
        "away and for values that look riskier and prove honesty",
    )
    parser.add_argument("--markdown", action="store_true", help="print the page docs/simulation.md, and stop")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_arguments(parser)
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.offline.world.assumptions import DEFAULTS, varied

    values = DEFAULTS if args.vary is None else varied(args.vary)
    if args.markdown:
        from riskd.cli.simulate.page import page

        print(page(), end="")
        return 0
    if args.assumptions:
        _assumptions(values, as_json=args.json)
        return 0
    if args.audit is not None:
        return _audit(args, values)
    result, seconds = _simulated(args, values, args.out)
    count = sum(result.assessments.values())
    events = count + sum(result.outcomes.values())
    if args.json:
        rate = {"seconds": round(seconds, 3), "events_per_second": round(events / seconds)}
        print_json(asdict(result) | rate)
    else:
        _print(result, count, events, seconds, args.out)
    return 0


def _audit(args: argparse.Namespace, values: Values) -> int:
    require("sklearn", "the audit fits small models")
    if args.audit:
        return _audited(args, args.audit)
    with TemporaryDirectory(prefix="riskd-world-") as name:
        _simulated(args, values, Path(name))
        return _audited(args, [Path(name)])


def _audited(args: argparse.Namespace, directories: Sequence[Path]) -> int:
    from riskd.cli.simulate.audit import report
    from riskd.offline.world.attacks import CLASSES
    from riskd.offline.world.audit import audited

    with progress() as begin:
        advance = begin("audit", 4 * len(CLASSES) * len(directories))
        findings, turned, alone = audited(given(args).settings, directories, advance)
    return report(findings, turned, alone, as_json=args.json)


def _simulated(args: argparse.Namespace, values: Values, out: Path | None) -> tuple[Made, float]:
    from riskd.offline.world.open import open_world
    from riskd.offline.world.run import run
    from riskd.offline.world.world import Settings
    from riskd.wiring import active_release

    weights, wrong = _weights(args.weight)
    wrong += [
        Problem(name, f"{value:g} is not {what}", f"give {what}")
        for name, value, fits, what in (
            ("--users", args.users, args.users >= 1, "a number of users"),
            ("--days", args.days, 0 < args.days <= 3650, "a number of days, at most ten years"),
            ("--attack-share", args.attack_share, 0 <= args.attack_share <= 0.5, "a share from 0 to 0.5"),
        )
        if not fits
    ]
    if out is None:
        wrong.append(Problem("--out", "is missing", "name a directory for the log and the truth"))
    if wrong or out is None:
        raise InvalidSettings(wrong)
    chosen = tuple(domain for domain in DOMAINS if not args.domain or domain in args.domain)
    wanted = Settings(
        users=args.users,
        days=args.days,
        seed=args.seed,
        domains=chosen,
        attack_share=args.attack_share,
        weights=weights,
    )
    settings = given(args).settings
    release = active_release(settings)
    with progress() as begin:
        world, geo = open_world(settings, wanted, values)
        return run(world, release, geo, out, begin, version=version(), varied=args.vary)


def _weights(options: list[str]) -> tuple[dict[str, float], list[Problem]]:
    """The weights by class of attack, and the problems of invalid ones."""
    from riskd.offline.world.attacks import CLASSES

    weights: dict[str, float] = {}
    wrong: list[Problem] = []
    for each in options:
        name, weight = class_weight(each)
        weights[name] = weight
        if name not in CLASSES:
            wrong.append(Problem("--weight", f"{name!r} is not a class of attack", f"one of {', '.join(CLASSES)}"))
        elif not 0 <= weight <= MOST_WEIGHT:
            wrong.append(
                Problem("--weight", f"{each!r} is not a weight", f"{name}=N with a number from 0 to {MOST_WEIGHT}")
            )
    return weights, wrong


def _print(result: Made, count: int, events: int, seconds: float, out: Path) -> None:
    shown = console()
    for what, counts in (("journey", result.assessments), ("attack", result.attacks)):
        print_table(
            ("domain", what, "assessments"), [(*name.split(" "), f"{number:,}") for name, number in counts.items()]
        )
    share = sum(result.attacks.values()) / max(count, 1)
    shown.print(
        f"{quantity(count, 'assessment')}, {share:.1%} of them attacks, and {quantity(events - count, 'outcome')} in "
        f"{seconds:.1f} s: "
        f"{events / seconds:,.0f} events/s.\n{out}: decisions/ (the log), truth.jsonl (who it was), world.json (how)."
    )


def _assumptions(values: Values, *, as_json: bool) -> None:
    from riskd.offline.world.assumptions import TABLE

    if as_json:
        print_json([asdict(each) | {"value": values[each.name]} for each in TABLE])
        return
    rows = [
        (each.name, f"{values[each.name]:g}", f"{each.low:g} to {each.high:g}", each.unit, each.what, each.source)
        for each in TABLE
    ]
    print_table(("name", "value", "range", "unit", "what", "source"), rows)
