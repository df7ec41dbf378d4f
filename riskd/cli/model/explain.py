"""`riskd model explain` and `riskd model diff`: explain a score, and compare the scores of two models."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from riskd.cli.arguments import add_log, assessment_id, log_of, whole_number
from riskd.cli.model.opening import add_action, add_name, loaded, opened
from riskd.cli.terminal import print_json, print_table, progress, reading, report_unreadable
from riskd.core.attempt import DOMAINS
from riskd.core.errors import UNDECODABLE, InvalidFile, InvalidSettings, Problem
from riskd.core.features import NAMES
from riskd.core.logged import vector_of
from riskd.core.record import AssessmentRecord
from riskd.wording import figure, quantity

if TYPE_CHECKING:
    from riskd.core.forest import Forest
    from riskd.offline.models.diff import Shift
    from riskd.offline.models.explanation import Explained

SAMPLE: Final = 5_000
"""How many rows of a log importances and shifts are computed from."""
_WEAKEST: Final = 0.005
"""The table for people leaves out features that move the log-odds less than this."""


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the actions."""
    purpose = (
        "show which features moved a score, and by how much: of an assessment (--id), or of features in a file "
        "(--vector); without either, those that move the scores of a whole log"
    )
    explain = add_action(actions, "explain", purpose, _explain)
    add_name(explain)
    add_log(explain)
    explain.add_argument("--id", metavar="ASSESSMENT", help="assessment id, 32 hexadecimal digits")
    explain.add_argument(
        "--vector",
        metavar="FILE",
        type=Path,
        help='JSON object of features, as {"new_device": 1}; others have their usual value',
    )
    diff = add_action(actions, "diff", "say in words what changed between two models", _diff)
    diff.add_argument("domain", metavar="DOMAIN", choices=DOMAINS, help=f"one of {', '.join(DOMAINS)}")
    diff.add_argument("old", metavar="OLD", help="version")
    diff.add_argument("new", metavar="NEW", help="version")
    diff.add_argument(
        "--log",
        metavar="DIR",
        nargs="?",
        const="",
        help="also compare their scores over a decision log (without DIR: log.dir)",
    )
    for parser in (explain, diff):
        parser.add_argument(
            "--rows",
            metavar="N",
            type=whole_number,
            default=SAMPLE,
            help=f"number of rows to read of the log (default: {SAMPLE})",
        )


def _explain(args: argparse.Namespace) -> int:
    from riskd.offline.models.explanation import explained, importance

    settings, registry = opened(args)
    path = registry.path(args.domain, args.version) if args.version else registry.champion(args.domain)
    forest = loaded(settings.models.trusted_keys, path, args.domain)
    if args.vector and (args.log or args.id):
        raise _refused("--vector", "says all that there is to explain", "leave out --log and --id, or --vector")
    if args.vector:
        _print(explained(forest, _vector(args.vector, forest)), args)
    elif args.id:
        record = _recorded(args)
        _print(explained(forest, vector_of(record), record), args)
    else:
        features = importance(forest, [vector_of(record) for record in _sampled(args)])
        if args.json:
            print_json(features)
        else:
            rows = [(each.feature, f"{each.moves:.3f}", f"{each.mean:+.3f}", f"{each.share:.1%}") for each in features]
            print_table(("feature", "moves log-odds by", "mean", "of rows"), rows)
    return 0


def _recorded(args: argparse.Namespace) -> AssessmentRecord:
    """The assessment that --id names. Raises InvalidFile, InvalidSettings."""
    from riskd.counts import Counts
    from riskd.offline.on_record import on_record

    wanted, log, counts = assessment_id(args.id, "--id"), log_of(args), Counts()
    with progress() as begin:
        found = on_record(Path(log), wanted, begin, counts)
    report_unreadable(counts["unreadable"], counts.first)
    record = found.assessment if found else None
    if record is None:
        what = f"has no assessment {wanted}"
        raise InvalidFile([Problem(log, what, "name another log, or an assessment that was not erased")])
    if record.domain != args.domain:
        remedy = f"riskd model explain {record.domain} --id {wanted}"
        raise _refused("--id", f"{wanted} is an assessment of the domain {record.domain}", remedy)
    if len(record.vector) != len(NAMES):
        what = f"has {len(record.vector)} features; this version of riskd has {len(NAMES)}"
        raise InvalidFile([Problem(wanted, what, "explain it with the version of riskd that assessed it")])
    return record


