"""`riskd train`: trains a model bundle on labelled assessments."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from riskd.cli import rows
from riskd.cli.arguments import class_weight
from riskd.cli.terminal import complain, print_json, progress
from riskd.core.errors import InvalidModel, InvalidSettings, Problem
from riskd.version import version
from riskd.wording import date, quantity

if TYPE_CHECKING:
    from riskd.offline.rows import Rows
    from riskd.offline.training.bundle import Report
    from riskd.offline.training.recipe import Recipe

NOT_EXACT = 1
_EXIT_CODES = """\
exit codes: 0 the bundle was written; 1 the exported forest differs from what was trained, and nothing was written;
2 refused: arguments, logs, too few labels, or a version that is there already."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `train`."""
    from riskd.offline.training.recipe import Recipe

    usual = Recipe()
    parser = commands.add_parser(
        "train",
        description="Train a model on decision logs. Boosted trees on top of an existing model, constrained to "
        "the directions of the features, calibrated, and exported exactly: docs/training.md explains the steps.",
        epilog=_EXIT_CODES,
    )
    rows.add_arguments(parser)
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="bundle to write, such as models/customer/VERSION"
    )
    parser.add_argument(
        "--base",
        metavar="BUNDLE",
        default="",
        help="model to boost the trees on top of, or none (default: the champion that comes with riskd)",
    )
    for flag, value, kind, meaning in (
        ("--base-share", usual.base_share, float, "share of each weight of the base that is kept"),
        ("--trees", usual.trees, int, "boosted trees"),
        ("--raising", usual.raising, int, "further, unconstrained trees that can only raise the score"),
        ("--leaves", usual.leaves, int, "most leaves of a tree"),
        ("--learning-rate", usual.learning_rate, float, "learning rate of the boosting"),
        ("--l2", usual.l2, float, "L2 regularisation of the leaves"),
        ("--min-rows", usual.min_rows, int, "fewest rows of a leaf"),
        ("--fraud-share", usual.fraud_share, float, "share of the total weight that all fraud has together"),
        ("--holdout", usual.holdout, float, "share of the rows that judge the model: the latest"),
        ("--tuning", usual.tuning, float, "share of the rows that calibrate it: those before the holdout"),
        ("--embargo-days", usual.embargo_days, float, "days left out before each of these parts"),
        ("--most-rows", usual.most_rows, int, "most good rows to train on, drawn at random"),
        (
            "--prior",
            usual.prior,
            float,
            "share of attempts that are fraud where the model will serve (default: as in the rows)",
        ),
        ("--seed", usual.seed, int, "seed of everything that is drawn"),
    ):
        default = "" if value is None else f" (default: {value:g})"
        parser.add_argument(flag, type=kind, default=value, metavar="N", help=f"{meaning}{default}")
    parser.add_argument(
        "--weight",
        metavar="CLASS=N",
        action="append",
        default=[],
        help="weight of a class of attack relative to the others, instead of 1; repeatable",
    )
    parser.add_argument(
        "--without",
        metavar="CLASS",
        action="append",
        default=[],
        help="class of attack to leave out of training; repeatable",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(handler=_run)


def _recipe(args: argparse.Namespace) -> Recipe:
    from riskd.offline.training.recipe import checked

    names = ("trees", "raising", "leaves", "learning_rate", "l2", "min_rows", "fraud_share", "holdout", "tuning")
    return checked(
        **{name: getattr(args, name) for name in (*names, "embargo_days", "base_share", "most_rows", "prior", "seed")},
        class_weights=dict(map(class_weight, args.weight)),
        without=tuple(sorted(set(args.without))),
    )


def _run(args: argparse.Namespace) -> int:
    recipe = _recipe(args)
    rows.prepare()
    from riskd.offline.logs import digest
    from riskd.offline.training.bundle import Origin, save
    from riskd.offline.training.train import train

    if args.out.exists():
        raise InvalidModel([Problem(str(args.out), "exists already", "give the model a new version")])
    base, under = rows.base_at(args.base, args.domain)
    with progress() as begin, rows.logs(args, begin) as logs:
        parts, names, labels = rows.read(logs, args.truth, args.labels, args.domain, begin)
        _refuse_unknown(recipe, parts)
        try:
            trained = train(parts, recipe, under, begin)
        except InvalidModel as error:
            for problem in error.problems:
                complain(problem)
            return NOT_EXACT
        origin = Origin(
            domain=args.domain,
            sources=tuple(dict.fromkeys(names)),
            data=digest(parts),
            labels=labels,
            base=base,
            code=version(),
            created=date(time.time()),
        )
        report = save(args.out, trained, recipe, origin, begin)
    _print(report, as_json=args.json)
    return 0


def _refuse_unknown(recipe: Recipe, parts: Sequence[Rows]) -> None:
    """Refuse to leave out or weigh a class of attack that no row has: a misspelt name, or a log without classes."""
    from riskd.offline.logs import attacks_of

    known = sorted({name for part in parts for name in attacks_of(part)})
    remedy = f"one of {', '.join(known)}" if known else "only logs with a truth, and data sets, have classes of attack"
    if problems := [
        Problem(flag, f"no row is of class {name!r}", remedy)
        for flag, named in (("--without", recipe.without), ("--weight", recipe.class_weights))
        for name in named
        if name not in known
    ]:
        raise InvalidSettings(problems)


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    from riskd.offline.evaluation.table import recalls

    training = report.training
    counts = ", ".join(f"{count:,} {part}" for part, count in training.rows.items() if count)
    base = training.base or "nothing"
    print(f"{report.bundle}: {quantity(report.trees, 'tree')} on top of {base}, {report.calibration} calibration")
    print(f"rows: {counts}")
    print("on the rows held out, recall at 1 % and 0.1 % false positives:")
    names = {"candidate": "this model", "champion": base}
    print(recalls(report.models, names=names))
    for name, judged in report.models.items():
        if reliability := judged.reliability:
            print(f"{names[name]}: calibration error {reliability.ece:.4f}, Brier score {reliability.brier:.5f}")
