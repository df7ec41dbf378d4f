"""`riskd drift`: whether what is assessed still looks like what the models were trained on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from riskd.cli.arguments import add_span, moment
from riskd.cli.extras import require
from riskd.cli.model.opening import loaded, opened
from riskd.cli.policy.log import LEFT_OUT
from riskd.cli.settings import add_arguments
from riskd.cli.terminal import print_json, print_table, progress, save
from riskd.core.attempt import DOMAINS
from riskd.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from riskd.adapters.model_registry import Registry
    from riskd.core.drift import Reference
    from riskd.offline.drift.compare import Drift
    from riskd.offline.drift.log import Against
    from riskd.progress import Begin

DRIFTED: Final = 1
_ROWS: Final = 8
_REPLAY: Final = "`riskd replay` gives a log of another version these features"
_ASKED: Final = "that were asked for, with the features of this riskd"
"""Signals of a domain that people are told without asking."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `drift`."""
    parser = commands.add_parser(
        "drift",
        description="Say which features and scores of a decision log have moved away from what a model was trained on, "
        "and since when. The model's own reference is taken, or with --against another log. docs/drift.md says what "
        "the figures mean.",
        epilog="exit codes: 0 nothing has drifted; 1 something has; 2 refused: no log, no reference, no such model",
    )
    add_arguments(parser)
    add_span(parser, stored=True)
    parser.add_argument("--models", metavar="DIR", help="directory of models (release.models)")
    parser.add_argument(
        "--model",
        metavar="VERSION",
        help="version whose scores and reference count, of one --domain (default: champions)",
    )
    parser.add_argument(
        "--against", metavar="DIR", help="take this decision log or dataset as the reference; may be the same as --log"
    )
    parser.add_argument(
        "--against-since", metavar="DATE", type=moment, default=0.0, help="decisions of it from this day on"
    )
    parser.add_argument(
        "--against-until",
        metavar="DATE",
        type=moment,
        default=float("inf"),
        help="decisions before this day",
    )
    parser.add_argument(
        "--threshold",
        metavar="N",
        type=float,
        default=0.1,
        help="stability index from which on a shift counts (default: 0.1)",
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a report with pictures")
    parser.add_argument("--all", action="store_true", help="list every signal, not only the most shifted")
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.offline.drift.compare import compare
    from riskd.offline.drift.log import Source, Span, count
    from riskd.offline.sources import is_dataset

    settings, registry = opened(args)
    if any(is_dataset(log) for log in (args.log, args.against) if log):
        require("pyarrow", "datasets are Parquet files")
    with progress() as begin:
        against = _against(args, registry, begin)
        for each in against.values():
            loaded(settings.models.trusted_keys, each.bundle)
        span = Span(domains=tuple(against), since=args.since, until=args.until)
        counted = count(Source(log=args.log, span=span, workers=args.processes, begin=begin), against)
    found = [
        compare(each.reference, counted.bins[domain], each.bundle.name, args.threshold)
        for domain, each in against.items()
        if counted.bins[domain].rows
    ]
    if not found:
        raise _refused(args.log, f"has no decisions of {', '.join(against)} {_ASKED}")
    if args.html:
        from riskd.offline.drift.page import page

        save(args.html, page(args.log, found))
    if args.json:
        print_json({"domains": found, "left_out": counted.left_out})
    else:
        _print(args, found, counted.left_out)
    return DRIFTED if any(drift.drifted for drift in found) else 0


def _against(args: argparse.Namespace, registry: Registry, begin: Begin) -> dict[str, Against]:
    """The reference of each domain that was asked for, or else that has one. Raises InvalidFile when there is none."""
    from riskd.adapters.model_file import read_reference
    from riskd.core.features import NAMES
    from riskd.offline.drift.bins import reference
    from riskd.offline.drift.log import Against, Source, Span, forest, sample

    domains = args.domain or DOMAINS
    if args.model and len(domains) != 1:
        raise _refused("--model", "is a version of one domain", "name that one: --domain customer")
    bundles = {
        domain: registry.path(domain, args.model) if args.model else registry.champion(domain) for domain in domains
    }
    references: dict[str, Reference | None]
    if args.against:
        span = Span(domains=tuple(domains), since=args.against_since, until=args.against_until)
        rows = sample(Source(log=args.against, span=span, begin=begin))
        references = {domain: reference(domain, NAMES, forest(bundles[domain]), [rows[domain]]) for domain in rows}
    else:
        references = {domain: read_reference(bundle) for domain, bundle in bundles.items()}
    known = {domain: Against(reference=each, bundle=bundles[domain]) for domain, each in references.items() if each}
    lacking = [domain for domain in args.domain or () if domain not in known] or (not known and [*domains])
    if lacking:
        said = f"of {', '.join(lacking)}" + (f" {_ASKED}" if args.against else "")
        if args.against:
            raise _refused(args.against, f"has no decisions {said}")
        what = f"the model {said} does not say what it was trained on"
        raise _refused("reference.json", what, "riskd model reference BUNDLE --log DIR, or riskd drift --against DIR")
    return known


def _print(args: argparse.Namespace, found: Sequence[Drift], left_out: Mapping[str, int]) -> None:
    from riskd.offline.charts import date
    from riskd.offline.drift.page import HEAD, cells

    for drift in found:
        names = ", ".join(f"{signal.name} since {date(signal.since or 0)}" for signal in drift.drifted)
        many = f"{len(drift.drifted) or 'none'} of {quantity(len(drift.signals), 'signal')} drifted"
        print(f"{drift.domain}, model {drift.model}: {many}" + (f": {names}" if names else ""))
        span = f"from {date(drift.began)} to {date(drift.ended)}"
        print(f"{quantity(drift.rows, 'decision')} {span}, beside {drift.reference_rows:,} of the reference")
        told = drift.signals if args.all else drift.signals[: max(len(drift.drifted), _ROWS)]
        print_table(HEAD, [cells(signal) for signal in told])
    for name, what in LEFT_OUT.items():
        if left_out.get(name):
            print(f"left out: {what}: {left_out[name]:,}")
    if args.html:
        print(f"Report: {args.html}")


def _refused(where: object, what: str, remedy: str = _REPLAY) -> Exception:
    from riskd.core.errors import InvalidFile, Problem

    return InvalidFile([Problem(str(where), what, remedy)])
