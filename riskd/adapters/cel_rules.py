"""Compiles and evaluates the rules' conditions in CEL (Common Expression Language) with Google's evaluator.

All conditions of a journey are fused into one list literal and evaluated together, because a call of the evaluator
costs more than a condition. Only the variables that the conditions name are bound.

An absent fact never makes a rule hit. The fused evaluation binds a placeholder for it (NaN, '' or 0). A condition that
is then true and names an absent fact is evaluated again with the fact unbound: by CEL's logic the result is then true
only if the condition is true whatever the fact's value.

Results are cached by the values that were read (docs/decisions/0021), because most attempts resemble an earlier one.
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
from riskd.core.counters import COUNTED
from riskd.core.rules import (
    LISTS,
    VARIABLES,
    Evaluate,
    Flaw,
    Rule,
    RuleFacts,
    RuleResults,
    Value,
    Variable,
    counter_variables,
    list_variable,
)

_TYPES: Final = {
    "double": cel.Type.DOUBLE,
    "int": cel.Type.INT,
    "bool": cel.Type.BOOL,
    "string": cel.Type.STRING,
    "strings": cel.Type.List(cel.Type.STRING),
    "table": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
}
_PLACEHOLDERS: Final[dict[str, Value]] = {
    "double": math.nan,
    "int": 0,
    "bool": False,
    "string": "",
    "strings": [],
    "table": {},
}
CACHED: Final = 1024
"""Most results in the cache of a journey's rules."""
_ENVIRONMENTS: Final = 16
"""Most environments in the cache, one for each set of lists and counters."""
_UNCACHED: Final = frozenset({"score", "attributes"})
"""Variables whose values hardly ever recur: rules that name one are not cached."""
_Key = float | int | str | tuple[str, ...] | dict[str, str] | None
_FUSED_CHARACTERS: Final = 50_000
"""Longest fused expression. The evaluator refuses those of more than 100 000 characters."""
_WORD: Final = re.compile(rf"(?<!\w)(?:(?:{LISTS[:-1]}|{COUNTED[:-1]}\s*\.\s*\w+)\s*\.\s*\w+|[A-Za-z_]\w*)")
"""Matches every word that may name a variable. CEL allows spaces around the dots of a name. Fields and methods also
match; they do no harm, because they are not among the known names."""
_ERROR: Final = re.compile(r"^(?:INVALID_ARGUMENT: )?ERROR: <input>:(\d+):(\d+): (.*)$", re.MULTILINE)
_NOISE: Final = re.compile(r" \(in container ''\)| expecting \{.*\}| \[INVALID_ARGUMENT\]")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']+)'")
_UNDEFINED: Final = {
    LISTS: "the policy has no lists",
    COUNTED: "the policy has no counters: name the attribute under counters",
}


class _Compiled(Struct, frozen=True):
    """One condition: the hit that it gives, its own expression, and the variables that it names."""

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
        self._environment = lru_cache(_ENVIRONMENTS)(self._make_environment)

    def __call__(
        self, rules: Sequence[Rule], lists: Collection[str] = (), counters: Collection[str] = ()
    ) -> Evaluate | list[Flaw]:
        """The compiled rules, or every flaw in their conditions. `lists` and `counters`: those of the policy."""
        return self._environment(frozenset(lists), frozenset(counters)).compile(rules)

    def _make_environment(self, lists: frozenset[str], counters: frozenset[str]) -> _Environment:
        variables = VARIABLES | {LISTS + name: list_variable(name) for name in sorted(lists)}
        for counter in sorted(counters):
            variables |= counter_variables(counter)
        return _Environment(self._features, variables)


