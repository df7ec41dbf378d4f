"""Runs policy cases through the core, and reports where the answer differs from the expected one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from riskd.adapters.policy_file import Case, Expected
from riskd.core.decide import decide
from riskd.core.lists import listed
from riskd.core.policy import Policy, evaluate, weigh


class Difference(Struct, frozen=True):
    """One part of the answer that differs. For a list: the missing and the unexpected entries."""

    part: str
    expected: str
    got: str


class Result(Struct, frozen=True, kw_only=True):
    """The result of one case. It passed if there are no differences."""

    file: str
    line: int
    description: str
    journey: str
    got: Expected
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        """Whether the answer is as expected in every part that the case names."""
        return not self.differences


class CaseReport(Struct, frozen=True, kw_only=True):
    """All results, and by domain the rules (shadow rules included) that no case hit."""

    passed: int
    failed: int
    results: tuple[Result, ...]
    unproven: Mapping[str, tuple[str, ...]]


def run_cases(files: Sequence[tuple[Policy, Sequence[Case]]]) -> CaseReport:
    """Run every case of every file with its policy."""
    ran = [(policy.domain, run_case(policy, case)) for policy, cases in files for case in cases]
    hit = {(domain, rule) for domain, result in ran for rule in _rules_hit(result.got)}
    unproven = {
        policy.domain: tuple(name for name in policy.rules() if (policy.domain, name) not in hit) for policy, _ in files
    }
    results = tuple(result for _, result in ran)
    failed = sum(not result.passed for result in results)
    return CaseReport(passed=len(results) - failed, failed=failed, results=results, unproven=unproven)


def run_case(policy: Policy, case: Case) -> Result:
    """Run one case: the rules of its journey, then the ruling, as an engine does after scoring."""
    policy = policy.of(case.attempt.tenant)
    known = {**listed(policy.lists, case.attempt, case.context), **case.lists}
    evidence = weigh(policy, case.attempt, case.context, list(case.features), known)
    hits, broken = evaluate(policy, case.attempt, evidence, case.score)
    ruling = decide(policy, case.attempt, case.context, case.score, hits)
    got = Expected(
        tier=ruling.tier.name,
        satisfied=ruling.requirement.satisfied,
        level=ruling.level,
        reasons=tuple(reason.code for reason in ruling.reasons),
        hits=tuple(hit.rule for hit in hits if not hit.shadow),
        shadow_hits=tuple(hit.rule for hit in hits if hit.shadow),
    )
    failures = tuple(Difference(cause, "a verdict", "an evaluation that failed") for cause in broken)
    return Result(
        file=case.where,
        line=case.line,
        description=case.description,
        journey=case.attempt.journey,
        got=got,
        differences=(*_differences(case.expected, got), *failures),
    )


def _differences(expected: Expected, got: Expected) -> list[Difference]:
    differences = []
    for part in Expected.__struct_fields__:
        wanted, have = getattr(expected, part), getattr(got, part)
        if isinstance(wanted, tuple):
            missing, extra = [one for one in wanted if one not in have], [one for one in have if one not in wanted]
            if missing or extra:
                differences.append(Difference(part, _listed(missing, "-"), _listed(extra, "+")))
        elif wanted is not None and wanted != have:
            differences.append(Difference(part, _said(wanted), _said(have)))
    return differences


def _listed(names: Sequence[str], sign: str) -> str:
    return " ".join(f"{sign}{name}" for name in names)


def _said(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _rules_hit(got: Expected) -> tuple[str, ...]:
    return (*(got.hits or ()), *(got.shadow_hits or ()))
