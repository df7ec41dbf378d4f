"""Reads the counters of a policy: the custom attributes whose values are counted."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import yaml

from riskd.adapters.policy_file.contradictions import attributes_in, counters_in
from riskd.adapters.policy_file.document import Document
from riskd.core.bounds import ATTRIBUTE
from riskd.core.counters import MOST
from riskd.core.policy import Policy


def read_counters(document: Document, node: yaml.Node | None, declared: Collection[str] | None) -> dict[str, yaml.Node]:
    """The counters, each with its node. `declared`: the attributes that attempts may carry; None if that is unknown."""
    found: dict[str, yaml.Node] = {}
    for item in document.items(node, "counters"):
        name = document.word(item, "a counter", ATTRIBUTE, "the name of an attribute, in lower_snake_case")
        if name in found:
            document.wrong(item, "duplicate_key", "remove one of them", key=name)
        elif name is not None:
            found[name] = item
            document.attribute(name, declared, item.start_mark.line + 1, item.start_mark.column + 1)
    if node is not None and len(found) > MOST:
        document.wrong(node, "too_many", "keep those that decide most", what="counters", limit=MOST)
    return found


def attributes_of(policy: Policy) -> frozenset[str]:
    """The custom attributes that a policy names in its counters and conditions."""
    conditions = {rule.when for journey in policy.journeys.values() for rule in journey.rules}
    return frozenset(policy.counters).union(*[attributes_in(when).values() for when in conditions])


def check_counters(document: Document, counters: dict[str, yaml.Node], conditions: Sequence[str]) -> None:
    """Note each counter that no condition names, unless one names another by mistake."""
    used = frozenset[str]().union(*map(counters_in, conditions))
    for name in counters.keys() - used if used <= counters.keys() else ():
        document.wrong(counters[name], "unused_counter", "remove it, or use it in a condition", name=name)
