"""Reads the rules of a policy file, compares them with each other, and compiles them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import yaml
from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.policy_file.contradictions import attributes_in, contradictions, implied_by
from riskd.adapters.policy_file.document import Document
from riskd.core.attempt import JOURNEYS
from riskd.core.policy import Journey, Policy
from riskd.core.requirement import Tier
from riskd.core.rules import Compiler, Evaluate, Rule, no_rules

RULE_KEYS: Final = ("name", "when", "then", "reason", "text", "journeys"), ("shadow",)
_EVERY: Final = "all"
_WORD: Final = r"[a-z][a-z0-9_]{0,63}"
_CODE: Final = r"[A-Z][A-Z0-9_]{0,63}"
_STRICTER: Final = "choose a stricter tier, or remove the rule"


class WrittenRule(Struct, frozen=True):
    """A rule, and the nodes of its name and condition, to report mistakes at."""

    rule: Rule
    name: yaml.Node
    when: yaml.Node


class RuleReader:
    """Reads rules. `tier` reads a tier of the policy's table; `own`: the policy's lists and counters, which conditions
    may name; `attributes`: those that they may name, if that is known."""

    def __init__(
        self,
        document: Document,
        compiler: Compiler,
        tier: Callable[[yaml.Node | None, str], Tier | None],
        own: tuple[frozenset[str], frozenset[str]],
        attributes: Collection[str] | None = None,
    ) -> None:
        self.document = document
        self._compiler = compiler
        self._tier = tier
        self._own = own
        self._attributes = attributes

    def rules(self, node: yaml.Node | None) -> list[WrittenRule]:
        found = [self._rule(item) for item in self.document.items(node, "rules")]
        return [rule for rule in found if rule is not None]

    def _rule(self, node: yaml.Node) -> WrittenRule | None:
        document = self.document
        fields = document.fields(node, "a rule", *RULE_KEYS)
        name = document.text(fields.get("name"), "name", _WORD, "a name in lower_snake_case")
        when = self._condition(fields.get("when"))
        tier = self._tier(fields.get("then"), "tier")
        reason = document.text(fields.get("reason"), "reason", _CODE, "a code in UPPER_SNAKE_CASE")
        text = document.text(fields.get("text"), "text", r".{1,300}", "one sentence of at most 300 characters")
        journeys = self._applies(fields.get("journeys"))
        shadow = document.boolean(fields.get("shadow"), "shadow")
        if name is None or when is None or tier is None or reason is None or text is None:
            return None
        rule = Rule(name=name, when=when, tier=tier, reason=reason, text=text, journeys=journeys, shadow=shadow)
        return WrittenRule(rule, fields["name"], fields["when"])

    def _condition(self, node: yaml.Node | None) -> str | None:
        """The text of a condition; None if it is not one. Its flaws are noted at their places in the file."""
        when = self.document.text(node, "when", r"(?s).{1,2000}", "a condition of at most 2000 characters")
        if when is None or not isinstance(node, yaml.ScalarNode):
            return None
        rule = Rule(name="", when=when, tier=Tier.DENY, reason="", text="", journeys=())
        for at, name in attributes_in(when).items():
            self.document.attribute(name, self._attributes, *self._place(node, when, at))
        flaws = self._compiler([rule], *self._own)
        if isinstance(flaws, list):
            for flaw in flaws:
                line, column = self.document.locate(node, flaw.line, flaw.column)
                self.document.note("condition", line, column, flaw.remedy, what=flaw.what)
            return when
        for each in contradictions(when):
            line, column = self._place(node, when, each.at)
            self.document.note(each.code, line, column, "correct it, or remove it", **each.parts)
        return when

    def _place(self, node: yaml.ScalarNode, when: str, at: int) -> tuple[int, int]:
        """The line and column in the file of a position in a condition."""
        before = when[:at]
        return self.document.locate(node, before.count("\n") + 1, at - before.rfind("\n"))

    def _applies(self, node: yaml.Node | None) -> tuple[str, ...]:
        document = self.document
        if isinstance(node, yaml.ScalarNode):
            document.choice(node, "journeys", (_EVERY,))
            return JOURNEYS
        names = [document.choice(item, "journey", JOURNEYS) for item in document.items(node, "journeys")]
        if isinstance(node, yaml.SequenceNode) and not names:
            document.wrong(node, "empty_list", f"list journeys, or write {_EVERY}", what="journeys")
        return tuple(name for name in names if name is not None)

    def compare(self, rules: Sequence[WrittenRule], journeys: Mapping[str, Journey]) -> None:
        """Note rules that repeat another rule or have no effect."""
        document = self.document
        names: dict[str, WrittenRule] = {}
        for item in rules:
            names.setdefault(item.rule.name, item)
        conditions: dict[tuple[str, str, bool], WrittenRule] = {}
        for item in rules:
            rule, tier = item.rule, item.rule.tier
            first = names[rule.name]
            if first is not item:
                line = first.name.start_mark.line + 1
                document.wrong(item.name, "duplicate_rule", "choose another name", name=rule.name, first=line)
            condition = " ".join(rule.when.split())
            same = [conditions.setdefault((condition, name, rule.shadow), item) for name in rule.journeys]
            other = next((found for found in same if found is not item), None)
            if other is not None:
                line, remedy = other.name.start_mark.line + 1, "keep the stricter of the two"
                document.wrong(item.when, "same_condition", remedy, name=other.rule.name, first=line)
            floors = [journeys[name].floor for name in rule.journeys if name in journeys]
            if floors and tier <= min(floors):
                document.wrong(item.name, "rule_without_effect", _STRICTER, name=rule.name, tier=tier.name)
                continue
            if not rule.journeys or rule.shadow:
                continue
            wider = implied_by(rule, [each.rule for each in rules if each is not item])
            if wider is not None:
                line = names[wider.name].name.start_mark.line + 1
                document.wrong(item.name, "implied_rule", _STRICTER, name=rule.name, other=wider.name, first=line)

    def compiled(self, rules: Sequence[WrittenRule]) -> dict[str, tuple[tuple[Rule, ...], Evaluate]]:
        """The rules of each journey, and their compiled form."""
        compiled: dict[str, tuple[tuple[Rule, ...], Evaluate]] = {}
        for journey in JOURNEYS:
            chosen = tuple(item.rule for item in rules if journey in item.rule.journeys)
            evaluate = self._compiler(chosen, *self._own) if chosen else no_rules
            assert not isinstance(evaluate, list), "each condition compiled by itself"
            compiled[journey] = chosen, evaluate
        return compiled


def with_rules(policies: Sequence[Policy], compiled: Mapping[str, tuple[tuple[Rule, ...], Evaluate]]) -> list[Policy]:
    """The policies with the compiled rules of each journey. Journeys that they share stay shared."""
    ruled: dict[tuple[str, int], Journey] = {}
    all_ruled: dict[int, dict[str, Journey]] = {}
    for policy in policies:
        for name, journey in policy.journeys.items():
            if (name, id(journey)) not in ruled:
                rules, evaluate = compiled[name]
                ruled[name, id(journey)] = replace(journey, rules=rules, evaluate=evaluate)
        if id(policy.journeys) not in all_ruled:
            all_ruled[id(policy.journeys)] = {name: ruled[name, id(each)] for name, each in policy.journeys.items()}
    return [replace(policy, journeys=all_ruled[id(policy.journeys)]) for policy in policies]
