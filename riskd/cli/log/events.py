"""Describes a security event of the log in words."""

from __future__ import annotations

from riskd.core.record import SecurityEventRecord


def particulars(one: SecurityEventRecord) -> str:
    """What it says besides its kind: a level, a type of credential, or that the account was hijacked."""
    return one.level or one.credential_type or ("hijacked" if one.hijacked else "")


def reported_by(one: SecurityEventRecord) -> str:
    """Who reported it: the issuer and the caller, as far as they are known."""
    if one.issuer and one.caller:
        return f"{one.issuer}, through {one.caller}"
    return one.issuer or one.caller or "the caller"
