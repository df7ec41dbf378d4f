"""From a subject identifier (RFC 9493) to the subject that riskd knows, by what the stream says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Final

from riskd.shared_signals.stream import FORMATS, SubjectRule

ALIASES: Final = "aliases"
COMPLEX: Final = "complex"
MOST_ALIASES: Final = 16
SUBJECT_CHARACTERS: Final = 256
"""Of the longest subject that riskd takes."""


class NotForUs(Exception):
    """A subject that riskd has no use for. Its text names no value of the subject."""


def account(identifier: Mapping[str, object], rule: SubjectRule, critical: Set[str]) -> str:
    """The account that a subject identifier names. `critical`: members that must be understood.

    Raises NotForUs where it names none in the form that the stream says, or has what must be understood and is not
    (SSF 1.0, section 3.3).
    """
    kind = identifier.get("format")
    if kind == COMPLEX or (kind is None and rule.member in identifier):
        unknown = sorted(critical & identifier.keys() - {rule.member, "format"})
        if unknown:
            raise NotForUs(f"the subject has members that are critical and not understood: {len(unknown)}")
        inner = identifier.get(rule.member)
        if not isinstance(inner, dict):
            raise NotForUs(f"the subject has no {rule.member}")
        identifier = inner
    issuers = []
    for each in _simple(identifier):
        if each.get("format") != rule.format:
            continue
        if rule.format == "iss_sub" and each.get("iss") not in rule.issuers:
            issuers.append(each.get("iss"))
            continue
        value = each.get(FORMATS[rule.format])
        if isinstance(value, str) and 0 < len(value) <= SUBJECT_CHARACTERS:
            return value
        raise NotForUs(f"the identifier of format {rule.format} has no {FORMATS[rule.format]} that can be one")
    if issuers:
        raise NotForUs("the subject is by an issuer that this stream does not take")
    raise NotForUs(f"the subject has no identifier of format {rule.format}")


def _simple(identifier: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """One identifier, or those that mean the same (RFC 9493, section 3.2.8), which may not hold further ones."""
    if identifier.get("format") != ALIASES:
        yield identifier
        return
    identifiers = identifier.get("identifiers")
    for each in identifiers[:MOST_ALIASES] if isinstance(identifiers, list) else ():
        if isinstance(each, dict) and each.get("format") != ALIASES:
            yield each
