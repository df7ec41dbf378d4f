"""Finds comparisons that are always or never true, and rules that have no effect beside another rule.

Reports only what is certain. It checks comparisons of a feature with a number against the values that the feature can
have. If the parts of a condition are all joined by `&&`, it also checks the parts against each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from operator import eq, ge, gt, le, lt, ne
from typing import Final

from msgspec import Struct

from riskd.core.counters import COUNTED
from riskd.core.features import FEATURES
from riskd.core.features.span import Span
from riskd.core.rules import COUNT_SPANS, LISTS, VARIABLES, Rule

SPANS: Final[Mapping[str, Span]] = {feature.name: feature.span for feature in FEATURES} | {
    name: variable.span for name, variable in VARIABLES.items() if variable.span is not None
}
_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge,
}  # fmt: skip
_TEXT: Final = re.compile(r'"(?:\\.|[^"\\])*"' + r"|'(?:\\.|[^'\\])*'")
_COMPARISON: Final = re.compile(
    rf"(?<![\w.])(?P<name>(?:{COUNTED[:-1]}\.\w+\.)?[a-z]\w*)\s*(?P<sign>==|!=|<=|>=|<|>)"
    r"\s*(?P<number>-?\d+\.\d*(?:[eE][-+]?\d+)?)(?=\s*(?:$|[)&|]))"
)
_LISTS: Final = re.compile(rf"(?<!\w){LISTS[:-1]}\s*\.\s*(\w+)")
_COUNTERS: Final = re.compile(rf"(?<!\w){COUNTED[:-1]}\s*\.\s*(\w+)")
_COUNTS: Final = re.compile(_COUNTERS.pattern + r"\s*\.\s*(\w+)")
_STRING: Final = '"(?P<{}>_+)"'
_ATTRIBUTES: Final = re.compile(
    rf"(?:\+\s*\"_+\"|{_STRING.format('asked')})\s*in\s+attributes\b"
    rf"|(?<![\w.])attributes\s*(?:\[\s*{_STRING.format('read')}\s*\]|\.\s*(?P<selected>\w+)(?!\w|\s*\())"
)
"""Matches the three ways to name an attribute, in a condition whose strings are blanked, and without a name a string
that is only the end of one."""


class Comparison(Struct, frozen=True):
    """A comparison of a feature (or the score, or the coverage) with a number. `at`: its position in the condition."""

    text: str
    at: int
    name: str
    sign: str
    number: float

    def met_by(self, value: float) -> bool:
        """Whether it is true for this value."""
        return _COMPARE[self.sign](value, self.number)


class Contradiction(Struct, frozen=True):
    """A comparison that is always or never true. `code`: of `MISTAKES`; `at`: its position in the condition; `parts`:
    values for the wording."""

    code: str
    at: int
    parts: Mapping[str, str]


def lists_in(when: str) -> frozenset[str]:
    """The lists that a condition names."""
    return frozenset(_LISTS.findall(_without_texts(when)))


def counters_in(when: str) -> frozenset[str]:
    """The counters that a condition names."""
    return frozenset(_COUNTERS.findall(_without_texts(when)))


def counts_in(when: str) -> frozenset[tuple[str, str]]:
    """The counts that a condition names, each as counter and count."""
    return frozenset(_COUNTS.findall(_without_texts(when)))


def attributes_in(when: str) -> dict[int, str]:
    """By position, the attributes that a condition names. A condition with comments is not searched."""
    blank = _without_texts(when)
    found = _ATTRIBUTES.finditer(blank) if "//" not in blank else ()
    spans = [match.span(match.lastgroup) for match in found if match.lastgroup]
    return {begin: when[begin:end] for begin, end in spans}


def contradictions(when: str) -> list[Contradiction]:
    """The comparisons that are never true, that are true for every known value, or that exclude each other."""
    found = []
    for each in _comparisons(when):
        tried = [each.met_by(value) for value in _landmarks([each])]
        if tried and len(set(tried)) == 1:
            code = "always_true" if tried[0] else "never_true"
            parts = {"comparison": each.text, "name": each.name, "span": str(_span(each.name))}
            found.append(Contradiction(code, each.at, parts))
    if found:
        return found
    parts_ = [part for part in map(_whole, _conjuncts(when)) if part is not None]
    for one, other in combinations(parts_, 2):
        if one.name == other.name and not any(
            one.met_by(value) and other.met_by(value) for value in _landmarks([one, other])
        ):
            at = max(when.find(other.text), 0)
            found.append(Contradiction("excluded", at, {"one": one.text, "other": other.text}))
    return found


def implied_by(rule: Rule, others: Sequence[Rule]) -> Rule | None:
    """Another rule that hits whenever this one does, on all its journeys, with at least its tier; None if there is
    none. Then this rule has no effect."""
    parts = _conjuncts(rule.when)
    for other in others:
        wide = not other.shadow and other.tier >= rule.tier and set(rule.journeys) <= set(other.journeys)
        weaker = _conjuncts(other.when)
        if wide and weaker != parts and all(any(_implies(part, each) for part in parts) for each in weaker):
            return other
    return None


def _implies(part: str, weaker: str) -> bool:
    """Whether `weaker` is certainly true whenever `part` is."""
    if part == weaker:
        return True
    one, other = _whole(part), _whole(weaker)
    if one is None or other is None or one.name != other.name:
        return False
    return all(other.met_by(value) for value in _landmarks([one, other]) if one.met_by(value))


def _landmarks(compared: Sequence[Comparison]) -> list[float]:
    """Values that represent all values of the feature: the numbers compared with, their neighbours, and both ends."""
    span = _span(compared[0].name)
    if span is None:
        return []
    if span.values:
        return list(span.values)
    near = [
        value
        for each in compared
        for value in (each.number, math.nextafter(each.number, -math.inf), math.nextafter(each.number, math.inf))
    ]
    return [value for value in (*near, span.low, span.high) if span.low <= value <= span.high]


def _comparisons(when: str) -> Iterator[Comparison]:
    blank = _without_texts(when)
    for match in _COMPARISON.finditer(blank):
        before = blank[: match.start()].rstrip()
        if _span(match["name"]) and (not before or before[-1] in "(&|"):
            yield Comparison(match[0], match.start(), match["name"], match["sign"], float(match["number"]))


def _span(name: str) -> Span | None:
    """The range of a number that conditions may name; None for another name."""
    return SPANS.get(name) or (COUNT_SPANS.get(name.rpartition(".")[2]) if name.startswith(COUNTED) else None)


def _whole(part: str) -> Comparison | None:
    """The comparison, if the part consists of exactly one."""
    found = list(_comparisons(part))
    return found[0] if len(found) == 1 and found[0].text == part else None


def _conjuncts(when: str) -> tuple[str, ...]:
    """The parts joined by `&&` outside of brackets, sorted. The whole condition if it has another operator there."""
    blank, parts, depth, start = _without_texts(when), list[str](), 0, 0
    if "//" in blank:
        return (when,)
    for at, character in enumerate(blank):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and character in "|?":
            return (" ".join(when.split()),)
        if depth == 0 and blank.startswith("&&", at):
            parts.append(when[start:at])
            start = at + 2
    return tuple(sorted(" ".join(part.split()) for part in (*parts, when[start:])))


def _without_texts(when: str) -> str:
    """The condition with the contents of its strings blanked. Positions do not change."""
    return _TEXT.sub(lambda match: '"' + "_" * (len(match[0]) - 2) + '"', when)
