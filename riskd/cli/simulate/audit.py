"""Prints the findings of an audit, for people and for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec.structs import asdict

from riskd.cli.terminal import console, print_json, print_table

if TYPE_CHECKING:
    from riskd.offline.world.audit import Finding
    from riskd.offline.world.directions import Alone, Turned

LEAKS: Final = 1
_SHOWN: Final = 12


def report(findings: Sequence[Finding], turned: Sequence[Turned], alone: Sequence[Alone], *, as_json: bool) -> int:
    """Print the findings, worst first. Returns 1 if there is a leak, if looking riskier is safer, or if a value is an
    attacker's alone."""
    faults = [each.fails for each in findings], [each.fails for each in turned], [each.fails for each in alone]
    result = LEAKS if any(map(any, faults)) else 0
    if as_json:
        print_json(
            {
                "groups": [{**asdict(each), "leak": each.fails} for each in findings],
                "directions": [{**asdict(each), "turned": each.fails} for each in turned],
                "alone": [{**asdict(each), "leak": each.fails} for each in alone],
            }
        )
        return result
    _print_groups(findings)
    _print_turned(turned)
    _print_alone(alone)
    return result


def _print_groups(findings: Sequence[Finding]) -> None:
    leaks = [each for each in findings if each.fails]
    judged = sorted((each for each in findings if each.auc == each.auc), key=lambda each: -each.auc)
    rows = []
    for each in [*leaks, *(each for each in judged if not each.fails)][: max(_SHOWN, len(leaks))]:
        low = f"{each.low:.3f}" if each.low == each.low else ""
        features = ", ".join(each.telling)
        rows.append(
            (each.domain, each.attack, each.stage, each.group, str(each.rows), f"{each.auc:.3f}", low, features)
        )
    print_table(("domain", "class", "attempts", "group", "attacks", "AUC", "at least", "given away by"), rows)
    out = console()
    few: dict[str, dict[str, None]] = {}
    for each in findings:
        if each.auc != each.auc:
            few.setdefault(f"{each.attack} in {each.domain}", {})[f"{each.stage} {each.rows}"] = None
    if few:
        told = "; ".join(f"{name} ({', '.join(stages)})" for name, stages in sorted(few.items()))
        out.print(f"Too few attempts to judge: {told}. More users, days or --attack-share would help.")
    verdict = f"{len(leaks)} of {len(judged)} comparisons LEAK" if leaks else f"no leak in {len(judged)} comparisons"
    out.print(f"{verdict}: the worst are above.")


def _print_turned(turned: Sequence[Turned]) -> None:
    wrong = [each for each in turned if each.fails]
    directions = []
    for one in sorted(turned, key=lambda each: (not each.fails, each.high))[: max(_SHOWN, len(wrong))]:
        came, high = "that failed" if one.failed else "not failed", f"{one.high:.2f} times"
        shares = f"{one.owners:.1%}", f"{one.attackers:.1%}"
        directions.append((one.domain, one.attack, one.feature, came, str(one.rows), *shares, high))
    print_table(
        ("domain", "class", "riskier", "of attempts", "attacks", "of owners", "of attackers", "at most"), directions
    )
    verdict = f"{len(wrong)} of {len(turned)} comparisons" if wrong else f"in none of {len(turned)} comparisons"
    console().print(f"Looking riskier proves honesty {'in ' if wrong else ''}{verdict}: the least are above.")


def _print_alone(alone: Sequence[Alone]) -> None:
    leaks = [each for each in alone if each.fails]
    rows = []
    for one in sorted(alone, key=lambda each: (not each.fails, -each.low))[: max(_SHOWN, len(leaks))]:
        shares = f"{one.owners:.2%}", f"{one.attackers:.1%}", f"{one.low:.1%}"
        rows.append((one.domain, one.attack, one.feature, str(one.rows), *shares))
    print_table(("domain", "class", "riskiest", "attacks", "of owners", "of attackers", "at least"), rows)
    verdict = f"{len(leaks)} of {len(alone)} comparisons" if leaks else f"none of {len(alone)} comparisons"
    console().print(f"Values are an attacker's alone in {verdict}: the worst are above.")
