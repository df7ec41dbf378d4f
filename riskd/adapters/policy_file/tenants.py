"""Overlays a tenant's section on the policy, as YAML nodes, before either is read.

Journeys, tiers and lists are merged key by key; other sections replace those of the policy. The result is read by the
same reader as the policy, and mistakes are reported where they are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import yaml

from riskd.core.policy import Policy, Rung
from riskd.core.requirement import Tier

TENANT_NAME: Final = r"\S{1,200}"
MOST_TENANTS: Final = 10_000
_DEEP: Final[Mapping[str, int]] = {"journeys": 2, "tiers": 2, "lists": 1}
"""Sections that are merged key by key, and how many levels deep."""


def overlaid(base: Mapping[str, yaml.Node], changes: Mapping[str, yaml.Node]) -> dict[str, yaml.Node]:
    """The policy's sections by key, with a tenant's overlaid."""
    return {**base, **{key: _merged(base.get(key), node, _DEEP.get(key, 0)) for key, node in changes.items()}}


def _merged(base: yaml.Node | None, change: yaml.Node, depth: int) -> yaml.Node:
    if depth == 0 or not isinstance(base, yaml.MappingNode) or not isinstance(change, yaml.MappingNode):
        return change
    ours = {key.value: (key, value) for key, value in change.value if isinstance(key, yaml.ScalarNode)}
    merged = []
    for key, value in base.value:
        if isinstance(key, yaml.ScalarNode) and key.value in ours:
            own_key, own = ours.pop(key.value)
            merged.append((own_key, _merged(value, own, depth - 1)))
        else:
            merged.append((key, value))
    merged += ours.values()
    return yaml.MappingNode(base.tag, merged, base.start_mark, base.end_mark)


def changed(changes: Mapping[str, yaml.Node], *path: str) -> dict[str, yaml.Node]:
    """The nodes that a tenant itself has below a path of keys, by name; empty if it has none there."""
    node: yaml.Node | None = None
    for key in path:
        children = changes if node is None else _children(node)
        node = children.get(key)
        if node is None:
            return {}
    return _children(node)


def looser(base: Policy, tenant: Policy, changes: Mapping[str, yaml.Node]) -> Iterator[tuple[yaml.Node, str]]:
    """Each place where a tenant requires less than the policy: its node and a description.

    Checked are floors, what the terms of a tier prove, and whether consent has to be explicit. A tenant is free to
    change bands, gaps, cold start, lists, issuers and `acr` names.
    """
    for name, journey in tenant.journeys.items():
        node = changed(changes, "journeys", name).get("floor")
        if node is not None and name in base.journeys and journey.floor < base.journeys[name].floor:
            yield node, f"a floor below {base.journeys[name].floor.name}"
    for tier, rung in tenant.ladder.items():
        own, terms = changed(changes, "tiers", tier.name), rung.met.terms
        if "amr" in own and not all(_as_strict(terms.amr, base.ladder[met]) for met in base.ladder if met <= tier):
            yield own["amr"], "methods that prove less than the policy's"
        if tier is Tier.DENY or tier not in base.ladder:
            continue
        limits = base.ladder[tier].met.terms
        if "aal" in own and terms.aal < limits.aal:
            yield own["aal"], f"an aal below {limits.aal}"
        limit = limits.max_age_s
        if "max_age" in own and limit is not None and (terms.max_age_s is None or terms.max_age_s > limit):
            yield own["max_age"], f"a max_age above {limit}s"
    if base.explicit_consent and not tenant.explicit_consent and "explicit_consent" in changes:
        yield changes["explicit_consent"], "explicit_consent off"


def _as_strict(amr: Sequence[Sequence[str]], rung: Rung) -> bool:
    """Whether each of these combinations of methods includes a combination that meets the rung.

    No combinations at all would allow any method, which is as strict only if the rung has none either.
    """
    if not rung.met.terms.amr:
        return True
    return bool(amr) and all(any(one.issubset(methods) for one in rung.combinations) for methods in amr)


def values(node: yaml.Node | None) -> Iterator[int]:
    """The `id` of every node below this one."""
    for child in _children(node).values():
        yield id(child)
        yield from values(child)


def _children(node: yaml.Node | None) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
