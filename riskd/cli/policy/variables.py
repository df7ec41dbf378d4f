"""`riskd policy variables`: lists what conditions may name, and prints the reference page."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from riskd.cli.arguments import add_form, print_form
from riskd.cli.terminal import aligned, markdown_table
from riskd.core.context import AGEING, SOURCES
from riskd.core.features import FEATURES, NAMES
from riskd.core.lists import KINDS
from riskd.core.policy import Policy
from riskd.core.rules import LISTS, VARIABLES, counter_variables

_INTRODUCTION: Final = """\
# What conditions may name

This page lists the variables that the condition of a rule may use: facts of the attempt, gaps, features, counters and
lists. They are typed variables of [CEL](https://cel.dev). riskd refuses a policy with a misspelt name, a number of the
wrong type or a comparison that no value meets, and reports line and column. See [policy.md](policy.md#a-rule) for how
to write and test a rule, and [features.md](features.md) for the direction and the reason of each feature.

    vpn == 1.0 && new_device == 1.0 && !lists.office

- **double**: write `1.0`, not `1`. **int**: write `1`. **bool**: by itself, or with `!`.
- Operators: `&& || ! == != < <= > >= in + - * / % ?:`; for strings `startsWith endsWith contains matches size`.
- **Missing facts decide nothing.** A condition is true only if it is true whatever its missing facts may be. The column
  `needs` names the sources without which a variable is missing. To act on a missing source, ask for it:
  `"place" in gaps`.

`riskd policy variables --markdown` prints this page, and `--json` the same for programs. `riskd policy variables FILE`
adds the counters and lists of a policy.
"""


class Row(Struct, frozen=True):
    """One variable."""

    name: str
    type: str
    values: str
    meaning: str
    sources: tuple[str, ...]
    group: str


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `policy variables`."""
    purpose = "show what conditions may name, with types and ranges"
    parser = actions.add_parser("variables", help=purpose, description=f"Variables of conditions: {purpose}.")
    parser.add_argument(
        "file", metavar="FILE", type=Path, nargs="?", help="policy file, to show its counters and lists"
    )
    add_form(parser, "docs/rules.md")
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    policy = None
    if args.file is not None:
        from riskd.adapters.cel_rules import CelCompiler
        from riskd.adapters.policy_file import load_policy

        policy = load_policy(args.file, CelCompiler(NAMES))
    variables = list(rows(policy))
    return print_form(args, lambda: variables, lambda: page(variables), lambda: aligned([*map(_cells, variables)]))


def rows(policy: Policy | None = None) -> Iterator[Row]:
    """Every variable: of the attempt, the sources, the features, and the counters and lists of a policy."""
    for name, variable in VARIABLES.items():
        values = str(variable.span or "")
        yield Row(name, _TYPES[variable.kind], values, variable.text, variable.sources, "attempt")
    for source, text in SOURCES.items():
        yield Row(f'"{source}" in gaps', "bool", "", f"missing: {text}", (), "gaps")
    for source in AGEING:
        yield Row(f'"{source}" in stale', "bool", "", f"from data that are too old: {SOURCES[source]}", (), "gaps")
    for feature in FEATURES:
        span = str(feature.span)
        yield Row(feature.name, "double", span, f"{feature.why} ({feature.unit})", feature.sources, feature.group)
    for counter in ("ATTRIBUTE",) if policy is None else policy.counters:
        for name, variable in counter_variables(counter).items():
            yield Row(name, variable.kind, str(variable.span), variable.text, variable.sources, "counters")
    if policy is None:
        for kind, text in KINDS.items():
            yield Row(f"{LISTS}NAME", "bool", kind, text, _SOURCES[kind], "lists")
        return
    for name, each in policy.lists.items():
        yield Row(f"{LISTS}{name}", "bool", each.kind, f"on the list {name}", _SOURCES[each.kind], "lists")


_TYPES: Final = {
    "double": "double",
    "int": "int",
    "bool": "bool",
    "string": "string",
    "strings": "list(string)",
    "table": "map(string, string)",
}
_SOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    "networks": (),
    "asns": ("route",),
    "countries": ("place",),
    "issuers": ("federation",),
    "device_ids": ("device_id",),
}
"""The source that each kind of list depends on; the address is always there."""


def page(variables: Sequence[Row]) -> str:
    """The reference page."""
    parts = [_INTRODUCTION]
    for group in dict.fromkeys(row.group for row in variables):
        rows = [(f"`{row.name}`", *_cells(row)[1:], ", ".join(row.sources)) for row in variables if row.group == group]
        head = ("variable", "type", "values", "what it is", "needs")
        parts.append(f"\n## {group.capitalize()}\n\n{markdown_table(head, rows)}")
    return "".join(parts)


def _cells(row: Row) -> tuple[str, str, str, str]:
    return row.name, row.type, row.values, row.meaning.replace("|", "\\|")
