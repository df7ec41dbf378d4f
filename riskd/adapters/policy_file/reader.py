"""From the document of a policy file to the policy, section by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import yaml
from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.policy_file.document import LARGEST, Document, span
from riskd.core.attempt import DOMAINS, JOURNEYS
from riskd.core.context import SOURCES
from riskd.core.errors import InvalidPolicy
from riskd.core.policy import Bands, Journey, Policy, ladder
from riskd.core.requirement import Terms, Tier
from riskd.core.retention import BOUNDS, Retention
from riskd.core.rules import Compiler, Evaluate, Rule, nothing

KEYS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "policy": (
        ("format", "version", "domain", "levels", "tiers", "journeys"),
        ("trusted_issuers", "explicit_consent", "retention", "rules"),
    ),
    "levels": (("medium", "high"), ()),
    "retention": ((), tuple(BOUNDS)),
    "tier": (("aal",), ("acr_values", "max_age", "amr")),
    "journey": (("floor", "bands", "valid_for"), ("gaps", "cold_start")),
    "rule": (("name", "when", "then", "reason", "text", "journeys"), ("shadow",)),
}
"""Required and optional keys of each kind of mapping."""
_TIERS: Final = tuple(tier.name for tier in Tier)
FORMAT: Final = 1
"""What this version reads. A change that would misread older files gets the next number."""
_NOTE: Final = "note"
_EVERY: Final = "all"
_WORD: Final = r"[a-z][a-z0-9_]{0,63}"
_CODE: Final = r"[A-Z][A-Z0-9_]{0,63}"
_SYMBOL: Final = r"[\w.:/?#=+-]{1,200}"


def load_policy(path: Path, compiler: Compiler) -> Policy:
    """The policy in a file. Raises InvalidPolicy with every mistake: file, line, column, what, remedy."""
    document = Document(str(path), "")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        return read_policy(str(path), content.decode("utf-8"), compiler)
    except OSError as error:
        document.note("unreadable", 0, 0, why=error.strerror or str(error))
    except UnicodeDecodeError as error:
        document.note("unreadable", 0, 0, why=f"byte {error.start} is not UTF-8")
    raise InvalidPolicy(document.problems)


def read_policy(where: str, text: str, compiler: Compiler) -> Policy:
    """The policy in a text; `where` names it in the problems. Raises InvalidPolicy with every mistake."""
    reader = _Reader(Document(where, text), compiler)
    policy = reader.policy()
    if policy is None:
        raise InvalidPolicy(sorted(reader.document.problems, key=lambda problem: (problem.line, problem.column)))
    return policy


class _Rule(Struct, frozen=True):
    """A rule with the nodes that its mistakes point at."""

    rule: Rule
    name: yaml.Node
    when: yaml.Node


class _Reader:
    def __init__(self, document: Document, compiler: Compiler) -> None:
        self.document = document
        self._compiler = compiler
        self._table: frozenset[str] = frozenset()

    def policy(self) -> Policy | None:
        """The policy, or None when there are problems."""
        document = self.document
        top = self._fields(document.root(), "policy", "the policy")
        self._format(top.get("format"))
        version = document.text(top.get("version"), "version", _SYMBOL, "a version")
        domain = document.choice(top.get("domain"), "domain", DOMAINS)
        levels = self._levels(top.get("levels"))
        issuers = document.texts(top.get("trusted_issuers"), "trusted_issuers", _SYMBOL, "an issuer")
        explicit = document.boolean(top.get("explicit_consent"), "explicit_consent")
        tiers = self._tiers(top.get("tiers"))
        retention = self._retention(top.get("retention"))
        journeys = self._journeys(top.get("journeys"))
        rules = self._rules(top.get("rules"))
        self._compare(rules, journeys)
        compiled = self._compile(rules)
        if document.problems or version is None or domain is None or levels is None:
            return None
        return Policy(
            domain=domain,
            version=version,
            levels=levels,
            ladder=ladder(tiers),
            journeys={
                name: replace(journey, rules=compiled[name][0], evaluate=compiled[name][1])
                for name, journey in journeys.items()
            },
            trusted_issuers=frozenset(issuers),
            explicit_consent=explicit,
            retention=retention,
        )

    def _fields(self, node: yaml.Node | None, kind: str, what: str) -> dict[str, yaml.Node]:
        return self.document.fields(node, what, *KEYS[kind])

    def _format(self, node: yaml.Node | None) -> None:
        written = self.document.number(node, "format", 0, 1000)
        if node is not None and written not in (None, FORMAT):
            remedy = f"this version reads format {FORMAT}"
            self.document.wrong(node, "unknown_value", remedy, what="format", value=f"{written:g}")

    def _levels(self, node: yaml.Node | None) -> tuple[float, float] | None:
        fields = self._fields(node, "levels", "levels")
        medium = self.document.number(fields.get("medium"), "medium", 0, 1)
        high = self.document.number(fields.get("high"), "high", 0, 1)
        if medium is None or high is None:
            return None
        if high <= medium:
            self.document.wrong(fields["high"], "levels_not_rising")
        return medium, high

    def _retention(self, node: yaml.Node | None) -> Retention:
        document, found = self.document, {}
        for name, value in self._fields(node, "retention", "retention").items():
            (low, high), seconds = BOUNDS[name], document.seconds(value, name)
            if seconds is not None and not low <= seconds <= high:
                document.wrong(value, "retention", what=name, low=span(low), high=span(high))
            elif seconds is not None:
                found[name] = seconds
        return Retention(**found)

    def _tiers(self, node: yaml.Node | None) -> dict[Tier, Terms]:
        document = self.document
        entries = document.entries(node, "tiers")
        self._table = frozenset(key for key, _, _ in entries) | {Tier.DENY.name}
        found: dict[Tier, tuple[Terms, yaml.Node]] = {}
        for _, key_node, value_node in entries:
            name = document.choice(key_node, "tier", [tier for tier in _TIERS if tier != Tier.DENY.name])
            terms = self._terms(value_node, key_node, name)
            if name is not None and terms is not None:
                found[Tier[name]] = terms, key_node
        self._ages(found)
        return {tier: terms for tier, (terms, _) in found.items()}

    def _terms(self, node: yaml.Node, key_node: yaml.Node, name: str | None) -> Terms | None:
        document = self.document
        fields = self._fields(node, "tier", f"tier {name}")
        aal = document.number(fields.get("aal"), "aal", 0, 3)
        acr_values = document.texts(fields.get("acr_values"), "acr_values", _SYMBOL, "an acr value")
        combinations = tuple(self._methods(item) for item in document.items(fields.get("amr"), "amr"))
        max_age = document.seconds(fields.get("max_age"), "max_age")
        if name not in (None, Tier.BASELINE.name) and not acr_values and not combinations:
            document.wrong(key_node, "unmeetable_tier", "say which acr or amr proves it", tier=name)
        return None if aal is None else Terms(int(aal), acr_values, max_age, combinations)

    def _methods(self, node: yaml.Node) -> tuple[str, ...]:
        document = self.document
        methods = document.texts(node, "amr", r"[\w-]{1,32}", "an amr value")
        if isinstance(node, yaml.SequenceNode) and not node.value:
            document.wrong(node, "empty_list", "name the methods, or remove it", what="a combination of amr")
        if "kba" in methods:
            document.wrong(node, "no_factor", "NIST SP 800-63B-4 knows no such authenticator", method="kba")
        return methods

    def _ages(self, found: Mapping[Tier, tuple[Terms, yaml.Node]]) -> None:
        below: Tier | None = None
        for tier in sorted(found):
            terms, key_node = found[tier]
            limit = found[below][0].max_age_s if below is not None else None
            if below is not None and limit is not None and (terms.max_age_s is None or terms.max_age_s > limit):
                remedy = f"max_age of at most {limit}s"
                self.document.wrong(key_node, "age_rises", remedy, tier=tier.name, below=below.name)
            below = tier

    def _tier(self, node: yaml.Node | None, what: str) -> Tier | None:
        name = self.document.choice(node, what, _TIERS)
        if node is None or name not in _TIERS:
            return None
        if name not in self._table:
            self.document.wrong(node, "tier_without_terms", "add it under tiers", tier=name)
        return Tier[name]

    def _journeys(self, node: yaml.Node | None) -> dict[str, Journey]:
        fields = self.document.fields(node, "journeys", JOURNEYS)
        found = {name: self._journey(name, value) for name, value in fields.items()}
        return {name: journey for name, journey in found.items() if journey is not None}

    def _journey(self, name: str, node: yaml.Node) -> Journey | None:
        document = self.document
        fields = self._fields(node, "journey", f"journey {name}")
        floor = self._tier(fields.get("floor"), "tier")
        bands = self._bands(fields.get("bands"), floor)
        postures = self._postures(fields.get("gaps"))
        cold_start = self._tier(fields.get("cold_start"), "tier")
        if "cold_start" in fields and "history" not in postures:
            document.wrong(fields["cold_start"], "cold_start_unseen", "name history under gaps")
        valid_for = document.seconds(fields.get("valid_for"), "valid_for")
        if floor is None or valid_for is None:
            return None
        return Journey(
            floor=floor,
            bands=bands or Bands((), (floor,)),
            postures=postures,
            cold_start=cold_start or floor,
            valid_for_s=valid_for,
        )

    def _bands(self, node: yaml.Node | None, floor: Tier | None) -> Bands | None:
        document = self.document
        edges: list[float] = []
        tiers: list[Tier] = []
        for _, key_node, value_node in document.entries(node, "bands"):
            tier = self._tier(key_node, "tier")
            edge = document.number(value_node, "a band", 0, 1)
            if tier is None or edge is None or floor is None:
                continue
            if tier <= floor:
                document.wrong(
                    key_node, "band_below_floor", "remove it, or lower the floor", tier=tier.name, floor=floor.name
                )
            elif tiers and (tier <= tiers[-1] or edge <= edges[-1]):
                document.wrong(key_node, "band_not_rising", "order bands by tier and by score", tier=tier.name)
            else:
                edges.append(edge)
                tiers.append(tier)
        return None if floor is None else Bands(tuple(edges), (floor, *tiers))

    def _postures(self, node: yaml.Node | None) -> dict[str, Tier | None]:
        document = self.document
        found: dict[str, Tier | None] = {}
        for _, key_node, value_node in document.entries(node, "gaps"):
            source = document.choice(key_node, "source", tuple(SOURCES))
            posture = document.choice(value_node, "posture", (_NOTE, *_TIERS))
            if source is not None and posture is not None:
                found[source] = None if posture not in _TIERS else self._tier(value_node, "posture")
        return found

    def _rules(self, node: yaml.Node | None) -> list[_Rule]:
        found = [self._rule(item) for item in self.document.items(node, "rules")]
        return [rule for rule in found if rule is not None]

    def _rule(self, node: yaml.Node) -> _Rule | None:
        document = self.document
        fields = self._fields(node, "rule", "a rule")
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
        return _Rule(rule, fields["name"], fields["when"])

    def _condition(self, node: yaml.Node | None) -> str | None:
        """A condition that compiles. Flaws are noted where they lie in the file."""
        when = self.document.text(node, "when", r"(?s).{1,2000}", "a condition of at most 2000 characters")
        if when is None or not isinstance(node, yaml.ScalarNode):
            return None
        flaws = self._compiler([Rule(name="", when=when, tier=Tier.DENY, reason="", text="", journeys=())])
        for flaw in flaws if isinstance(flaws, list) else ():
            line, column = self.document.locate(node, flaw.line, flaw.column)
            self.document.note("condition", line, column, flaw.remedy, what=flaw.what)
        return when

    def _applies(self, node: yaml.Node | None) -> tuple[str, ...]:
        document = self.document
        if isinstance(node, yaml.ScalarNode):
            document.choice(node, "journeys", (_EVERY,))
            return JOURNEYS
        names = [document.choice(item, "journey", JOURNEYS) for item in document.items(node, "journeys")]
        if isinstance(node, yaml.SequenceNode) and not names:
            document.wrong(node, "empty_list", f"name journeys, or write {_EVERY}", what="journeys")
        return tuple(name for name in names if name is not None)

    def _compare(self, rules: Sequence[_Rule], journeys: Mapping[str, Journey]) -> None:
        """Rules that repeat another, or that cannot change anything."""
        document = self.document
        names: dict[str, _Rule] = {}
        conditions: dict[tuple[str, str, bool], _Rule] = {}
        for item in rules:
            rule, tier = item.rule, item.rule.tier
            first = names.setdefault(rule.name, item)
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
                remedy = "raise to a stricter tier, or remove the rule"
                document.wrong(item.name, "rule_without_effect", remedy, name=rule.name, tier=tier.name)

    def _compile(self, rules: Sequence[_Rule]) -> dict[str, tuple[tuple[Rule, ...], Evaluate]]:
        """Each journey's rules in their compiled form; nothing when there are problems."""
        compiled: dict[str, tuple[tuple[Rule, ...], Evaluate]] = {}
        for journey in () if self.document.problems else JOURNEYS:
            chosen = tuple(item.rule for item in rules if journey in item.rule.journeys)
            evaluate = self._compiler(chosen) if chosen else nothing
            assert not isinstance(evaluate, list), "each condition compiled by itself"
            compiled[journey] = chosen, evaluate
        return compiled
