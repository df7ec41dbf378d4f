"""Changes numbers in the text of a policy file and keeps everything else, comments included."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from riskd.adapters.policy_file.document import Document
from riskd.core.errors import InvalidPolicy


def with_bands(where: str, text: str, bands: Mapping[str, Mapping[str, float]]) -> str:
    """The text with new scores for existing bands. `bands`: journey to tier to score. Raises InvalidPolicy, KeyError.

    Without a byte order mark. A journey that shares another's bands by a YAML alias changes, too, so check the result.
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
    text = document.source
    for (start, end), number in sorted(edits.items(), reverse=True):
        text = text[:start] + number + text[end:]
    return text


def _children(document: Document, node: yaml.Node | None) -> list[tuple[str, yaml.Node]]:
    return [(key, value) for key, _, value in document.entries(node, "the policy")]
