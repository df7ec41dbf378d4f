"""`riskd features`: lists what the score is made of, and prints the reference page."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from functools import partial
from typing import Final

from riskd.cli.arguments import add_form, print_form
from riskd.cli.terminal import aligned, markdown_table
from riskd.core.features import FEATURES, GROUPS, Feature, schema

_INTRODUCTION: Final = """\
# Features

This page lists the {count} numbers that the score is made of, in the order of the vector, for analysts who write rules
or train models. Rules can use each one by its name.

- **Unit**: counts and distances are not scaled.
- **Default**: the value when the feature cannot be known. `NaN` means missing. Models have a branch of their own for
  it, so an unknown value is never taken for a usual one. A feature is missing when one of its **sources** is, when its
  **purpose** was not granted, and, if it compares with the subject's past, until the first proven sign-in. A store of
  several servers can lose a part of `reputation`; then only the features that need that part are missing.
- **±**: the direction. `+` means that larger values are riskier, `-` that they are safer, `±` that either may be.
  It is a monotonic constraint of models, except for trees that only raise
  ([decision 0095](decisions/0095-trees-that-only-raise.md)).
- **Reason**: the code in the answer when the feature raised the score. Codes are stable; some features share one.

Features that end in `_llr` are log-likelihood ratios after Freeman et al. 2016
([decision 0009](decisions/0009-familiarity.md)). A value above 0 is unusual for the account, a value below 0 is usual.

`riskd features --markdown` prints this page, and `riskd features --json` the same for programs.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `features`."""
    parser = commands.add_parser("features", description="Show what the score is made of.")
    parser.add_argument("--group", choices=GROUPS, help="only one group")
    add_form(parser, "docs/features.md")
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    chosen = [feature for feature in FEATURES if args.group in (None, feature.group)]
    return print_form(args, partial(document, chosen), partial(page, chosen), partial(table, chosen))


def table(features: Sequence[Feature]) -> str:
    """One line per feature: name, direction, reason, unit."""
    rows = [("FEATURE", "±", "REASON", "UNIT")]
    return aligned([*rows, *((each.name, _sign(each), each.reason, each.unit) for each in features)])


def document(features: Sequence[Feature]) -> dict[str, object]:
    """The table for JSON, where a missing value is null."""
    rows = [
        {
            "name": feature.name,
            "group": feature.group,
            "unit": feature.unit,
            "missing": feature.missing,
            "purpose": feature.purpose,
            "sources": feature.sources,
            "direction": feature.direction,
            "reason": feature.reason,
            "why": feature.why,
            "text": feature.text,
        }
        for feature in features
    ]
    return {"schema": schema(), "features": rows}


def page(features: Sequence[Feature] = FEATURES) -> str:
    """The reference page."""
    parts = [_INTRODUCTION.format(count=len(FEATURES))]
    for group in dict.fromkeys(feature.group for feature in features):
        rows = [_cells(feature) for feature in features if feature.group == group]
        parts.append(f"\n## {group.capitalize()}\n\n{markdown_table(_HEAD, rows)}")
    parts.append(f"\nSchema `{schema()}`.\n")
    return "".join(parts)


_HEAD: Final = ("Feature", "What and why", "Unit", "Default", "±", "Purpose", "Sources", "Reason")


def _cells(feature: Feature) -> tuple[str, ...]:
    return (
        f"`{feature.name}`",
        feature.why.replace("|", "\\|"),
        feature.unit,
        "NaN" if math.isnan(feature.missing) else f"{feature.missing:g}",
        _sign(feature),
        feature.purpose,
        ", ".join(feature.sources),
        f"`{feature.reason}`: {feature.text}",
    )


def _sign(feature: Feature) -> str:
    return {1: "+", -1: "-", 0: "±"}[feature.direction]
