"""Changes numbers in the text of a policy file, and leaves everything else as it is, comments included."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from riskd.adapters.policy_file.document import Document
from riskd.core.errors import InvalidPolicy


def with_bands(where: str, text: str, bands: Mapping[str, Mapping[str, float]]) -> str:
    """The text with other scores for bands that it has: journey to tier to score. Raises InvalidPolicy, KeyError.

    A journey that borrows another's bands by an alias changes with it: read the result before it is trusted.
    """
    document = Document(where, text)
    top = dict(_children(document, document.root()))
    journeys = dict(_children(document, top.get("journeys")))
    edits: dict[tuple[int, int], str] = {}
    for journey, edges in bands.items():
        found = dict(_children(document, dict(_children(document, journeys[journey]))["bands"]))
        for tier, edge in edges.items():
            node = found[tier]
            edits[node.start_mark.index, node.end_mark.index] = repr(edge)
    if document.problems:
        raise InvalidPolicy(document.problems)
    for (start, end), number in sorted(edits.items(), reverse=True):
        text = text[:start] + number + text[end:]
    return text


def _children(document: Document, node: yaml.Node | None) -> list[tuple[str, yaml.Node]]:
    return [(key, value) for key, _, value in document.entries(node, "the policy")]
