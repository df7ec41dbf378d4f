"""Reads the tiers of a policy: the table of them, and their names elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

import yaml

from riskd.adapters.policy_file.document import METHOD, SYMBOL, Document
from riskd.core.policy import Rung, ladder
from riskd.core.requirement import HUMAN, METHODS, Terms, Tier

TIER_KEYS: Final = (("aal",), ("acr_values", "max_age", "amr"))
"""Required and optional keys of a tier."""
TIERS: Final = tuple(tier.name for tier in Tier)


class TierReader:
    """Reads a table of tiers, then the names of tiers, which must be in the table."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._table: frozenset[str] = frozenset()
        self._read = cache(self._ladder)

    def ladder(self, node: yaml.Node | None, domain: str) -> Mapping[Tier, Rung]:
        """The ladder of a policy of this identity domain, or of one of its tenants. Each node is read once."""
        self._table = frozenset(key for key, _, _ in self._document.entries(node, "tiers")) | {Tier.DENY.name}
        return self._read(node, domain)

    def _ladder(self, node: yaml.Node | None, domain: str) -> Mapping[Tier, Rung]:
        document = self._document
        found: dict[Tier, tuple[Terms, yaml.Node]] = {}
        for _, key_node, value_node in document.entries(node, "tiers"):
            name = document.choice(key_node, "tier", [tier for tier in TIERS if tier != Tier.DENY.name])
            terms = self._terms(value_node, key_node, name, domain)
            if name is not None and terms is not None:
                found[Tier[name]] = terms, key_node
        self._ages(found)
        return ladder({tier: terms for tier, (terms, _) in found.items()})

    def tier(self, node: yaml.Node | None, what: str) -> Tier | None:
        """A tier of the table that was read last, or DENY."""
        name = self._document.choice(node, what, TIERS)
        if node is None or name not in TIERS:
            return None
        if name not in self._table:
            self._document.wrong(node, "tier_without_terms", "add it under tiers", tier=name)
        return Tier[name]

    def methods(self, node: yaml.Node) -> tuple[str, ...]:
        """A combination of methods."""
        document = self._document
        methods = document.texts(node, "amr", METHOD, "an amr value")
        if isinstance(node, yaml.SequenceNode) and not node.value:
            document.wrong(node, "empty_list", "name the methods, or remove it", what="a combination of amr")
        if "kba" in methods:
            document.wrong(node, "no_factor", "remove it: NIST SP 800-63B-4 has no such authenticator", method="kba")
        return methods

    def _terms(self, node: yaml.Node, key_node: yaml.Node, name: str | None, domain: str) -> Terms | None:
        document = self._document
        fields = document.fields(node, f"tier {name}", *TIER_KEYS)
        aal = document.number(fields.get("aal"), "aal", 0, 3)
        acr_values = document.texts(fields.get("acr_values"), "acr_values", SYMBOL, "an acr value")
        combinations = tuple(self._combination(item, aal or 0) for item in document.items(fields.get("amr"), "amr"))
        max_age = document.seconds(fields.get("max_age"), "max_age")
        if name not in (None, Tier.BASELINE.name) and not acr_values and not combinations:
            document.wrong(key_node, "unmeetable_tier", "add the acr_values or amr that prove it", tier=name)
        if domain == "machine":
            self._unattended(key_node, name, (acr_values, *combinations))
        return None if aal is None else Terms(int(aal), acr_values, max_age, combinations)

    def _unattended(self, node: yaml.Node, name: str | None, values: Sequence[tuple[str, ...]]) -> None:
        """Note what a tier of the machine domain requires that only a person can do."""
        remedy = "use proof of a key: pop, hwk or swk"
        if name == Tier.IDENTITY_PROOF.name:
            self._document.wrong(node, "human_challenge", "use HARDWARE_BOUND or DENY", what=name)
        for value in dict.fromkeys(value for each in values for value in each if value in HUMAN):
            self._document.wrong(node, "human_challenge", remedy, what=f"{value} in {name}")

    def _combination(self, node: yaml.Node, aal: float) -> tuple[str, ...]:
        methods = self.methods(node)
        kinds = {METHODS.get(method, "unspecified") for method in methods}
        if aal >= 2 and len(methods) > 1 and len(kinds) == 1 and "unspecified" not in kinds:
            remedy = "add a factor of another kind (NIST SP 800-63B-4, section 2.2.1), or keep only one of them"
            self._document.wrong(node, "one_kind", remedy, methods=", ".join(methods), kind=kinds.pop())
        return methods

    def _ages(self, found: Mapping[Tier, tuple[Terms, yaml.Node]]) -> None:
        below: Tier | None = None
        for tier in sorted(found):
            terms, key_node = found[tier]
            limit = found[below][0].max_age_s if below is not None else None
            if below is not None and limit is not None and (terms.max_age_s is None or terms.max_age_s > limit):
                remedy = f"set max_age to at most {limit}s"
                self._document.wrong(key_node, "age_rises", remedy, tier=tier.name, below=below.name)
            below = tier
