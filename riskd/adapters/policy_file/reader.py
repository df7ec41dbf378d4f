"""Reads a policy from the document of a policy file, section by section."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

import yaml
from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.policy_file.contradictions import lists_in
from riskd.adapters.policy_file.counters import check_counters, read_counters
from riskd.adapters.policy_file.document import SYMBOL, Document, span
from riskd.adapters.policy_file.issuers import ISSUER_KEYS, read_issuers
from riskd.adapters.policy_file.lists import ListReader
from riskd.adapters.policy_file.rules import RULE_KEYS, RuleReader, with_rules
from riskd.adapters.policy_file.tenants import MOST_TENANTS, TENANT_NAME, changed, looser, overlaid, values
from riskd.adapters.policy_file.tiers import TIER_KEYS, TIERS, TierReader
from riskd.core.attempt import DOMAINS, JOURNEYS
from riskd.core.context import SOURCES
from riskd.core.errors import InvalidPolicy
from riskd.core.lists import NamedList
from riskd.core.policy import Bands, Journey, Policy
from riskd.core.requirement import Tier
from riskd.core.retention import BOUNDS, Retention
from riskd.core.rules import Compiler
from riskd.wording import date

_TENANT_KEYS: Final = ("trusted_issuers", "explicit_consent", "lists", "trusted_networks", "learning_until")
KEYS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "policy": (
        ("format", "version", "domain", "levels", "tiers", "journeys"),
        (*_TENANT_KEYS, "retention", "counters", "rules", "tenants"),
    ),
    "tenant": ((), ("tiers", "journeys", *_TENANT_KEYS)),
    "levels": (("medium", "high"), ()),
    "retention": ((), tuple(BOUNDS)),
    "issuer": ISSUER_KEYS,
    "tier": TIER_KEYS,
    "journey": (("floor", "bands", "valid_for"), ("gaps", "cold_start", "learning_until", "friction_budget")),
    "rule": RULE_KEYS,
}
"""Required and optional keys of each kind of mapping."""
FORMAT: Final = 1
"""The file format that this version reads. A change that would misread older files gets the next number."""
_NOTE: Final = "note"


def load_policy(
    path: Path, compiler: Compiler, *, now: float | None = None, attributes: Collection[str] | None = None
) -> Policy:
    """The policy in a file, with the lists in files beside it. Raises InvalidPolicy with every mistake.

    `now` (epoch seconds), if given, also reports settings that have ended by then; `attributes`, if given, other
    attributes than these.
    """
    return read_policy(str(path), policy_text(path), compiler, now=now, attributes=attributes)


def policy_text(path: Path) -> str:
    """The text of a policy file. Raises InvalidPolicy if it is too large or cannot be read."""
    document = Document.of(path)
    if document.problems:
        raise InvalidPolicy(document.problems)
    return document.source


def read_policy(
    where: str,
    text: str,
    compiler: Compiler,
    *,
    now: float | None = None,
    attributes: Collection[str] | None = None,
) -> Policy:
    """The policy in a text. Raises InvalidPolicy with every mistake.

    `where`: the path of its file, for problems, and to find its list files. `now`, `attributes`: see `load_policy`.
    """
    reader = _Reader(Document(where, text), compiler, now, attributes)
    policy = reader.policy()
    if policy is None:
        raise InvalidPolicy(reader.document.sorted_problems())
    digest = blake2b(text.encode(), digest_size=16)
    digest.update(reader.lists.digest.digest())
    return replace(policy, digest=digest.hexdigest())


class _Lists(Struct, frozen=True):
    """The lists of a policy or of a tenant: their contents, the nodes of their names, and the trusted networks."""

    lists: Mapping[str, NamedList]
    nodes: Mapping[str, yaml.Node]
    trusted: frozenset[str]


class _Reader:
    def __init__(
        self, document: Document, compiler: Compiler, now: float | None, attributes: Collection[str] | None
    ) -> None:
        self.document = document
        self.lists = ListReader(document, Path(document.where).parent)
        self._tiers = TierReader(document)
        self._compiler = compiler
        self._now = now
        self._attributes = attributes
        self._inherited: frozenset[int] = frozenset()
        # Nodes of the policy that its tenants do not change are read once, and what they say is shared.
        self._all_journeys = cache(self._journeys)
        self._one_journey = cache(self._journey)

    def policy(self) -> Policy | None:
        """The policy, or None if there are problems."""
        document = self.document
        top = self._fields(document.root(), "policy", "the policy")
        self._format(top.get("format"))
        version = document.text(top.get("version"), "version", SYMBOL, "a version")
        domain = self._domain_in(top.get("domain"))
        levels = self._levels(top.get("levels"))
        retention = self._retention(top.get("retention"))
        lists = self._lists(top)
        counters = read_counters(document, top.get("counters"), self._attributes)
        policy = self._effective(
            top,
            lists,
            Policy(
                domain=domain,
                version=version or "",
                levels=levels or (0.0, 1.0),
                ladder={},
                journeys={},
                retention=retention,
                counters=tuple(counters),
            ),
        )
        own = frozenset(_keys(top.get("lists"))), frozenset(counters)
        reader = RuleReader(document, self._compiler, self._tiers.tier, own, self._attributes)
        rules = reader.rules(top.get("rules"))
        reader.compare(rules, policy.journeys)
        tenants = self._tenants(top, policy, lists)
        trusted = {name for each in (policy, *tenants.values()) for name in each.trusted_networks}
        used = trusted.union(*[lists_in(item.rule.when) for item in rules])
        for name in lists.nodes.keys() - used if used <= lists.nodes.keys() else ():
            document.wrong(lists.nodes[name], "unused_list", "remove it, or use it in a condition", name=name)
        check_counters(document, counters, [item.rule.when for item in rules])
        if document.problems or version is None or levels is None:
            return None
        policy, *own_policies = with_rules([policy, *tenants.values()], reader.compiled(rules))
        return replace(policy, tenants=dict(zip(tenants, own_policies, strict=True)))

    def _effective(self, top: Mapping[str, yaml.Node], lists: _Lists, base: Policy) -> Policy:
        """`base` with the sections in `top` that a policy and its tenants have. Incomplete if there are problems."""
        document = self.document
        ladder = self._tiers.ladder(top.get("tiers"), base.domain)
        learning = self._learning(top.get("learning_until"))
        return replace(
            base,
            ladder=ladder,
            journeys=self._all_journeys(top.get("journeys"), learning),
            trusted_issuers=read_issuers(document, top.get("trusted_issuers"), self._tiers.tier, self._tiers.methods),
            explicit_consent=document.boolean(top.get("explicit_consent"), "explicit_consent"),
            lists=lists.lists,
            trusted_networks=lists.trusted,
        )

    def _lists(self, top: Mapping[str, yaml.Node]) -> _Lists:
        document = self.document
        found = self.lists.lists(top.get("lists"))
        known = _keys(top.get("lists"))
        trusted = set()
        for node in document.items(top.get("trusted_networks"), "trusted_networks"):
            name = document.choice(node, "list", known)
            if name in found:
                trusted.add(name)
                kind = found[name][0].kind
                if kind != "networks":
                    document.wrong(node, "trusts_no_network", name=name, kind=kind)
        return _Lists(
            {name: each for name, (each, _) in found.items()},
            {name: node for name, (_, node) in found.items()},
            frozenset(trusted),
        )

    def _tenants(self, top: Mapping[str, yaml.Node], policy: Policy, lists: _Lists) -> dict[str, Policy]:
        document = self.document
        entries = document.entries(top.get("tenants"), "tenants")
        if len(entries) > MOST_TENANTS:
            document.wrong(top["tenants"], "too_many", what="tenants", limit=MOST_TENANTS)
        found = {}
        self._inherited = frozenset(values(top.get("journeys")))
        for name, key_node, node in entries:
            document.text(key_node, "a tenant", TENANT_NAME, "a tenant")
            with document.part(node, f"tenant '{name}'"):
                found[name] = self._tenant(node, top, policy, lists)
        return found

    def _tenant(self, node: yaml.Node, top: Mapping[str, yaml.Node], policy: Policy, lists: _Lists) -> Policy:
        document = self.document
        changes = self._fields(node, "tenant", "its section")
        if isinstance(node, yaml.MappingNode) and not node.value:
            document.wrong(node, "empty_list", "write what differs for it, or remove it", what="its section")
        merged = overlaid(top, changes)
        own = self._lists(merged) if changes.keys() & {"lists", "trusted_networks"} else lists
        for each in [each for each in own.lists if each in changed(changes, "lists")]:
            if each not in lists.lists:
                remedy = "add it to the lists of the policy, too, where conditions find it"
                document.wrong(own.nodes[each], "unknown_value", remedy, what="list", value=each)
            elif own.lists[each].kind != lists.lists[each].kind:
                kind = lists.lists[each].kind
                document.wrong(own.nodes[each], "list_of_other_kind", "use the same kind", name=each, kind=kind)
        found = self._effective(merged, own, policy)
        for at, what in looser(policy, found, changes):
            document.wrong(at, "tenant_loosens", "require at least as much as the policy does", what=what)
        return found

    def _fields(self, node: yaml.Node | None, kind: str, what: str) -> dict[str, yaml.Node]:
        return self.document.fields(node, what, *KEYS[kind])

    def _domain_in(self, node: yaml.Node | None) -> str:
        named, domain = Path(self.document.where).stem, self.document.choice(node, "domain", DOMAINS)
        if node is not None and named in DOMAINS and domain in DOMAINS and domain != named:
            self.document.wrong(node, "other_domain", f"write {named}, or rename the file", domain=domain, named=named)
        return domain or ""

    def _format(self, node: yaml.Node | None) -> None:
        written = self.document.number(node, "format", 0, 1000)
        if node is not None and written not in (None, FORMAT):
            remedy = f"this version reads format {FORMAT}"
            self.document.wrong(node, "unknown_value", remedy, what="format", value=f"{written:g}")

    def _learning(self, node: yaml.Node | None) -> float:
        until = self.document.date(node, "learning_until")
        if node is not None and self._now is not None and 0.0 < until <= self._now:
            self.document.wrong(node, "learning_ended", "remove it, or set a later day", date=date(until))
        return until

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

    def _journeys(self, node: yaml.Node | None, learning: float) -> dict[str, Journey]:
        fields = self.document.fields(node, "journeys", JOURNEYS)
        found = {name: self._one_journey(name, value, learning) for name, value in fields.items()}
        return {name: journey for name, journey in found.items() if journey is not None}

    def _journey(self, name: str, node: yaml.Node, learning: float) -> Journey | None:
        document = self.document
        fields = self._fields(node, "journey", f"journey {name}")
        floor = self._tiers.tier(fields.get("floor"), "tier")
        bands = self._bands(fields.get("bands"), floor)
        postures = self._postures(fields.get("gaps"), floor)
        cold_start = self._tiers.tier(fields.get("cold_start"), "tier")
        self._check_floor(fields.get("cold_start"), "cold_start", cold_start, floor)
        if "cold_start" in fields and "history" not in postures:
            document.wrong(fields["cold_start"], "cold_start_unseen", "add history under gaps")
        valid_for = document.seconds(fields.get("valid_for"), "valid_for")
        if floor is None or valid_for is None:
            return None
        return Journey(
            floor=floor,
            bands=bands or Bands((), (floor,)),
            postures=postures,
            cold_start=cold_start or floor,
            valid_for_s=valid_for,
            learning_until=self._learning(fields.get("learning_until")) or learning,
            friction_budget=document.number(fields.get("friction_budget"), "friction_budget", 0.0001, 0.9999),
        )

    def _bands(self, node: yaml.Node | None, floor: Tier | None) -> Bands | None:
        document = self.document
        edges: list[float] = []
        tiers: list[Tier] = []
        for _, key_node, value_node in document.entries(node, "bands"):
            tier = self._tiers.tier(key_node, "tier")
            edge = document.number(value_node, "a band", 0, 1)
            if tier is None or edge is None or floor is None:
                continue
            if tier <= floor and id(value_node) in self._inherited:
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

    def _check_floor(self, node: yaml.Node | None, what: str, tier: Tier | None, floor: Tier | None) -> None:
        """Note a tier of a journey that is below its floor, unless only because a tenant has raised the floor."""
        if node is not None and tier and floor and tier < floor and id(node) not in self._inherited:
            remedy = "raise it, or lower the floor"
            self.document.wrong(node, "below_floor", remedy, what=what, tier=tier.name, floor=floor.name)

    def _postures(self, node: yaml.Node | None, floor: Tier | None) -> dict[str, Tier | None]:
        document = self.document
        found: dict[str, Tier | None] = {}
        for _, key_node, value_node in document.entries(node, "gaps"):
            source = document.choice(key_node, "source", tuple(SOURCES))
            posture = document.choice(value_node, "posture", (_NOTE, *TIERS))
            if source is not None and posture is not None:
                found[source] = None if posture not in TIERS else self._tiers.tier(value_node, "posture")
                self._check_floor(value_node, f"posture on {source}", found[source], floor)
        return found


def _keys(node: yaml.Node | None) -> list[str]:
    return (
        [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if isinstance(node, yaml.MappingNode)
        else []
    )
