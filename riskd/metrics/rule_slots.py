"""The slots of the hits of rules. Releases name the rules, so each worker notes which rule has which of its slots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from riskd.metrics.labels import OTHER
from riskd.metrics.metric import RULES

CountedRule = tuple[str, str, bool]
"""Domain, name, and whether it is in shadow."""
Noted = tuple[CountedRule, bool]
"""The rule that has a slot, and whether a release that decides has this rule."""
_OTHERS: Final = (OTHER, OTHER, OTHER)


class RuleSlots:
    """The slots of one worker; the first is that of `other`. A rule keeps its slot until no release has it and another
    rule finds none free: so its count continues when an earlier release decides again."""

    def __init__(self, slots: memoryview[float], noted: Sequence[Noted]) -> None:
        """`noted`: the note of the worker that had these slots before; its counts continue."""
        self._slots = slots
        self._rules = [rule for rule, _ in noted]
        self._numbers: dict[CountedRule, int] = {}
        for number in range(len(noted) + 1, len(slots)):
            slots[number] = 0.0

    def number(self, rule: CountedRule) -> int:
        """The number of a rule's slot."""
        return self._numbers.get(rule, 0)

    def assign(self, rules: Sequence[CountedRule]) -> tuple[Noted, ...]:
        """Give a slot to each of these rules, those of the releases that decide. Returns what is to be noted."""
        used = dict.fromkeys(rules)
        taken = {rule: number for number, rule in enumerate(self._rules, 1)}
        left = [rule for rule in taken if rule not in used]
        for rule in used:
            if rule in taken:
                continue
            if len(self._rules) < RULES:
                self._rules.append(rule)
            elif left:
                number = taken[left.pop(0)]
                self._slots[number] = 0.0
                self._rules[number - 1] = rule
        self._numbers = {rule: number for number, rule in enumerate(self._rules, 1)}
        return tuple((rule, rule in used) for rule in self._rules)


def total_hits(
    workers: Sequence[Sequence[float]], notes: Sequence[Sequence[Noted]]
) -> Iterator[tuple[tuple[str, ...], list[float]]]:
    """The hits over all workers of each rule that a release of any worker has, with its labels; and of `other`, if any.

    A worker that has changed its release before another still counts, so that no total falls meanwhile.
    """
    hits: dict[tuple[str, ...], float] = {}
    used = set[tuple[str, ...]]()
    for slots, noted in zip(workers, notes, strict=True):
        for number, ((domain, name, shadow), in_use) in enumerate(noted, 1):
            row = (domain, name, "true" if shadow else "false")
            hits[row] = hits.get(row, 0.0) + slots[number]
            if in_use:
                used.add(row)
    others = sum(slots[0] for slots in workers)
    if others:
        yield _OTHERS, [others]
    yield from ((row, [total]) for row, total in hits.items() if row in used)
