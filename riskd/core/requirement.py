"""Tiers, what a tier requires in an identity provider's terms, and which authentication methods count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final

from msgspec import Struct


class Tier(IntEnum):
    """How much assurance to require, in ascending order. The numbers are used on the wire."""

    BASELINE = 1
    STEP_UP = 2
    PHISHING_RESISTANT = 3
    HARDWARE_BOUND = 4
    IDENTITY_PROOF = 5
    DENY = 6


UNMET: Final = "NONE"
"""Stands for a tier where none is known to be met."""

HUMAN: Final = frozenset(
    "face fpt iris kba mca mfa otp pin pwd retina sms tel user vbm wia phr phrh".split()  # noqa: SIM905 - reads better
)
"""Methods (RFC 8176) and `acr` values (OpenID Connect EAP ACR Values 1.0) that prove that a person was present."""
METHODS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("pin", "pwd"), "knowledge"),
    **dict.fromkeys(("hwk", "otp", "pop", "sc", "sms", "swk", "tel"), "possession"),
    **dict.fromkeys(("face", "fpt", "iris", "retina", "vbm"), "inherence"),
    **dict.fromkeys(("mca", "mfa", "wia"), "unspecified"),
    **dict.fromkeys(("geo", "kba", "rba", "user"), "none"),
}
"""Every method of RFC 8176, section 2, and the kind of factor that it proves.

`unspecified`: an authentication by factors that it does not name. `none`: not an authenticator of NIST SP 800-63B-4,
section 3.1; a location, a security question, a risk score or the touch of a button identifies nobody.
"""
RESTRICTED: Final = frozenset({"sms", "tel"})
"""Methods over the telephone network (section 3.1.3.3). As they are restricted (section 3.2.9), policies must name them
to accept them."""
STANDALONE: Final = frozenset(name for name, kind in METHODS.items() if kind not in ("inherence", "none")) - RESTRICTED
"""Methods that authenticate by themselves. A biometric does not: it unlocks an authenticator (section 3.2.3)."""
_UNSPECIFIC: Final = frozenset({"mca", "mfa"})
"""Methods that say that there were several factors, but not which."""
_WEAK: Final = RESTRICTED | {"kba"}
"""Methods that must not count as the second factor of an unspecific one."""


class Terms(Struct, frozen=True):
    """One row of a policy's tier table.

    `aal` is the authenticator assurance level of NIST SP 800-63B-4 (0: none applies). `acr_values` are in order of
    preference (RFC 9470). `max_age_s` is the longest time since the last active authentication, in seconds (None: no
    limit). `amr` are the acceptable combinations of RFC 8176 methods (empty: any).
    """

    aal: int
    acr_values: tuple[str, ...] = ()
    max_age_s: int | None = None
    amr: tuple[tuple[str, ...], ...] = ()


class Requirement(Struct, frozen=True):
    """The required tier with its terms, and whether the attempt satisfies them already."""

    tier: Tier
    terms: Terms
    satisfied: bool


def accepts(combinations: tuple[tuple[str, ...], ...], amr: tuple[str, ...]) -> bool:
    """Whether the methods `amr` include one of the acceptable combinations. Without combinations, any are accepted."""
    methods = counting_methods(amr)
    return not combinations or any(methods.issuperset(combination) for combination in combinations)


def counting_methods(amr: Iterable[str]) -> frozenset[str]:
    """The methods that count.

    `mfa` and `mca` do not count beside a restricted method or security questions, which may be their second factor.
    """
    methods = frozenset(amr)
    return methods if methods.isdisjoint(_WEAK) else methods - _UNSPECIFIC
