"""Conditions in CEL (Common Expression Language), by Google's own evaluator. The only importer of it.

All conditions of a journey are fused into one list literal and evaluated together, because a call of the
evaluator costs more than a condition. Only the variables that the conditions name are bound.

What is absent decides nothing. The fused evaluation binds a stand-in for an absent fact (NaN, '' or 0);
whatever hits and names an absent fact is evaluated again with that fact unbound, where CEL's own logic
says true only if the condition is true whatever the fact may be.

What rules make of the same values is remembered (decision 0021): most attempts are like one before them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Final

from cel_expr_python import cel
from msgspec import Struct

from riskd.core.assessment import Hit
from riskd.core.rules import LISTS, VARIABLES, Evaluate, Facts, Flaw, Rule, RuleResults, Value, Variable, list_variable

_TYPES: Final = {
    "double": cel.Type.DOUBLE,
    "int": cel.Type.INT,
    "bool": cel.Type.BOOL,
    "string": cel.Type.STRING,
    "strings": cel.Type.List(cel.Type.STRING),
    "table": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
}
_STAND_IN: Final[dict[str, Value]] = {
    "double": math.nan,
    "int": 0,
    "bool": False,
    "string": "",
    "strings": [],
    "table": {},
}
REMEMBERED: Final = 1024
"""Verdicts kept of a journey's rules."""
_LANGUAGES: Final = 16
"""Sets of lists for which the declarations are kept."""
_VARIED: Final = frozenset({"score", "attributes"})
"""Variables that hardly ever have a value again: rules that name one are evaluated every time."""
_Key = float | int | str | tuple[str, ...] | dict[str, str] | None
_FUSED_CHARACTERS: Final = 50_000
"""The evaluator refuses expressions of more than 100 000."""
_WORD: Final = re.compile(rf"(?<!\w)(?:{LISTS[:-1]}\s*\.\s*\w+|[A-Za-z_]\w*)")
"""What may be the name of a variable. A name of CEL may begin with a dot, and have spaces round its dots; what is a
field or a method after all is no variable's."""
_ERROR: Final = re.compile(r"^(?:INVALID_ARGUMENT: )?ERROR: <input>:(\d+):(\d+): (.*)$", re.MULTILINE)
_NOISE: Final = re.compile(r" \(in container ''\)| expecting \{.*\}| \[INVALID_ARGUMENT\]")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']+)'")


class _Compiled(Struct, frozen=True):
    """One condition: its hit, alone as an expression, and the variables that it names."""

    rule: str
    hit: Hit
    alone: cel.Expression
    names: frozenset[str]


class _Chunk(Struct, frozen=True):
    """Conditions that are evaluated together."""

    fused: cel.Expression
    parts: tuple[_Compiled, ...]


class CelCompiler:
    """Compiles the rules of one journey. `features` are the names of the feature vector, in its order."""

    def __init__(self, features: Sequence[str]) -> None:
        self._features = {name: index for index, name in enumerate(features)}
        self._language = lru_cache(_LANGUAGES)(self._language_of)

    def __call__(self, rules: Sequence[Rule], lists: Collection[str] = ()) -> Evaluate | list[Flaw]:
        """The compiled rules, or everything that is wrong with their conditions. `lists` are those they may name."""
        return self._language(frozenset(lists)).compile(rules)

    def _language_of(self, lists: frozenset[str]) -> _Language:
        return _Language(self._features, VARIABLES | {LISTS + name: list_variable(name) for name in sorted(lists)})


class _Language:
    """What conditions may name: features by their column, and variables."""

    def __init__(self, features: Mapping[str, int], variables: Mapping[str, Variable]) -> None:
        self._features = features
        self._variables = variables
        kinds = {name: variable.kind for name, variable in variables.items()} | dict.fromkeys(features, "double")
        self._stand_ins = {name: _STAND_IN[kind] for name, kind in kinds.items()}
        self._env = cel.NewEnv(variables={name: _TYPES[kind] for name, kind in kinds.items()})

    def compile(self, rules: Sequence[Rule]) -> Evaluate | list[Flaw]:
        """See `CelCompiler`."""
        flaws: list[Flaw] = []
        parts: list[_Compiled] = []
        for rule in rules:
            found = self._compile(rule)
            if isinstance(found, _Compiled):
                parts.append(found)
            else:
                flaws += found
        if flaws:
            return flaws
        used = frozenset(name for part in parts for name in part.names)
        chunks = [self._fuse(group) for group in _grouped(list(zip(parts, rules, strict=True)))]
        return _Evaluator(
            chunks=tuple(chunks),
            features=tuple((name, index) for name, index in self._features.items() if name in used),
            variables=tuple(
                (name, variable.read, self._stand_ins[name])
                for name, variable in self._variables.items()
                if name in used
            ),
        )

    def _compile(self, rule: Rule) -> _Compiled | list[Flaw]:
        """Type-check one condition, and try it on an attempt of which nothing is known."""
        try:
            alone = self._env.compile(rule.when)
        except RuntimeError as error:
            return self._flaws(rule.name, str(error))
        kind = alone.return_type().name()
        if kind != "BOOL":
            return [Flaw(rule.name, f"the condition is of type {kind}, not a boolean", "compare it with something")]
        names = frozenset("".join(word.split()) for word in _WORD.findall(rule.when)) & self._stand_ins.keys()
        if not names:
            return [Flaw(rule.name, "the condition is a constant", "name a feature or variable in it")]
        tried = alone.eval(data={name: self._stand_ins[name] for name in names}).plain_value()
        if not isinstance(tried, bool):
            remedy = 'ask first whether it is there: "k" in attributes && attributes["k"] == ...'
            remedy = remedy if "NOT_FOUND" in str(tried) else "correct it"
            return [Flaw(rule.name, f"the condition cannot be evaluated: {_reason(str(tried))}", remedy)]
        return _Compiled(rule.name, Hit(rule.name, rule.tier, rule.reason, rule.shadow, rule.text), alone, names)

    def _flaws(self, rule: str, message: str) -> list[Flaw]:
        return [
            Flaw(rule, _NOISE.sub("", what), self._remedy(what), int(line), int(column))
            for line, column, what in _ERROR.findall(message)
        ] or [Flaw(rule, _reason(message))]

    def _remedy(self, what: str) -> str:
        unknown = _UNDECLARED.search(what)
        if unknown:
            near = get_close_matches(unknown[1], self._stand_ins, n=1)
            if near:
                return f"did you mean {near[0]}?"
            lists = [name for name in self._variables if name.startswith(LISTS)]
            if unknown[1].startswith("lists"):
                return f"its lists are {', '.join(lists)}" if lists else "the policy has no lists"
            return "name a feature, or one of " + ", ".join(VARIABLES)
        if "double" in what and "int" in what:
            return "doubles are written 1.0, whole numbers (asn) 1"
        return ""

    def _fuse(self, group: Sequence[tuple[_Compiled, Rule]]) -> _Chunk:
        text = "\n, ".join(rule.when for _, rule in group)
        return _Chunk(self._env.compile(f"[{text}\n]"), tuple(part for part, _ in group))


