"""What an audit of a world found, for people and for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from riskd.offline.world.audit import Finding

LEAKS: Final = 1
_SHOWN: Final = 12


def report(findings: Sequence[Finding], *, as_json: bool) -> int:
    """Print the findings, worst first; 1 where one of them is a leak."""
    leaks = [each for each in findings if each.fails]
    if as_json:
        print(json.dumps([_plain(each) for each in findings]))
        return LEAKS if leaks else 0
    from rich.console import Console
    from rich.table import Table

    judged = sorted((each for each in findings if each.auc == each.auc), key=lambda each: -each.auc)
    table = Table("domain", "class", "group", "attacks", "AUC", "at least", "told by", box=None)
    for each in [*leaks, *(each for each in judged if not each.fails)][: max(_SHOWN, len(leaks))]:
        low = f"{each.low:.3f}" if each.low == each.low else ""
        told = ", ".join(each.telling)
        table.add_row(each.domain, each.attack, each.group, str(each.rows), f"{each.auc:.3f}", low, told)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    console.print(table)
    few = sorted({f"{each.attack} in {each.domain} ({each.rows})" for each in findings if each.auc != each.auc})
    if few:
        console.print(f"Too few attempts to judge: {', '.join(few)}. More users, days or --attack-share would help.")
    verdict = f"{len(leaks)} of {len(judged)} comparisons LEAK" if leaks else f"no leak in {len(judged)} comparisons"
    console.print(f"{verdict}: the worst are above.")
    return LEAKS if leaks else 0


def _plain(finding: Finding) -> dict[str, object]:
    """JSON has no NaN: what could not be judged is null."""
    return {
        "domain": finding.domain,
        "attack": finding.attack,
        "group": finding.group,
        "rows": finding.rows,
        "auc": finding.auc if finding.auc == finding.auc else None,
        "low": finding.low if finding.low == finding.low else None,
        "telling": finding.telling,
        "leak": finding.fails,
    }
