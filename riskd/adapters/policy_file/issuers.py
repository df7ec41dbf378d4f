"""Reads the trusted issuers of a policy, and the meaning of each issuer's `acr` values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import yaml

from riskd.adapters.policy_file.document import SYMBOL, Document
from riskd.core.policy import Issuer
from riskd.core.requirement import Tier

ISSUER_KEYS: Final[tuple[tuple[str, ...], tuple[str, ...]]] = ((), ("acr",))


def read_issuers(
    document: Document,
    node: yaml.Node | None,
    tier: Callable[[yaml.Node, str], Tier | None],
    methods: Callable[[yaml.Node], tuple[str, ...]],
) -> dict[str, Issuer]:
    """The issuers by name. The node is a list of issuers that use the `acr` values of the tier table, or a mapping that
    gives each issuer's own.

    An `acr` value means a tier, read by `tier`, or a combination of methods, read by `methods`.
    """
    if not isinstance(node, yaml.MappingNode):
        return dict.fromkeys(document.texts(node, "trusted_issuers", SYMBOL, "an issuer"), Issuer())
    found = {}
    for name, key_node, value in document.entries(node, "trusted_issuers"):
        document.text(key_node, "an entry of trusted_issuers", SYMBOL, "an issuer")
        fields = document.fields(value, f"issuer {name}", *ISSUER_KEYS)
        found[name] = Issuer(_meanings(document, fields["acr"], tier, methods) if "acr" in fields else None)
    return found


def _meanings(
    document: Document,
    node: yaml.Node,
    tier: Callable[[yaml.Node, str], Tier | None],
    methods: Callable[[yaml.Node], tuple[str, ...]],
) -> dict[str, Tier | tuple[str, ...]]:
    found: dict[str, Tier | tuple[str, ...]] = {}
    for acr, key_node, value in document.entries(node, "acr"):
        document.text(key_node, "an acr value", SYMBOL, "an acr value")
        meaning = methods(value) if isinstance(value, yaml.SequenceNode) else tier(value, "tier")
        if meaning is Tier.DENY:
            document.wrong(value, "issuer_denies", "leave the acr out; it is then ignored", acr=acr)
        elif meaning is not None:
            found[acr] = meaning
    return found
