"""The callers: their identities, methods and tenants. Independent of gRPC; `guard` consults them on each call."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from msgspec import Struct

from riskd.core.errors import Problem, RiskdError
from riskd.metrics.labels import METHODS, OTHER

PACKAGE: Final = "riskd.v1."
KNOWN: Final = tuple(f"{service}/{method}" for _, service, method in METHODS if service != OTHER)
"""The full name of every method that a caller can be given."""
ALL_TENANTS_SERVICE: Final = "riskd.v1.ReleaseService/"
"""Prefix of the methods that concern every tenant, because releases decide for all of them."""
EVERY_TENANT: Final = "*"
"""In `tenants`, stands for every tenant."""
PREFIX: Final = "riskd_"
"""Prefix of every token, by which scanners for leaked secrets recognise it."""
TOKEN_BYTES: Final = 32
"""Random bytes in a token. 256 bits cannot be guessed, so a plain hash without salt or stretching is enough."""
TOKEN_CHARACTERS: Final = 128
"""Most characters of a token that are hashed."""
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
    """A call without a token or a certificate of a known caller."""

    reason = "UNKNOWN_CALLER"


class NotAllowed(RiskdError):
    """A known caller used a method or named a tenant that it was not given. Nothing was done."""

    reason = "NOT_ALLOWED"


class Caller(Struct, frozen=True, kw_only=True):
    """A caller and what it may do. `methods`: full names (`riskd.v1.RiskService/Assess`). `tenants`: may hold
    `EVERY_TENANT`."""

    name: str
    methods: frozenset[str]
    tenants: frozenset[str]
    token_sha256: tuple[str, ...] = ()
    """SHA-256 of each token, hexadecimal. There are several while one token replaces another."""
    certificates: tuple[str, ...] = ()
    """Subject alternative names (`spiffe://example.org/web`, `web.example.org`), or `CN=web`."""

    def check_method(self, method: str) -> None:
        """Raises NotAllowed if the caller may not use this method."""
        if method not in self.methods:
            what = f"{self.name} may not call {method.removeprefix(PACKAGE)}"
            raise NotAllowed([Problem("caller", what, "have it added to `methods` in the callers file")])

    def check_tenant(self, tenant: str) -> None:
        """Raises NotAllowed if the caller may not act for this tenant. The error does not repeat the tenant's name."""
        if tenant not in self.tenants and EVERY_TENANT not in self.tenants:
            what = f"{self.name} may not act for this tenant"
            remedy = "use one of the caller's `tenants` in the callers file, or have it added there"
            raise NotAllowed([Problem("tenant", what, remedy)])


class Callers:
    """All known callers. Immutable, and thread-safe."""

    def __init__(self, callers: Sequence[Caller]) -> None:
        """No two callers may share a token or a certificate name; `callers_file` checks that."""
        self.all = tuple(callers)
        self._tokens = {digest: caller for caller in callers for digest in caller.token_sha256}
        self._certificates = {name: caller for caller in callers for name in caller.certificates}

    def by_token(self, token: str) -> Caller:
        """The caller with this token. Raises UnknownCaller.

        Only the token's hash is looked up, so the time of the look-up does not help to guess a token.
        """
        caller = self._tokens.get(token_hash(token[:TOKEN_CHARACTERS]))
        if caller is not None:
            return caller
        raise UnknownCaller([Problem("authorization", "no caller has this token", "`riskd caller new` makes one")])

    def by_certificate(self, names: Sequence[str]) -> Caller:
        """The caller whose certificate has one of these names. Raises UnknownCaller if there is none, or several."""
        found = {caller.name: caller for name in names if (caller := self._certificates.get(name)) is not None}
        if len(found) == 1:
            return found.popitem()[1]
        what = "the certificate's names belong to several callers" if found else "no caller has this certificate"
        raise UnknownCaller([Problem("certificate", what, "list its name for exactly one caller in the callers file")])


def token_hash(token: str) -> str:
    """The SHA-256 of a token, hexadecimal, as stored in the callers file."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_token() -> str:
    """A new random token."""
    return PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def in_full(named: str) -> tuple[str, ...]:
    """The full names of the methods that a role or a method of a callers file stands for; empty if it is neither."""
    methods = ROLES.get(named, (named.removeprefix(PACKAGE),))
    full = tuple(f"{PACKAGE}{method}" for method in methods)
    return full if set(full) <= set(KNOWN) else ()
