"""`riskd evaluate`: compares a model with others on rows that none of them was trained on."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from riskd.cli import rows, settings
from riskd.cli.arguments import moment, whole_number
from riskd.cli.terminal import console, print_table, progress, save
from riskd.config import data_directory, release_folders
from riskd.core.errors import InvalidSettings, Problem
from riskd.core.features import DEFINITIONS
from riskd.progress import Begin
from riskd.version import version

if TYPE_CHECKING:
    from riskd.offline.evaluation.document import Evaluation
    from riskd.offline.models.evaluate import Question

MISSED = 1
_from_0 = partial(whole_number, least=0)
_EXIT_CODES = """\
exit codes: 0 judged; 1 with --exit-code, a goal is missed beyond chance; 2 refused: arguments, a bundle, a log, or too
few labels."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `evaluate`."""
    parser = commands.add_parser(
        "evaluate",
        description="Compare a model with the champion, Freeman's formula, rules of thumb, an isolation forest and "
        "large boosted trees. The report gives recall at 1 % and 0.1 % false positives by class of attack and by "
        "depth of history, and for each class left out of training. docs/training.md explains it.",
        epilog=_EXIT_CODES,
    )
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="directory of the model to judge")
    rows.add_arguments(parser)
    parser.add_argument(
        "--trained-on",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="log that the model was trained on; the baselines are trained on it, and the whole of --log is judged; "
        "repeatable (default: the earlier part of each --log trains the baselines, and the later part is judged)",
    )
    parser.add_argument(
        "--until",
        metavar="DATE",
        type=moment,
        default=float("inf"),
        help="judge only attempts before this day, as 2026-12-01 (UTC), by all that was reported of them; fraud that "
        "is not reported yet counts as good",
    )
    parser.add_argument(
        "--champion",
        metavar="BUNDLE",
        default="",
        help="model to compare with (default: the champion of release.models)",
    )
    parser.add_argument(
        "--resamples", metavar="N", type=_from_0, default=200, help="number of bootstraps (default: 200)"
    )
    parser.add_argument("--seed", metavar="N", type=_from_0, default=0, help="seed of bootstraps and baselines")
    parser.add_argument("--no-left-out", action="store_true", help="skip the trainings in which one class is left out")
    parser.add_argument("--out", metavar="DIR", type=Path, help="write evaluation.json, .md and .html there")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="write evaluation.json into the bundle and seal it, for `riskd model promote`",
    )
    parser.add_argument("--exit-code", action="store_true", help="exit code 1 if a goal is missed beyond chance")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    rows.prepare()
    from riskd.offline.evaluation.document import CANDIDATE
    from riskd.offline.evaluation.table import markdown
    from riskd.offline.models.evaluate import evaluate

    if args.out:
        _room(args.out)
    with progress() as begin:
        with rows.logs(args, begin) as logs:
            question = _question(args, logs, begin)
        evaluation = evaluate(question, begin)
    raw = msgspec.json.format(msgspec.json.encode(evaluation), indent=2)
    if args.keep:
        _keep(args.bundle, raw)
    if args.out:
        from riskd.offline.evaluation.examples import examples, importances
        from riskd.offline.evaluation.page import page

        save(args.out / "evaluation.json", raw.decode() + "\n")
        save(args.out / "evaluation.md", markdown(evaluation))
        forest, threshold = question.candidate.forest, evaluation.models[CANDIDATE].thresholds["1%"]
        shown = page(
            evaluation,
            importances(forest, question.rows, args.seed),
            examples(forest, question.rows, threshold, args.seed),
        )
        save(args.out / "evaluation.html", shown)
    if args.json:
        print(raw.decode())
    elif sys.stdout.isatty():
        show(evaluation)
    else:
        print(markdown(evaluation))
    if args.out and not args.json:
        print(f"Report: {args.out / 'evaluation.html'}")
    return MISSED if args.exit_code and any(goal.sure and not goal.met for goal in evaluation.goals) else 0


def _room(directory: Path) -> None:
    """Check that the output can be written, before the work begins. Raises InvalidSettings."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSettings([Problem(str(directory), f"cannot be made: {error.strerror}", "name another")]) from error


def show(evaluation: Evaluation) -> None:
    """Print what fits a terminal. Of the goals, only the missed ones."""
    from riskd.offline.evaluation.document import CANDIDATE, RATES
    from riskd.offline.evaluation.table import counts, figures, notes

    data = evaluation.data
    console().print(
        f"{evaluation.models[CANDIDATE].version}, {evaluation.domain}: {counts(data)}.{notes(evaluation)}",
        markup=False,
    )
    for rate in RATES:
        print_table(*figures(evaluation, rate))
        print()
    missed = [goal for goal in evaluation.goals if not goal.met]
    print(f"{len(evaluation.goals) - len(missed)} of {len(evaluation.goals)} goals at 1% false positives are reached.")
    for goal in missed:
        chance = "" if goal.sure else ", which may be chance"
        print(f"Not as good {goal.name}: {goal.attack}, {goal.margin * 100:+.1f} points{chance}")
    print("Intervals, segments, costs, bands and probabilities: in the files of --out, or through a pipe.")


def _keep(bundle: Path, raw: bytes) -> None:
    """Raises InvalidModel for a bundle that cannot be written."""
    from riskd.adapters.model_file import EVALUATION, seal

    seal(bundle, DEFINITIONS, beside={EVALUATION: raw + b"\n"})


def _question(args: argparse.Namespace, logs: list[Path], begin: Begin) -> Question:
    from riskd.adapters.model_file import load_model
    from riskd.adapters.model_registry import Registry
    from riskd.offline.models.evaluate import Question, base_of, contender, trainings_of
    from riskd.offline.rows import joined
    from riskd.offline.training.recipe import Recipe
    from riskd.offline.training.split import ages_of
    from riskd.offline.training.train import prepare

    shipped, served = Registry(data_directory("models")), Registry(release_folders(settings.given(args).settings)[1])
    champion = Path(args.champion) if args.champion else served.champion(args.domain)
    forests = [load_model(path, DEFINITIONS, domain=args.domain) for path in (args.bundle, champion)]
    trainings = trainings_of(args.bundle, shipped, args.domain)
    training = trainings[0] if trainings else None
    recipe = training.recipe if training else Recipe()
    base = base_of(args.bundle, training.base, shipped, args.domain) if training and training.base else None
    parts, _, labels = rows.read(logs, args.truth, args.labels, args.domain, begin)
    seen = parts
    if args.trained_on:
        seen, _, _ = rows.read(args.trained_on, None, args.labels, args.domain, begin)
    prepared = begin("preparing", 1)
    material = prepare(seen, recipe, rows.base_at(str(base), args.domain)[1] if base else None)
    prepared(1)
    judged, ages = material.holdout, material.holdout_ages
    if args.trained_on:
        judged, ages = joined(parts), ages_of(parts)
    early = judged.times < args.until
    return Question(
        domain=args.domain,
        code=version(),
        rows=judged if early.all() else judged.where(early),
        ages=ages[early],
        labels=labels,
        candidate=contender(args.bundle, forests[0], trainings),
        champion=contender(champion, forests[1], trainings_of(champion, shipped, args.domain)),
        material=material,
        recipe=recipe if training and not args.no_left_out else None,
        learned=frozenset(name for below in trainings[1:] if below for name in below.attacks),
        prior=training.recipe.prior if training else None,
        seed=args.seed,
        resamples=args.resamples,
    )