def _vector(file: Path, forest: Forest) -> list[float]:
    """The features in a file; those it does not name have their usual value. Raises InvalidFile, InvalidSettings."""
    with reading(file):
        content = file.read_bytes()
    try:
        given = msgspec.json.decode(content, type=dict[str, float | bool | None])
    except UNDECODABLE as error:
        remedy = 'write a JSON object, as {"new_device": 1, "distance_known_km": null}'
        raise InvalidFile([Problem(str(file), f"is not a vector of features: {error}", remedy)]) from error
    unknown = sorted(given.keys() - set(NAMES))
    if unknown:
        raise InvalidFile([Problem(str(file), f"no feature is called {each!r}", "riskd features") for each in unknown])
    usual = dict(zip(NAMES, forest.references, strict=True))
    values = (given.get(name, usual[name]) for name in NAMES)
    return [math.nan if value is None else float(value) for value in values]


def _print(explanation: Explained, args: argparse.Namespace) -> None:
    if args.json:
        print_json(explanation)
        return
    print(f"{args.domain} {explanation.model}: score {explanation.score:.4f}, log-odds {explanation.log_odds:+.3f}")
    if explanation.recorded is not None:
        print(f"recorded: score {explanation.recorded:.4f} by {explanation.recorded_model}")
    strong = [part for part in explanation.parts if abs(part.contribution) >= _WEAKEST]
    rows = [
        (part.feature, figure(part.value), figure(part.usual), part.unit, f"{part.contribution:+.3f}")
        for part in strong
    ]
    print_table(("feature", "value", "usual", "unit", "log-odds"), rows)
    if len(strong) < len(explanation.parts):
        print(f"and {len(explanation.parts) - len(strong)} that moved it by less than {_WEAKEST:g}")
    for reason in explanation.reasons:
        print(f"{reason.code} {reason.contribution:+.2f}  {reason.text}")


def _sampled(args: argparse.Namespace) -> list[AssessmentRecord]:
    from riskd.counts import Counts
    from riskd.offline.models.explanation import sample

    counts = Counts()
    with progress() as begin:
        records = sample(Path(log_of(args)), args.domain, args.rows, counts, begin)
    report_unreadable(counts["unreadable"], counts.first)
    return records


def _diff(args: argparse.Namespace) -> int:
    from riskd.adapters.model_file import read_forest, read_manifest
    from riskd.offline.models.diff import changes, shift

    _, registry = opened(args)
    old, new = (registry.path(args.domain, version) for version in (args.old, args.new))
    differences = [*changes(read_forest(old), read_forest(new))]
    before, after = read_manifest(old).metrics, read_manifest(new).metrics
    metrics = {
        name: [before.get(name), after.get(name)]
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }
    moved = None
    if args.log is not None:
        forests = [loaded((), path, args.domain) for path in (old, new)]
        rows = [(record.id, vector_of(record)) for record in _sampled(args)]
        moved = shift(forests[0], forests[1], rows)
    if args.json:
        print_json({"changes": differences, "metrics": metrics, "scores": moved})
        return 0
    print(f"{args.domain}: {args.new} beside {args.old}: {quantity(len(differences), 'change')}")
    for sentence in differences:
        print(f"  {sentence}")
    for name, (was, now) in metrics.items():
        print(f"  metric {name}: {figure(was)} -> {figure(now)}")
    if moved:
        _print_shift(moved)
    return 0


def _print_shift(moved: Shift) -> None:
    print(
        f"scores of {quantity(moved.rows, 'row')}: {moved.rose:,} rise, {moved.fell:,} fall; the change is "
        f"{moved.median:.4f} in the median, {moved.p99:.4f} at the 99th percentile, {moved.largest:.4f} at most; "
        f"{moved.order:.1%} of neighbours keep their order"
    )
    for name, was, now in moved.examples:
        print(f"  {name}  {was:.4f} -> {now:.4f}")


def _refused(where: str, what: str, remedy: str) -> Exception:
    return InvalidSettings([Problem(where, what, remedy)])
