"""Who calls, and what each may do: identities, methods, tenants. Knows nothing of gRPC: `guard` asks at each call."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from msgspec import Struct

from riskd.core.errors import Problem, RiskdError
from riskd.metrics import METHODS, OTHER

PACKAGE: Final = "riskd.v1."
KNOWN: Final = tuple(f"{service}/{method}" for _, service, method in METHODS if service != OTHER)
"""Every method that a caller can be allowed, in full."""
FOR_ALL: Final = "riskd.v1.ReleaseService/"
"""Methods that begin so change or tell what decides for every tenant."""
EVERY: Final = "*"
"""Stands for every tenant."""
PREFIX: Final = "riskd_"
"""Tokens begin so: scanners for leaked secrets know them by it."""
TOKEN_BYTES: Final = 32
"""Random bytes of a token. At 256 bits nothing is guessed, so one plain hash keeps it (no salt, no stretching)."""
TOKEN_CHARACTERS: Final = 128
"""Longest token that is hashed at all."""
ROLES: Final = {
    "assessor": ("RiskService/Assess",),
    "outcome_reporter": ("RiskService/RecordOutcome",),
    "event_reporter": ("RiskService/RecordSecurityEvent",),
    "batch": ("RiskService/BatchAssess",),
    "stream": ("RiskService/StreamAssess",),
    "support": ("SubjectService/GetSubjectSummary",),
    "privacy_officer": (
        "SubjectService/GetSubjectSummary",
        "SubjectService/ExportSubject",
        "SubjectService/EraseSubject",
    ),
    "release_viewer": ("ReleaseService/GetRelease", "ReleaseService/ListReleases"),
    "releaser": (
        "ReleaseService/GetRelease",
        "ReleaseService/ListReleases",
        "ReleaseService/ActivateRelease",
        "ReleaseService/RollbackRelease",
    ),
}
"""Names for sets of methods, for the callers file."""


class UnknownCaller(RiskdError):
    """A call that shows neither a token nor a certificate of somebody who is known here."""

    reason = "UNKNOWN_CALLER"


class NotAllowed(RiskdError):
    """A known caller asks for a method, or names a tenant, that is not theirs. Nothing was done."""

    reason = "NOT_ALLOWED"


class Caller(Struct, frozen=True, kw_only=True):
    """Somebody who may call. `methods` in full (`riskd.v1.RiskService/Assess`); `tenants` may hold `EVERY`."""

    name: str
    methods: frozenset[str]
    tenants: frozenset[str]
    token_sha256: tuple[str, ...] = ()
    """SHA-256 of each token, hexadecimal; several while one takes another's place."""
    certificates: tuple[str, ...] = ()
    """Subject alternative names (`spiffe://example.org/web`, `web.example.org`), or `CN=web`."""

    def check_method(self, method: str) -> None:
        """Raises NotAllowed."""
        if method not in self.methods:
            what = f"{self.name} may not call {method.removeprefix(PACKAGE)}"
            raise NotAllowed([Problem("caller", what, "have it added to `methods` in the callers file")])

    def check_tenant(self, tenant: str) -> None:
        """Raises NotAllowed. The name of the tenant is not repeated: it may be a guess."""
        if tenant not in self.tenants and EVERY not in self.tenants:
            what = f"{self.name} may not act for this tenant"
            raise NotAllowed([Problem("tenant", what, "name a tenant of `tenants` in the callers file")])


class Callers:
    """Everybody who may call: one immutable set, swapped whole. Safe to share between threads."""

    def __init__(self, callers: Sequence[Caller]) -> None:
        """Identities must be of one caller each; `callers_file` sees to it."""
        self.all = tuple(callers)
        self._tokens = {digest: caller for caller in callers for digest in caller.token_sha256}
        self._certificates = {name: caller for caller in callers for name in caller.certificates}

    def by_token(self, token: str) -> Caller:
        """Whose token this is. Raises UnknownCaller.

        What time can tell of the look-up concerns the hash, which nobody can choose digit by digit.
        """
        shown = token_hash(token[:TOKEN_CHARACTERS])
        caller = self._tokens.get(shown)
        if caller is not None and any(compare_digest(shown, kept) for kept in caller.token_sha256):
            return caller
        raise UnknownCaller([Problem("authorization", "no caller has this token", "`riskd caller new` makes one")])

    def by_certificate(self, names: Sequence[str]) -> Caller:
        """Whose certificate has these names. Raises UnknownCaller, also where they are of several callers."""
        found = {caller.name: caller for name in names if (caller := self._certificates.get(name)) is not None}
        if len(found) == 1:
            return found.popitem()[1]
        what = "the names of the certificate are of several callers" if found else "no caller has this certificate"
        raise UnknownCaller([Problem("certificate", what, "give each caller names of its own in the callers file")])


def token_hash(token: str) -> str:
    """What is kept of a token: its SHA-256, hexadecimal."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_token() -> str:
    """A token that nobody has."""
    return PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def in_full(named: str) -> tuple[str, ...]:
    """The methods that a word of a callers file stands for: a role, or a method; empty where there is none."""
    methods = ROLES.get(named, (named.removeprefix(PACKAGE),))
    full = tuple(f"{PACKAGE}{method}" for method in methods)
    return full if set(full) <= set(KNOWN) else ()
