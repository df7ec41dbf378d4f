"""The shipped policies, mutated in hundreds of invalid ways: each is refused, and none crashes the reader."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
import yaml
from msgspec import Struct

from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.policy_file import KEYS, read_policy
from riskd.core.attempt import DOMAINS
from riskd.core.errors import InvalidPolicy
from riskd.core.features import NAMES

POLICIES: Final = Path(__file__).parents[2] / "data" / "policies"
COMPILER: Final = CelCompiler(NAMES)
EACH: Final = 5
"""Mutations of each kind per file, drawn with a fixed seed."""


class Entry(Struct, frozen=True):
    """A key of a mapping, its value and its position; `path` begins at the top."""

    path: tuple[str, ...]
    key: yaml.Node
    value: yaml.Node
    text: str

    @property
    def scalar(self) -> str:
        """The value as written, or '' if it is no scalar."""
        return self.value.value if isinstance(self.value, yaml.ScalarNode) else ""

    def with_key(self, key: str) -> str:
        """The file with another key here."""
        return self.text[: self.key.start_mark.index] + key + self.text[self.key.end_mark.index :]

    def with_value(self, value: str) -> str:
        """The file with another value here, on one line."""
        end = self.value.end_mark.index
        ending = "\n" if "\n" in self.text[self.value.start_mark.index : end] else ""
        return self.text[: self.value.start_mark.index] + value + ending + self.text[end:]

    def twice(self) -> str:
        """The file with this entry repeated."""
        start = self.text.rfind("\n", 0, self.key.start_mark.index) + 1
        if self.text[start : self.key.start_mark.index].strip(" -"):
            return self.text
        indent = " " * self.key.start_mark.column
        entry = f"{indent}{self.text[self.key.start_mark.index : self.value.end_mark.index].rstrip()}\n"
        end = self.text.find("\n", self.value.end_mark.index - 1) + 1
        return self.text[:end] + entry + self.text[end:]


def entries(node: yaml.Node | None, text: str, path: tuple[str, ...] = ()) -> Iterator[Entry]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield Entry((*path, key.value), key, value, text)
            yield from entries(value, text, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from entries(item, text, (*path, "-"))


def required(entry: Entry) -> bool:
    inside = {1: "policy", 2: {"levels": "levels"}.get(entry.path[0]), 3: None}.get(len(entry.path))
    if entry.path[0] == "rules" and len(entry.path) == 3:
        inside = "rule"
    if entry.path[0] == "journeys" and len(entry.path) == 3:
        inside = "journey"
    return inside is not None and entry.path[-1] in KEYS[inside][0]


def is_rule_key(*names: str) -> Callable[[Entry], bool]:
    return lambda entry: entry.path[:2] == ("rules", "-") and entry.path[-1] in names


def in_(section: str, depth: int) -> Callable[[Entry], bool]:
    return lambda entry: section in entry.path[:-1] and len(entry.path) == depth


def after_a_band(entry: Entry) -> bool:
    return bool(re.search(r"[A-Z]: [\d.]+[^\n]*\n *$", entry.text[: entry.key.start_mark.index]))


def is_number(entry: Entry) -> bool:
    return entry.value.tag in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:int")


MUTATIONS: Final[dict[str, tuple[Callable[[Entry], bool], Callable[[Entry], str]]]] = {
    "a key misspelt": (lambda _: True, lambda entry: entry.with_key(f"{entry.path[-1]}x")),
    "a key in another case": (lambda _: True, lambda entry: entry.with_key(entry.path[-1].swapcase())),
    "a key given twice": (lambda entry: entry.twice() != entry.text, lambda entry: entry.twice()),
    "a required key renamed away": (required, lambda entry: entry.with_key("note")),
    "a list for a scalar": (lambda entry: bool(entry.scalar), lambda entry: entry.with_value("[a, b]")),
    "a mapping for a scalar": (lambda entry: bool(entry.scalar), lambda entry: entry.with_value("{a: b}")),
    "a scalar for a mapping": (
        lambda entry: isinstance(entry.value, yaml.MappingNode) and bool(entry.value.value),
        lambda entry: entry.with_value("everything"),
    ),
    "nothing for a scalar": (lambda entry: bool(entry.scalar), lambda entry: entry.with_value("~")),
    "a word for a number": (is_number, lambda entry: entry.with_value("many")),
    "a number too large": (is_number, lambda entry: entry.with_value("1e9")),
    "a number below zero": (is_number, lambda entry: entry.with_value("-0.1")),
    "a number that is none": (is_number, lambda entry: entry.with_value(".nan")),
    "a tier that is none": (
        lambda entry: entry.path[-1] in ("floor", "then", "cold_start"), lambda entry: entry.with_value("STRICT")
    ),
    "a posture that is none": (in_("gaps", 4), lambda entry: entry.with_value("ignore")),
    "a duration without unit": (
        lambda entry: entry.path[-1] in ("valid_for", "max_age"), lambda entry: entry.with_value('"90"')
    ),
    "a journey that is none": (is_rule_key("journeys"), lambda entry: entry.with_value("[login, logout]")),
    "journeys that are none": (is_rule_key("journeys"), lambda entry: entry.with_value("[]")),
    "a code in lower case": (is_rule_key("reason"), lambda entry: entry.with_value("because")),
    "a floor above its bands": (
        lambda entry: entry.path[-1] == "floor" and entry.scalar != "DENY", lambda entry: entry.with_value("DENY")
    ),
    "a band at another's score": (
        lambda entry: "bands" in entry.path[:-1] and after_a_band(entry), lambda entry: entry.with_value("0.0001")
    ),
    "a condition that goes on": (is_rule_key("when"), lambda entry: entry.with_value(f"'{entry.scalar} &&'")),
    "a condition with a bracket too many": (
        is_rule_key("when"), lambda entry: entry.with_value(f"'{entry.scalar})'")
    ),
    "a condition on a feature that is none": (
        is_rule_key("when"), lambda entry: entry.with_value(f"'{entry.scalar} || new_contry == 1.0'")
    ),
    "a condition that mixes types": (
        is_rule_key("when"), lambda entry: entry.with_value(f"'{entry.scalar} || tor == 1'")
    ),
    "a condition that is never true": (
        is_rule_key("when"), lambda entry: entry.with_value(f"'({entry.scalar}) && tor == 2.0'")
    ),
    "a condition that contradicts itself": (
        is_rule_key("when"), lambda entry: entry.with_value(f"'({entry.scalar}) && score > 0.5 && score < 0.4'")
    ),
    "a condition on a list that is none": (
        is_rule_key("when"), lambda entry: entry.with_value(f"'({entry.scalar}) && lists.office'")
    ),
    "a condition that is no boolean": (is_rule_key("when"), lambda entry: entry.with_value("score")),
    "a rule that asks for nothing": (is_rule_key("then"), lambda entry: entry.with_value("BASELINE")),
    "a tab": (lambda entry: entry.key.start_mark.column > 0, lambda entry: entry.with_key(f"\t{entry.path[-1]}")),
    "a quote that does not end": (lambda entry: bool(entry.scalar), lambda entry: entry.with_value('"open')),
    "a bracket that does not end": (lambda entry: bool(entry.scalar), lambda entry: entry.with_value("[open")),
    "a control character": (lambda entry: bool(entry.scalar), lambda entry: entry.with_value("a\x07b")),
    "a value that is cut off": (
        lambda entry: entry.path[0] == "journeys", lambda entry: entry.text[: entry.key.end_mark.index]
    ),
}  # fmt: skip
"""By name: to which entries a mutation applies, and the file after it."""
ELSEWHERE: Final = {
    "a scalar for a mapping",
    "a key given twice",
    "a rule that asks for nothing",
    "a quote that does not end",
    "a bracket that does not end",
}
"""Mutations whose mistake is reported at a later line, or at the parent of the entry."""


def mutated() -> Iterator[tuple[str, str, str, int]]:
    """Domain, mutation, text and the changed line; the same in every run."""
    draw = random.Random(63)
    for domain in DOMAINS:
        text = (POLICIES / f"{domain}.yaml").read_text(encoding="utf-8")
        found = list(entries(yaml.compose(text, yaml.SafeLoader), text))
        for name, (fits, change) in MUTATIONS.items():
            able = [entry for entry in found if fits(entry)]
            for entry in draw.sample(able, min(EACH, len(able))):
                yield domain, name, change(entry), entry.key.start_mark.line + 1


CASES: Final[Sequence[tuple[str, str, str, int]]] = tuple(mutated())


def test_there_are_enough() -> None:
    """There are more than 300 different files, and every mutation occurs."""
    assert len({text for _, _, text, _ in CASES}) > 300
    assert {name for _, name, _, _ in CASES} == set(MUTATIONS)


@pytest.mark.parametrize(
    ("domain", "name", "text", "line"), CASES, ids=[f"{at}-{one[0]}-{one[1]}" for at, one in enumerate(CASES)]
)
def test_a_broken_policy_is_refused_where_it_is_broken(domain: str, name: str, text: str, line: int) -> None:
    """Every file is refused with all mistakes placed inside it, and one of them at the changed key or within its
    value."""
    with pytest.raises(InvalidPolicy) as caught:
        read_policy(f"{domain}.yaml", text, COMPILER)
    lines = text.split("\n")
    for problem in caught.value.problems:
        assert problem.where == f"{domain}.yaml"
        assert 1 <= problem.line <= len(lines) + 1
        assert 1 <= problem.column <= max(len(lines[min(problem.line, len(lines)) - 1]), 1) + 1
        assert problem.what
    assert name in ELSEWHERE or any(line <= problem.line <= line + 3 for problem in caught.value.problems)
