"""Maps a subject identifier (RFC 9493) to the subject that riskd knows, by the rule of the stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Final

from riskd.shared_signals.stream import FORMATS, SubjectRule

ALIASES: Final = "aliases"
COMPLEX: Final = "complex"
MOST_ALIASES: Final = 16
SUBJECT_CHARACTERS: Final = 256
"""Length of the longest subject that riskd accepts."""


class NotUsed(Exception):
    """The event is of no use to riskd. The text names no value of the subject."""


def account(identifier: Mapping[str, object], rule: SubjectRule, critical: Set[str]) -> str:
    """The account that a subject identifier names. `critical`: members of complex subjects that must be understood.

    Raises NotUsed if the identifier names no account in the format of the stream, or has a critical member that riskd
    does not understand (SSF 1.0, section 3.3).
    """
    kind = identifier.get("format")
    if kind == COMPLEX or (kind is None and rule.member in identifier):
        unknown = sorted(critical & identifier.keys() - {rule.member, "format"})
        if unknown:
            raise NotUsed(f"the subject has {len(unknown)} critical members that riskd does not understand")
        inner = identifier.get(rule.member)
        if not isinstance(inner, dict):
            raise NotUsed(f"the subject has no {rule.member}")
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
        raise NotUsed(f"the identifier of format {rule.format} has no valid {FORMATS[rule.format]}")
    if issuers:
        raise NotUsed("the subject's issuer is not one that this stream accepts")
    raise NotUsed(f"the subject has no identifier of format {rule.format}")


def _simple(identifier: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """The identifier itself, or the equivalent ones of an `aliases` identifier (RFC 9493, section 3.2.8), which cannot
    nest."""
    if identifier.get("format") != ALIASES:
        yield identifier
        return
    identifiers = identifier.get("identifiers")
    for each in identifiers[:MOST_ALIASES] if isinstance(identifiers, list) else ():
        if isinstance(each, dict) and each.get("format") != ALIASES:
            yield each