class _Evaluator:
    """The compiled rules of one journey."""

    __slots__ = ("_chunks", "_features", "_indexes", "_run", "_variables")

    def __init__(
        self,
        chunks: tuple[_Chunk, ...],
        features: tuple[tuple[str, int], ...],
        variables: tuple[tuple[str, Callable[[Facts], Value | None], Value], ...],
    ) -> None:
        self._chunks = chunks
        self._features = features
        self._variables = variables
        self._indexes = [index for _, index in features]
        recurs = _VARIED.isdisjoint(name for name, _, _ in variables)
        self._run = lru_cache(REMEMBERED)(self._evaluate) if recurs else self._evaluate

    def __call__(self, facts: Facts) -> RuleResults:
        features = facts.features
        values = tuple([features[index] for index in self._indexes])
        others = tuple([_key(read(facts)) for _, read, _ in self._variables])
        return self._run(values, others)

    def _evaluate(self, values: tuple[float, ...], others: tuple[_Key, ...]) -> RuleResults:
        # Equal keys must have equal answers: adding zero makes -0.0, which CEL could tell apart, 0.0.
        data: dict[str, Value] = {name: value + 0.0 for (name, _), value in zip(self._features, values, strict=True)}
        absent = []
        for (name, _, stand_in), read in zip(self._variables, others, strict=True):
            if read is None:
                absent.append(name)
            known = stand_in if read is None else read
            data[name] = [*known] if isinstance(known, tuple) else known
        hits: list[_Compiled] = []
        broken: list[str] = []
        for chunk in self._chunks:
            verdicts = chunk.fused.eval(data=data).plain_value()
            if not isinstance(verdicts, list):
                verdicts = [part.alone.eval(data=data).plain_value() for part in chunk.parts]
                broken += _broken(chunk.parts, verdicts)
            if True in verdicts:
                hits += [part for part, verdict in zip(chunk.parts, verdicts, strict=True) if verdict is True]
        if hits:
            there = self._known(data, absent)
            return tuple(part.hit for part in hits if _certain(part, there)), tuple(broken)
        return (), tuple(broken)

    def _known(self, data: dict[str, Value], absent: Iterable[str]) -> dict[str, Value]:
        gone = {name for name, _ in self._features if data[name] != data[name]}
        gone.update(absent)
        return {name: value for name, value in data.items() if name not in gone} if gone else data


def _key(value: Value | None) -> _Key:
    return tuple(value) if isinstance(value, list) else value


def _certain(part: _Compiled, known: dict[str, Value]) -> bool:
    return part.names <= known.keys() or part.alone.eval(data=known).plain_value() is True


def _broken(parts: Sequence[_Compiled], verdicts: Sequence[object]) -> list[str]:
    return [part.rule for part, verdict in zip(parts, verdicts, strict=True) if not isinstance(verdict, bool)]


def _grouped(parts: Sequence[tuple[_Compiled, Rule]]) -> list[list[tuple[_Compiled, Rule]]]:
    """Groups that fit one expression each."""
    groups: list[list[tuple[_Compiled, Rule]]] = []
    length = _FUSED_CHARACTERS
    for part, rule in parts:
        length += len(rule.when) + 2
        if length > _FUSED_CHARACTERS:
            groups.append([])
            length = len(rule.when)
        groups[-1].append((part, rule))
    return groups


def _reason(message: str) -> str:
    return message.removeprefix("INVALID_ARGUMENT: ").removeprefix("NOT_FOUND: ").split("\n", 1)[0][:200]
