"""A YAML file as nodes with line and column, and methods that read values from nodes and collect every mistake.

A method that cannot read a value notes the problem and returns None, so one pass finds all mistakes. No Python objects
are constructed from YAML: tags are ignored, and numbers, durations and choices are read from their text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Final, TypeAlias

import yaml
from msgspec.structs import replace

from riskd.adapters.policy_file.nodes import top_node
from riskd.core.bounds import WORDS
from riskd.core.errors import Problem
from riskd.host.files import cause

Node: TypeAlias = yaml.Node
LARGEST: Final = 4 * 1024 * 1024
"""Most bytes of a policy file. The shipped ones have 10 to 20 thousand, an entry of `tenants` some hundred."""
LISTED: Final = 20
"""Most known words that a remedy lists. If there are more, it names only a similar one."""
SYMBOL: Final = r"[\w.:/?#=+-]{1,200}"
"""Matches versions, issuers and `acr` values."""
METHOD: Final = r"[\w-]{1,32}"
"""Matches `amr` values."""

MISTAKES: Final = {
    "unreadable": "cannot be read: {why}",
    "too_large": "has more than {limit} bytes",
    "syntax": "cannot be read as YAML: {why}",
    "empty": "has no policy",
    "duplicate_key": "'{key}' is given twice",
    "unknown_key": "unknown key '{key}' in {what}",
    "missing_key": "'{key}' is missing in {what}",
    "wrong_type": "{what} must be {expected}, not {found}",
    "other_domain": "a policy of {domain} in a file that is named for {named}",
    "wrong_format": "{what} '{value}' is not {expected}",
    "unknown_value": "unknown {what} '{value}'",
    "out_of_range": "{what} must be between {low:g} and {high:g}",
    "retention": "{what} must be between {low} and {high}",
    "empty_list": "{what} is empty",
    "tier_without_terms": "{tier} is used, but the tier table does not have it",
    "unmeetable_tier": "nothing can meet {tier}: it has neither acr_values nor amr",
    "age_rises": "{tier} allows an older authentication than {below}",
    "no_factor": "'{method}' is not an authentication factor",
    "one_kind": "[{methods}] is only one factor: each method proves {kind}",
    "issuer_denies": "acr '{acr}' cannot mean DENY",
    "levels_not_rising": "high must be above medium",
    "band_not_rising": "the band of {tier} is not above the band before it",
    "band_below_floor": "the band of {tier} has no effect: the floor is {floor}",
    "cold_start_unseen": "cold_start has no effect: 'history' is not among the gaps of this journey",
    "duplicate_rule": "there is already a rule '{name}', in line {first}",
    "same_condition": "the condition is the same as that of rule '{name}', in line {first}",
    "rule_without_effect": "rule '{name}' has no effect: no floor is below {tier}",
    "condition": "{what}",
    "below_floor": "{tier} as {what} has no effect: the floor is {floor}",
    "too_many": "more than {limit} {what}",
    "list_of_one_kind": "list '{name}' must have exactly one kind of entries",
    "list_unreadable": "list file '{file}' cannot be read: {why}",
    "unused_list": "list '{name}' is not used",
    "unused_counter": "counter '{name}' is not used",
    "undeclared_attribute": "'{name}' is no attribute that the settings declare",
    "reserved": "{what} cannot be called '{name}', which is a word of the language of conditions",
    "trusts_no_network": "list '{name}' has {kind}: only networks can be trusted",
    "never_true": "'{comparison}' is never true: {name} is {span}",
    "always_true": "'{comparison}' is true whenever the value is known: {name} is {span}",
    "excluded": "'{one}' and '{other}' are never true together",
    "implied_rule": "rule '{name}' has no effect: rule '{other}', in line {first}, hits whenever it does",
    "human_challenge": "{what} needs a person, but the domain is machine",
    "tenant_loosens": "may not have {what}: a tenant can require more, never less",
    "list_of_other_kind": "list '{name}' has {kind} in the policy itself",
    "learning_ended": "learning ended on {date}",
}
"""The wording of every mistake that a policy file can have, by code."""

_NUMBER: Final = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_DURATION: Final = re.compile(r"(\d{1,6})([smhd])")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PREFIX: Final = "tag:yaml.org,2002:"
_KINDS: Final = {"bool": "a boolean", "int": "a number", "float": "a number", "null": "nothing", "timestamp": "a date"}


class Document:
    """A YAML text and the problems found in it so far."""

    def __init__(self, where: str, text: str, wording: Mapping[str, str] = MISTAKES) -> None:
        """`where`: the file's path, for the problems. `wording`: the texts of the mistakes, by code."""
        self.problems: list[Problem] = []
        self.where = where
        self.source = text.removeprefix("\ufeff")  # libyaml does not count a byte order mark
        self._wording = wording

    @classmethod
    def of(cls, path: Path, wording: Mapping[str, str] = MISTAKES) -> Document:
        """The document of a file. If the file cannot be read, the text is empty and the problem is noted."""
        document = cls(str(path), "", wording)
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST + 1)
            if len(content) > LARGEST:
                document.note("too_large", 0, 0, limit=LARGEST)
            else:
                document.source = content.decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            document.note("unreadable", 0, 0, why=cause(error))
        return document

    def sorted_problems(self) -> list[Problem]:
        """The problems once each, in the order of the file; those of files beside it come last."""
        return sorted(dict.fromkeys(self.problems), key=lambda each: (each.where != self.where, each.line, each.column))

    def root(self) -> yaml.Node | None:
        """The top node; None if the text is empty or not YAML, or the file could not be read."""
        if self.problems:
            return None
        if len(self.source.encode("utf-8", "surrogatepass")) > LARGEST:
            self.note("too_large", 0, 0, limit=LARGEST)
            return None
        try:
            node = top_node(self.source)
        except yaml.reader.ReaderError as error:
            self.note("syntax", *self._place(error.position), why=error.reason)
            return None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            why = ", ".join(part for part in (error.context, error.problem) if part)
            self.note("syntax", mark.line + 1 if mark else 0, mark.column + 1 if mark else 0, why=why)
            return None
        if node is None:
            self.note("empty", 1, 1)
        return node

    def note(self, code: str, line: int, column: int, remedy: str = "", **parts: object) -> None:
        """Note a problem at a line and column (from 1). `parts`: values for the wording of `code`."""
        self.problems.append(Problem(self.where, self.worded(code, **parts), remedy, line, column))

    def worded(self, code: str, **parts: object) -> str:
        """The text of a mistake."""
        return self._wording[code].format(**parts)

    def wrong(self, node: yaml.Node, code: str, remedy: str = "", **parts: object) -> None:
        """Note a problem at a node."""
        mark = node.start_mark
        self.note(code, mark.line + 1, mark.column + 1, remedy, **parts)

    @contextmanager
    def part(self, node: yaml.Node, name: str) -> Iterator[None]:
        """Meanwhile, problems at places inside the node begin with this name."""
        before, start, end = len(self.problems), node.start_mark, node.end_mark
        yield
        first, last = (start.line + 1, start.column + 1), (end.line + 1, end.column + 1)
        self.problems[before:] = [
            replace(each, what=f"{name}: {each.what}")
            if each.where == self.where and first <= (each.line, each.column) < last
            else each
            for each in self.problems[before:]
        ]

    def entries(self, node: yaml.Node | None, what: str) -> list[tuple[str, yaml.Node, yaml.Node]]:
        """Key, key node and value node of each entry of a mapping. Only the first of duplicate keys is included.

        In this and the methods below, `what` names the value in problems.
        """
        if node is None:
            return []
        if not isinstance(node, yaml.MappingNode):
            self._wrong_type(node, what, "a mapping")
            return []
        found: dict[str, tuple[str, yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._wrong_type(key_node, f"a key of {what}", "text")
            elif key_node.value in found:
                self.wrong(key_node, "duplicate_key", "remove one of them", key=key_node.value)
            else:
                found[key_node.value] = (key_node.value, key_node, value_node)
        return list(found.values())

    def fields(
        self, node: yaml.Node | None, what: str, required: Collection[str], optional: Collection[str] = ()
    ) -> dict[str, yaml.Node]:
        """The value nodes of a mapping by key. Notes unknown keys, and missing required ones."""
        found = {}
        known = [*required, *optional]
        for key, key_node, value_node in self.entries(node, what):
            if key in known:
                found[key] = value_node
            else:
                self.wrong(key_node, "unknown_key", _nearest(key, known), key=key, what=what)
        if isinstance(node, yaml.MappingNode):
            for key in required:
                if key not in found:
                    self.wrong(node, "missing_key", key=key, what=what)
        return found

    def items(self, node: yaml.Node | None, what: str) -> Iterator[yaml.Node]:
        """The nodes of a list."""
        if isinstance(node, yaml.SequenceNode):
            yield from node.value
        elif node is not None:
            self._wrong_type(node, what, "a list")

    def text(self, node: yaml.Node | None, what: str, pattern: str = r"(?s).+", expected: str = "text") -> str | None:
        """A string of at most 4,000 characters that matches a pattern. `expected` describes the pattern."""
        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode) or node.tag != _PREFIX + "str":
            self._wrong_type(node, what, "text", "quote it" if isinstance(node, yaml.ScalarNode) else "")
            return None
        if len(node.value) > 4000 or not re.fullmatch(pattern, node.value):
            self.wrong(node, "wrong_format", what=what, value=node.value[:60], expected=expected)
            return None
        return str(node.value)

    def word(self, node: yaml.Node, what: str, pattern: str, expected: str) -> str | None:
        """A name that conditions use, as `text`."""
        if isinstance(node, yaml.ScalarNode) and node.value in WORDS:
            self.wrong(node, "reserved", "choose another name", what=what, name=node.value)
            return None
        return self.text(node, what, pattern, expected)

    def attribute(self, name: str, declared: Collection[str] | None, line: int, column: int) -> None:
        """Note an attribute that attempts cannot carry, at a place in the file. `declared`: those that they can; None
        if that is unknown."""
        if declared is not None and name not in declared:
            near = get_close_matches(name, declared, n=1)
            remedy = f"did you mean {near[0]}?" if near else "add it to attributes.names in the settings"
            self.note("undeclared_attribute", line, column, remedy, name=name)

    def texts(self, node: yaml.Node | None, what: str, pattern: str, expected: str) -> tuple[str, ...]:
        """A list of strings that match a pattern."""
        found = [self.text(item, f"an entry of {what}", pattern, expected) for item in self.items(node, what)]
        return tuple(item for item in found if item is not None)

    def number(self, node: yaml.Node | None, what: str, low: float, high: float) -> float | None:
        """A number within bounds, both included."""
        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode) or node.style or not _NUMBER.fullmatch(node.value):
            self._wrong_type(node, what, "a number")
            return None
        value = float(node.value)
        if math.isfinite(value) and low <= value <= high:
            return value
        self.wrong(node, "out_of_range", what=what, low=low, high=high)
        return None

    def seconds(self, node: yaml.Node | None, what: str) -> int | None:
        """A duration in seconds, written as a whole number and its unit."""
        expected = "a duration such as 90s, 15m, 12h or 30d"
        value = self.text(node, what, _DURATION.pattern, expected)
        if value is None:
            return None
        return int(value[:-1]) * _SECONDS[value[-1]]

    def date(self, node: yaml.Node | None, what: str) -> float:
        """When a day begins (UTC), in epoch seconds; 0 if it is absent."""
        if node is None:
            return 0.0
        if isinstance(node, yaml.ScalarNode) and _DATE.fullmatch(node.value):
            try:
                return datetime.strptime(node.value, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
            except ValueError:
                pass
        value = node.value[:60] if isinstance(node, yaml.ScalarNode) else _kind(node)
        self.wrong(node, "wrong_format", what=what, value=value, expected="a day such as 2026-12-31")
        return 0.0

    def boolean(self, node: yaml.Node | None, what: str) -> bool:
        """true or false; false if it is absent."""
        if node is None:
            return False
        if isinstance(node, yaml.ScalarNode) and not node.style and node.value in ("true", "false"):
            return bool(node.value == "true")
        self._wrong_type(node, what, "true or false")
        return False

    def choice(self, node: yaml.Node | None, what: str, known: Sequence[str]) -> str | None:
        """One of the known words."""
        value = self.text(node, what)
        if node is None or value is None or value in known:
            return value
        self.wrong(node, "unknown_value", _nearest(value, known), what=what, value=value[:60])
        return None

    def locate(self, node: yaml.ScalarNode, line: int, column: int) -> tuple[int, int]:
        """The line and column in the file of a position inside a scalar's value. All count from 1.

        YAML folds lines, removes quotes and strips indentation, but keeps the visible characters in order. So the n-th
        visible character of the value is the n-th visible character of its source.
        """
        lines = node.value.split("\n")
        before = "".join(lines[: line - 1]) + lines[min(line, len(lines)) - 1][: column - 1]
        visible = sum(not character.isspace() for character in before)
        last = node.start_mark.index
        for at in _visible(self.source, node):
            if visible == 0:
                return self._place(at)
            visible -= 1
            last = at
        return self._place(last + 1)

    def _place(self, index: int) -> tuple[int, int]:
        start = self.source.rfind("\n", 0, index) + 1
        return self.source.count("\n", 0, index) + 1, index - start + 1

    def _wrong_type(self, node: yaml.Node, what: str, expected: str, remedy: str = "") -> None:
        self.wrong(node, "wrong_type", remedy, what=what, expected=expected, found=_kind(node))


def _visible(text: str, node: yaml.ScalarNode) -> Iterator[int]:
    """The positions in the file of the visible characters of a scalar's value, in order."""
    at, end, style = node.start_mark.index, node.end_mark.index, node.style
    if style in ("|", ">"):
        at = text.index("\n", at)
    elif style:
        at, end = at + 1, end - 1
    while at < end:
        escape = (style == "'" and text[at : at + 2] == "''") or (style == '"' and text[at] == "\\")
        blank = text[at + 1] in "ntr\n" if escape and style == '"' else text[at].isspace()
        if not blank:
            yield at
        at += 2 if escape else 1


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return _KINDS.get(node.tag.removeprefix(_PREFIX), "text")


def _nearest(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, n=1) or get_close_matches(word.upper(), known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"known: {', '.join(known)}" if 0 < len(known) <= LISTED else ""


def span(seconds: int) -> str:
    """A duration in the largest unit of which it is a whole number."""
    unit = next(unit for unit in "dhms" if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"
