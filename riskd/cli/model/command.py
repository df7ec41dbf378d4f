"""`riskd model`: inspect models, seal and sign them, and give them roles."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from riskd.cli.arguments import add_log, add_times, log_of
from riskd.cli.model import explain, listing, promote
from riskd.cli.settings import add_arguments
from riskd.cli.terminal import markdown_table, progress
from riskd.core.errors import InvalidFile, Problem
from riskd.core.features import DEFINITIONS, NAMES
from riskd.wording import quantity

if TYPE_CHECKING:
    from riskd.core.model import ForestDocument, Steps

WEIGHTS: Final = "weights"
"""Name of the section of a card that `riskd model seal` writes."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `model` and its actions."""
    purpose = "Show models, explain scores, seal and sign bundles, and choose the model that decides. A bundle is a "
    purpose += "directory with forest.json, card.md and manifest.json."
    model = commands.add_parser("model", description=purpose)
    actions = model.add_subparsers(required=True, metavar="ACTION")
    for group in (listing, promote, explain):
        group.add_actions(actions)
    _add_reference(actions)
    for name, work, purpose in (
        ("weights", _weights, "print the step functions of a hand-set model as a Markdown table"),
        (
            "seal",
            _seal,
            "write the table of weights into the card, and hashes and feature definitions into the manifest",
        ),
    ):
        action = actions.add_parser(name, help=purpose, description=purpose)
        action.add_argument("bundles", metavar="BUNDLE", type=Path, nargs="+", help="directory of a bundle")
        action.set_defaults(handler=work)


def _add_reference(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    purpose = "make a decision log the reference of a model, with which drift is measured; seals the bundle"
    parser = actions.add_parser("reference", help=purpose, description=purpose)
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="directory of a bundle")
    add_arguments(parser)
    add_log(parser, "decision log, or its dataset, by directory or URL")
    add_times(parser)
    parser.set_defaults(handler=_reference)


def _reference(args: argparse.Namespace) -> int:
    from riskd.adapters.model_file import REFERENCE, read_manifest, seal
    from riskd.offline.drift.bins import reference
    from riskd.offline.drift.log import Selection, Span, forest, sample

    domain, log = read_manifest(args.bundle).domain, log_of(args)
    with progress() as begin:
        span = Span(domains=(domain,), since=args.since, until=args.until)
        rows = sample(Selection(log=log, span=span, begin=begin))
    if domain not in rows:
        raise InvalidFile([Problem(log, f"has no decisions of {domain} that were asked for")])
    expected = reference(domain, NAMES, forest(args.bundle), [rows[domain]])
    seal(args.bundle, DEFINITIONS, beside={REFERENCE: msgspec.json.encode(expected)})
    print(f"{args.bundle}: expects what {quantity(expected.rows, 'decision')} of {log} were like")
    return 0


def _weights(args: argparse.Namespace) -> int:
    from riskd.adapters.model_file import read_forest

    for path in args.bundles:
        print(table(read_forest(path)), end="")
    return 0


def _seal(args: argparse.Namespace) -> int:
    from riskd.adapters.model_file import read_card, read_forest, seal

    for path in args.bundles:
        card = written(read_card(path), WEIGHTS, table(read_forest(path)))
        manifest = seal(path, DEFINITIONS, card=card)
        print(f"{path}: {manifest.domain} {manifest.version}, {quantity(len(manifest.features), 'feature')}")
    return 0


def table(document: ForestDocument) -> str:
    """The step functions of a forest as a Markdown table, in the forest's order."""
    rows = []
    for steps in document.steps:
        reference = document.references.get(steps.feature)
        usual = "missing" if reference is None else f"{reference:g}"
        rows.append((f"`{steps.feature}`", _function(steps), _signed(steps.missing), usual, steps.note))
    return markdown_table(("feature", "log-odds (up to and including)", "missing", "usual", "why"), rows)


def _function(steps: Steps) -> str:
    """`-0.3 (0.5), +0.6`: each value with its upper cut, the last without one."""
    bounded = [f"{_signed(value)} ({cut:g})" for value, cut in zip(steps.values, steps.cuts, strict=False)]
    return ", ".join([*bounded, _signed(steps.values[-1])])


def _signed(value: float) -> str:
    return f"{value:+g}" if value else "0"


def written(card: str, part: str, content: str) -> str:
    """The card with the section between `<!-- part -->` and `<!-- /part -->` replaced; unchanged if it has no such
    section."""
    return re.sub(
        rf"(?<=<!-- {part} -->\n).*?(?=<!-- /{part} -->)", lambda _: f"\n{content}\n", card, count=1, flags=re.DOTALL
    )
