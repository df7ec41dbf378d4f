"""`riskd policy diff`: describes what changed between two policies."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from riskd.cli.policy.decisions import read_policies
from riskd.cli.terminal import print_json
from riskd.core.errors import InvalidPolicy, Problem
from riskd.wording import quantity

if TYPE_CHECKING:
    from riskd.offline.policies.diff import Comparison

_WORDS: Final = {
    "tightens": "can only tighten",
    "loosens": "can only loosen",
    "either": "can tighten and loosen",
    "neither": "moves no decision",
}
_STYLES: Final = {"tightens": "green", "loosens": "red", "either": "yellow", "neither": "dim"}


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `policy diff`."""
    purpose = "say what changed between policies, and which changes can only tighten or only loosen"
    parser = actions.add_parser(
        "diff",
        help=purpose,
        description=f"Compare policies: {purpose}.",
        epilog="exit codes: 0 done; 1 what --exit-code or --tighten-only rules out; 2 a file is refused",
    )
    parser.add_argument("old", metavar="OLD", type=Path, help="policy file, or a directory of them")
    parser.add_argument("new", metavar="NEW", type=Path, help="policy file, or a directory of them")
    parser.add_argument("--exit-code", action="store_true", help="exit code 1 if anything changed")
    parser.add_argument(
        "--tighten-only",
        action="store_true",
        help="exit code 1 if a change can loosen, for a gate that lets only tightening changes through",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    comparisons = compared(args.old, args.new)
    if args.json:
        print_json(comparisons)
    else:
        show(comparisons)
    if args.tighten_only and any(one.way in ("loosens", "either") for one in comparisons):
        return 1
    return 1 if args.exit_code and any(one.changes for one in comparisons) else 0


def compared(old_files: Path, new_files: Path) -> list[Comparison]:
    """Compare the policies of two files or directories. Raises InvalidPolicy."""
    from riskd.offline.policies.diff import pair

    old, new = ({policy.domain: policy for policy in read_policies(given, None)[0]} for given in (old_files, new_files))
    lone = sorted(old.keys() ^ new.keys())
    if lone:
        what = f"has a policy of {', '.join(lone)}, and the other has none"
        raise InvalidPolicy([Problem(str(old_files if lone[0] in old else new_files), what, "compare like with like")])
    return pair(old, new)


def show(comparisons: Sequence[Comparison]) -> None:
    """Print comparisons for people."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for one in comparisons:
        console.print(Text(f"{one.domain}: {quantity(len(one.changes), 'change')}", "bold"))
        for change in one.changes:
            console.print(
                Text(f"  {_MARKS[change.way]} ", _STYLES[change.way]),
                f"{change.kind} {change.where}: {change.what}",
                sep="",
            )
        if one.changes:
            console.print(Text(f"  together it {_WORDS[one.way]}", _STYLES[one.way]))


_MARKS: Final = {"tightens": "+", "loosens": "-", "either": "~", "neither": " "}
