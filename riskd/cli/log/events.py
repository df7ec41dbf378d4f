"""A security event of the log, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from riskd.core.record import SecurityEventRecord


def particulars(one: SecurityEventRecord) -> str:
    """What it says beside its kind: a level, a type of credential, or that somebody took the account over."""
    return one.level or one.credential_type or ("hijacked" if one.hijacked else "")


def told_by(one: SecurityEventRecord) -> str:
    """Who said so, by the word of the caller, and which caller it was, as far as that is known."""
    if one.issuer and one.caller:
        return f"{one.issuer}, says {one.caller}"
    return one.issuer or one.caller or "the caller"
