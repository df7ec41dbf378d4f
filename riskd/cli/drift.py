"""`riskd drift`: whether present assessments still look like those that the models were trained on."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from riskd.cli.arguments import add_span, log_of, moment, number
from riskd.cli.extras import require
from riskd.cli.model.opening import add_models, loaded, opened
from riskd.cli.policy.decisions import left_out
from riskd.cli.terminal import print_json, print_table, progress, report_unreadable, save
from riskd.core.attempt import DOMAINS
from riskd.core.errors import InvalidFile, Problem
from riskd.core.features import NAMES
from riskd.progress import Begin
from riskd.wording import date, quantity

if TYPE_CHECKING:
    from riskd.adapters.model_registry import Registry
    from riskd.offline.drift.bins import Batch
    from riskd.offline.drift.compare import Drift, Origin
    from riskd.offline.drift.log import Against

DRIFTED: Final = 1
_ROWS: Final = 8
"""How many signals of a domain are shown even if they have not drifted."""
_REPLAY: Final = "`riskd replay` gives a log of another version these features"
_ASKED: Final = "in the chosen time with the features of this version of riskd"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `drift`."""
    parser = commands.add_parser(
        "drift",
        description="Say which features and scores of a decision log have moved away from what a model was trained "
        "on, and since when. A model without a reference is compared with the decisions before --since, else with the "
        "earlier half of the log; with --against, with another log. docs/drift.md explains the figures.",
        epilog="exit codes: 0 nothing has drifted; 1 something has; 2 refused: no log, too few rows, no such model",
    )
    add_span(parser, stored=True)
    add_models(parser)
    parser.add_argument(
        "--model",
        metavar="VERSION",
        help="version to compare with, for one --domain (default: champions)",
    )
    parser.add_argument(
        "--against", metavar="DIR", help="decision log or dataset to take as the reference (default: see above)"
    )
    parser.add_argument(
        "--against-since",
        metavar="DATE",
        type=moment,
        default=0.0,
        help="reference: decisions from this day on, of --against or else of the same log",
    )
    parser.add_argument(
        "--against-until",
        metavar="DATE",
        type=moment,
        default=float("inf"),
        help="reference: decisions before this day",
    )
    parser.add_argument(
        "--threshold",
        metavar="N",
        type=number,
        default=0.1,
        help="smallest shift that counts, in units of the stability index (default: 0.1)",
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a report with charts")
    parser.add_argument("--all", action="store_true", help="list every signal, not only the most shifted")
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.offline.drift.compare import compare
    from riskd.offline.drift.log import Selection, Span, count
    from riskd.offline.logs import is_dataset

    settings, registry = opened(args)
    log = log_of(args)
    other = args.against or (log if args.against_since or args.against_until < float("inf") else "")
    if any(is_dataset(each) for each in (log, other) if each):
        require("pyarrow", "datasets are Parquet files")
    with progress() as begin:
        against = _stated(args, other, registry, begin) if other else _expected(args, log, registry, begin)
        for each in against.values():
            loaded(settings.models.trusted_keys, each.bundle)
        span = Span(domains=tuple(against), since=args.since, until=args.until)
        counted = count(Selection(log=log, span=span, workers=args.processes, begin=begin), against)
    left_out = counted.left_out
    drifts = [
        compare(each.reference, counted.bins[domain], each.bundle.name, args.threshold, _origin(other, each))
        for domain, each in against.items()
        if counted.bins[domain].rows
    ]
    if not drifts:
        raise _refused(log, f"has no decisions of {', '.join(against)} {_ASKED}")
    if args.html:
        from riskd.offline.drift.page import page

        save(args.html, page(log, drifts))
    if args.json:
        print_json({"domains": drifts, "left_out": left_out, "first_unreadable": left_out.first})
    else:
        _print(args, drifts, left_out)
    report_unreadable(left_out["unreadable"], left_out.first)
    return DRIFTED if any(drift.drifted for drift in drifts) else 0


def _origin(other: str, against: Against) -> Origin:
    return "log" if other else "past" if against.since else "model"


def _stated(args: argparse.Namespace, log: str, registry: Registry, begin: Begin) -> dict[str, Against]:
    """References made from a log, within --against-since and --against-until, for each wanted domain.

    Raises InvalidFile if the log has nothing for a domain that was asked for.
    """
    from riskd.offline.drift.log import Selection, Span, sample

    bundles = _bundles(args, registry)
    span = Span(domains=tuple(bundles), since=args.against_since, until=args.against_until)
    rows = sample(Selection(log=log, span=span, begin=begin))
    _refuse_lacking(args, rows, log)
    return _referred(rows, bundles)


def _expected(args: argparse.Namespace, log: str, registry: Registry, begin: Begin) -> dict[str, Against]:
    """References from the models; for models without one, from earlier rows of the same log.

    Raises InvalidFile if there is none for a domain that was asked for, or for any domain.
    """
    from riskd.adapters.model_file import read_reference
    from riskd.offline.drift.log import Against, Selection, Span, middle, sample

    bundles = _bundles(args, registry)
    references = {domain: read_reference(bundle) for domain, bundle in bundles.items()}
    known = {domain: Against(reference=each, bundle=bundles[domain]) for domain, each in references.items() if each}
    silent = tuple(domain for domain in bundles if domain not in known)
    if silent:
        span = Span(domains=silent, until=args.since or args.until)
        rows = sample(Selection(log=log, span=span, begin=begin))
        if not args.since:
            _refuse_lacking(args, {**known, **rows}, log)
        since = args.since or (middle(rows.values()) if rows else 0.0)
        known |= _referred({domain: batch.between(0.0, since) for domain, batch in rows.items()}, bundles, since)
    if lacking := _lacking(args, known):
        what = f"has no earlier decisions of {', '.join(lacking)} to compare these with"
        remedy = "take a later --since, or another log with --against; docs/drift.md says how a model gets a reference"
        raise _refused(log, what, remedy)
    return known


def _bundles(args: argparse.Namespace, registry: Registry) -> dict[str, Path]:
    """The model of each wanted domain. Raises InvalidFile."""
    domains = args.domain or DOMAINS
    if args.model and len(domains) != 1:
        raise _refused("--model", "is a version of one domain", "name that one: --domain customer")
    return {
        domain: registry.path(domain, args.model) if args.model else registry.champion(domain) for domain in domains
    }


def _referred(rows: Mapping[str, Batch], bundles: Mapping[str, Path], since: float = 0.0) -> dict[str, Against]:
    """References made from rows, for the domains that have some."""
    from riskd.offline.drift.bins import reference
    from riskd.offline.drift.log import Against, forest

    return {
        domain: Against(reference(domain, NAMES, forest(bundles[domain]), [batch]), bundles[domain], since)
        for domain, batch in rows.items()
        if len(batch.times)
    }


def _lacking(args: argparse.Namespace, known: Collection[str]) -> list[str]:
    """The domains without data: those that were asked for, or all if there are none at all."""
    return [domain for domain in args.domain or () if domain not in known] or [*(() if known else DOMAINS)]


def _refuse_lacking(args: argparse.Namespace, known: Collection[str], log: str) -> None:
    if lacking := _lacking(args, known):
        raise _refused(log, f"has no decisions of {', '.join(lacking)} {_ASKED}")


def _print(args: argparse.Namespace, drifts: Sequence[Drift], passed_over: Mapping[str, int]) -> None:
    from riskd.offline.drift.page import HEAD, REFERENCES, cells

    for drift in drifts:
        names = ", ".join(f"{signal.name} since {date(signal.since or 0)}" for signal in drift.drifted)
        many = f"{len(drift.drifted) or 'none'} of {quantity(len(drift.signals), 'signal')} drifted"
        print(f"{drift.domain}, model {drift.model}: {many}" + (f": {names}" if names else ""))
        span, beside = f"from {date(drift.began)} to {date(drift.ended)}", REFERENCES[drift.reference]
        before = f"from {date(drift.reference_began)} to {date(drift.reference_ended)}"
        print(f"{quantity(drift.rows, 'decision')} {span}, compared with {drift.reference_rows:,} {before}: {beside}")
        signals = drift.signals if args.all else drift.signals[: max(len(drift.drifted), _ROWS)]
        print_table(HEAD, [cells(signal) for signal in signals])
    for reason in left_out(passed_over):
        print(f"left out: {reason}")
    if args.html:
        print(f"Report: {args.html}")


def _refused(where: object, what: str, remedy: str = _REPLAY) -> Exception:
    return InvalidFile([Problem(str(where), what, remedy)])