class _Environment:
    """The names that conditions may use: features, by their column, and variables."""

    def __init__(self, features: Mapping[str, int], variables: Mapping[str, Variable]) -> None:
        self._features = features
        self._variables = variables
        kinds = {name: variable.kind for name, variable in variables.items()} | dict.fromkeys(features, "double")
        self._placeholders = {name: _PLACEHOLDERS[kind] for name, kind in kinds.items()}
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
                (name, variable.read, self._placeholders[name])
                for name, variable in self._variables.items()
                if name in used
            ),
        )

    def _compile(self, rule: Rule) -> _Compiled | list[Flaw]:
        """Type-check one condition, and try it on an attempt whose facts are all absent."""
        try:
            alone = self._env.compile(rule.when)
        except RuntimeError as error:
            return self._flaws(rule, str(error))
        kind = alone.return_type().name()
        if kind != "BOOL":
            return [Flaw(rule.name, f"the condition is of type {kind}, not a boolean", "compare it with something")]
        names = frozenset("".join(word.split()) for word in _WORD.findall(rule.when)) & self._placeholders.keys()
        if not names:
            return [Flaw(rule.name, "the condition is a constant", "name a feature or variable in it")]
        tried = alone.eval(data={name: self._placeholders[name] for name in names}).plain_value()
        if not isinstance(tried, bool):
            remedy = 'check first that the key exists: "k" in attributes && attributes["k"] == ...'
            remedy = remedy if "NOT_FOUND" in str(tried) else "correct it"
            return [Flaw(rule.name, f"the condition cannot be evaluated: {_reason(str(tried))}", remedy)]
        return _Compiled(rule.name, Hit(rule.name, rule.tier, rule.reason, rule.shadow, rule.text), alone, names)

    def _flaws(self, rule: Rule, message: str) -> list[Flaw]:
        return [
            Flaw(rule.name, _NOISE.sub("", what), self._remedy(what, rule.when), int(line), int(column))
            for line, column, what in _ERROR.findall(message)
        ] or [Flaw(rule.name, _reason(message))]

    def _remedy(self, what: str, when: str) -> str:
        unknown = _UNDECLARED.search(what)
        if unknown:
            if re.search(rf"attributes\s*\[\s*{re.escape(unknown[1])}\s*\]", when):
                return f'write attributes["{unknown[1]}"]'
            prefix = unknown[1].partition(".")[0] + "."
            own = [name for name in self._variables if name.startswith(prefix)]
            if prefix in _UNDEFINED and not own:
                return _UNDEFINED[prefix]
            if below := [name for name in own if name.startswith(f"{unknown[1]}.")]:
                return f"known: {', '.join(below)}"
            near = get_close_matches(unknown[1], own or self._placeholders, n=1)
            if near:
                return f"did you mean {near[0]}?"
            return f"known: {', '.join(own)}" if own else "name a feature, or one of " + ", ".join(VARIABLES)
        if "string" in what and ("double" in what or "int" in what):
            return 'write texts in quotes, and read a number as double(attributes["amount"])'
        if "double" in what and "int" in what:
            return "write doubles as 1.0, and whole numbers (asn) as 1"
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
        variables: tuple[tuple[str, Callable[[RuleFacts], Value | None], Value], ...],
    ) -> None:
        self._chunks = chunks
        self._features = features
        self._variables = variables
        self._indexes = [index for _, index in features]
        cached = _UNCACHED.isdisjoint(name for name, _, _ in variables)
        self._run = lru_cache(CACHED)(self._evaluate) if cached else self._evaluate

    def __call__(self, facts: RuleFacts) -> RuleResults:
        features = facts.features
        values = tuple([features[index] for index in self._indexes])
        others = tuple([_key(read(facts)) for _, read, _ in self._variables])
        return self._run(values, others)

    def _evaluate(self, values: tuple[float, ...], others: tuple[_Key, ...]) -> RuleResults:
        # 0.0 and -0.0 are the same cache key, but CEL could tell them apart. Adding 0.0 turns -0.0 into 0.0.
        data: dict[str, Value] = {name: value + 0.0 for (name, _), value in zip(self._features, values, strict=True)}
        absent = []
        for (name, _, placeholder), read in zip(self._variables, others, strict=True):
            if read is None:
                absent.append(name)
            known = placeholder if read is None else read
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
            known_data = self._known(data, absent)
            return tuple(part.hit for part in hits if _certain(part, known_data)), tuple(broken)
        return (), tuple(broken)

    def _known(self, data: dict[str, Value], absent: Iterable[str]) -> dict[str, Value]:
        """The data without absent facts; a feature is absent if it is NaN."""
        missing = {name for name, _ in self._features if data[name] != data[name]}
        missing.update(absent)
        return {name: value for name, value in data.items() if name not in missing} if missing else data


def _key(value: Value | None) -> _Key:
    return tuple(value) if isinstance(value, list) else value


def _certain(part: _Compiled, known: dict[str, Value]) -> bool:
    """Whether a condition that is true with placeholders is true whatever the absent facts are."""
    return part.names <= known.keys() or part.alone.eval(data=known).plain_value() is True


def _broken(parts: Sequence[_Compiled], verdicts: Sequence[object]) -> list[str]:
    """A cause for each rule whose evaluation gave an error."""
    return [f"rule:{part.rule}" for part, verdict in zip(parts, verdicts, strict=True) if not isinstance(verdict, bool)]


def _grouped(parts: Sequence[tuple[_Compiled, Rule]]) -> list[list[tuple[_Compiled, Rule]]]:
    """The conditions in groups that each fit one expression."""
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
