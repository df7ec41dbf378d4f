"""Reads policy files, which are YAML with CEL conditions. A file with mistakes is refused, with all of them listed."""

from __future__ import annotations

from riskd.adapters.policy_file.cases import CASE_KEYS, CASE_MISTAKES, Case, Expected, load_cases
from riskd.adapters.policy_file.counters import attributes_of
from riskd.adapters.policy_file.document import MISTAKES
from riskd.adapters.policy_file.edit import with_bands
from riskd.adapters.policy_file.reader import KEYS, load_policy, policy_text, read_policy

__all__ = [
    "CASE_KEYS",
    "CASE_MISTAKES",
    "KEYS",
    "MISTAKES",
    "Case",
    "Expected",
    "attributes_of",
    "load_cases",
    "load_policy",
    "policy_text",
    "read_policy",
    "with_bands",
]
