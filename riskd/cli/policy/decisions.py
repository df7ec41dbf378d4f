"""What the commands that decide recorded attempts again share: the flags that choose decisions and policies."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from riskd.cli import settings
from riskd.cli.arguments import add_labels, add_span, log_of
from riskd.cli.model import opening
from riskd.cli.terminal import complain, report_unreadable
from riskd.config import release_folders
from riskd.core.attempt import DOMAINS, JOURNEYS
from riskd.core.errors import InvalidFile, InvalidPolicy, InvalidSettings, Problem
from riskd.core.features import NAMES
from riskd.core.policy import Policy
from riskd.progress import Begin

if TYPE_CHECKING:
    from riskd.offline.policies.backtest import Backtest, Models
    from riskd.offline.policies.tally import Tally

_LEFT_OUT: Final = {
    "not_chosen": "decisions outside the selection",
    "other_domain": "decisions of identity domains outside the selection",
    "other_features": "decisions of a version with other features, which cannot be decided again",
    "without_verdict": "decisions not known to be good or fraud (--presume-good counts those without outcomes as good)",
    "wrong_credential": "decisions with a wrong credential",
    "tenants_own_bands": "decisions of tenants with bands of their own",
    "uncounted": "counts of decisions from before their counter, which decide nothing (`riskd replay` adds them)",
    "unreadable": "unreadable lines",
}
"""Descriptions of lines that were not used, or not in full."""
RECORDED: Final = "the champions of --models, else the recorded scores"
"""What scores decisions by default in the commands that judge the decisions of a log."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose decisions of a log."""
    add_span(parser)
    add_labels(parser)
    parser.add_argument("--journey", choices=JOURNEYS, action="append", help="journey; repeatable (default: all)")
    parser.add_argument("--tenant", metavar="NAME", default="", help="only decisions of this tenant")
    parser.add_argument("--release", metavar="ID", default="", help="only decisions of this release")


def add_policies(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose policies."""
    parser.add_argument("--policies", metavar="PATH", type=Path, help="policy file or directory (release.policies)")


def add_models(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the flags that choose models, which score decisions again."""
    opening.add_models(parser)
    parser.add_argument(
        "--model", metavar="VERSION", help=f"version that scores, for one --domain (default: {default})"
    )


def models_of(args: argparse.Namespace, policies: Sequence[Policy]) -> Models:
    """The model of each policy's domain that the flags name, else the champion. Each is loaded once to check it, as a
    service would. Raises InvalidModel, InvalidSettings."""
    values, registry = opening.opened(args)
    if args.model and len(policies) != 1:
        what, remedy = "is a version of one domain, and several are decided", "name that one: --domain customer"
        raise InvalidSettings([Problem("--model", what, remedy)])
    domains = [policy.domain for policy in policies]
    models = tuple(
        (each, registry.path(each, args.model) if args.model else registry.champion(each)) for each in domains
    )
    for domain, path in models:
        opening.loaded(values.models.trusted_keys, path, domain)
    return models


def policies_of(args: argparse.Namespace) -> Path:
    """Where the policies are that the flags name, else those of the settings. Raises InvalidSettings."""
    return args.policies or release_folders(settings.given(args).settings)[0]


def left_out(counts: Mapping[str, int]) -> list[str]:
    """Descriptions of the lines that were not used, or not in full, with their number."""
    return [f"{what}: {counts[name]:,}" for name, what in _LEFT_OUT.items() if counts.get(name)]


def refuse_nothing(log: Path, tally: Tally) -> None:
    """Raise InvalidFile if no decision was decided again: an empty selection must not pass as "no difference".

    It also reports unreadable lines, and decisions that trained the model.
    """
    report_unreadable(tally.counts["unreadable"], tally.counts.first)
    if known := tally.counts["trained_on"]:
        complain(
            f"the model was trained on {known:,} of these decisions or more, and looks better here than on others: "
            "choose later ones with --since"
        )
    if tally.counts["replayed"]:
        return
    left = "; ".join(left_out(tally.counts))
    what = "has no decision to replay" + (f"; left out: {left}" if left else "")
    remedy = "name another log, domain or time; `riskd replay` gives a log the features of this version"
    raise InvalidFile([Problem(str(log), what, remedy)])


def backtest(
    args: argparse.Namespace, given: Path, begin: Begin, *, scored: bool = False
) -> tuple[Backtest, list[Policy]]:
    """What to decide again, and the policies. `scored`: always score again, else only by models that the flags name.

    Raises InvalidPolicy with every mistake of every file, InvalidFile, InvalidModel and InvalidSettings.
    """
    from riskd.offline.logs import labels_of, log_at
    from riskd.offline.policies.backtest import Backtest, Choice

    policies, texts = read_policies(given, args.domain, settings.declared(args))
    choice = Choice(
        since=args.since,
        until=args.until,
        release=args.release,
        journeys=tuple(args.journey or ()),
        tenant=args.tenant,
    )
    directory = Path(log_of(args))
    log = log_at(directory, args.truth)
    truth = log.truth if labels_of([log], args.labels) == "truth" else None
    decided = Backtest(
        log=directory,
        truth=truth,
        policies=texts,
        models=models_of(args, policies) if scored or args.models or args.model else (),
        choice=choice,
        workers=args.processes,
        begin=begin,
    )
    return decided, policies


def read_policies(
    given: Path, domains: Sequence[str] | None, attributes: Collection[str] | None = None
) -> tuple[list[Policy], tuple[tuple[str, str], ...]]:
    """The policies in a file or directory, with their texts, each read once.

    `attributes`: those that they may name, if that is known. Raises InvalidPolicy.
    """
    from riskd.adapters.cel_rules import CelCompiler
    from riskd.adapters.policy_file import policy_text, read_policy

    compiler = CelCompiler(NAMES)
    problems: list[Problem] = []
    by_domain: dict[str, tuple[Policy, tuple[str, str]]] = {}
    for path in sorted(given.glob("*.yaml")) if given.is_dir() else [given]:
        try:
            text = policy_text(path)
            policy = read_policy(str(path), text, compiler, attributes=attributes)
        except InvalidPolicy as error:
            problems += error.problems
        else:
            if policy.domain in by_domain:
                what = f"is another policy of {policy.domain}, beside {by_domain[policy.domain][1][0]}"
                problems.append(Problem(str(path), what, "name one of each identity domain"))
            by_domain[policy.domain] = policy, (str(path), text)
    chosen = [domain for domain in DOMAINS if domain in by_domain and (not domains or domain in domains)]
    if not chosen and not problems:
        wanted = "the domains asked for" if domains else "any identity domain"
        remedy = "name a policy, or a directory of them: customer.yaml"
        problems.append(Problem(str(given), f"has no policy of {wanted}", remedy))
    if problems:
        raise InvalidPolicy(problems)
    return [by_domain[domain][0] for domain in chosen], tuple(by_domain[domain][1] for domain in chosen)


def moved(before: float | None, after: float | None) -> str:
    """A share before and after, for people: `8.96 -> 6.1 %`; `-` if there is none."""
    return "-" if before is None or after is None else f"{before * 100:.3g} -> {after * 100:.3g} %"
