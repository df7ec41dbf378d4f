"""Tiers, and what a tier asks of an attempt in the terms of an identity provider."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final

from msgspec import Struct


class Tier(IntEnum):
    """Assurance to require, in rising order. The numbers are those of the wire."""

    BASELINE = 1
    STEP_UP = 2
    PHISHING_RESISTANT = 3
    HARDWARE_BOUND = 4
    IDENTITY_PROOF = 5
    DENY = 6


UNMET: Final = "NONE"
"""In the place of a tier: none is known to be met."""

HUMAN: Final = frozenset(
    "face fpt iris kba mca mfa otp pin pwd retina sms tel user vbm wia phr phrh".split()  # noqa: SIM905 - reads better
)
"""Methods (RFC 8176) and `acr` values (OpenID Connect EAP ACR Values 1.0) that say a person was there."""
METHODS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("pin", "pwd"), "knowledge"),
    **dict.fromkeys(("hwk", "otp", "pop", "sc", "sms", "swk", "tel"), "possession"),
    **dict.fromkeys(("face", "fpt", "iris", "retina", "vbm"), "inherence"),
    **dict.fromkeys(("mca", "mfa", "wia"), "unsaid"),
    **dict.fromkeys(("geo", "kba", "rba", "user"), "none"),
}
"""Every method of RFC 8176, section 2, and the kind of factor that it proves.

`unsaid`: an authentication that does not say by what. `none`: no authenticator of NIST SP 800-63B-4, section 3.1:
a place, an answer, a risk score and the touch of a button prove nobody.
"""
RESTRICTED: Final = frozenset({"sms", "tel"})
"""Methods over the telephone network (section 3.1.3.3). It is restricted (section 3.2.9): a policy has to name them."""
ALONE: Final = frozenset(name for name, kind in METHODS.items() if kind not in ("inherence", "none")) - RESTRICTED
"""What authenticates by itself. A biometric does not: it unlocks an authenticator (section 3.2.3)."""
_UMBRELLAS: Final = frozenset({"mca", "mfa"})
_HOLLOW: Final = RESTRICTED | {"kba"}


class Terms(Struct, frozen=True):
    """One row of a policy's tier table.

    `aal` is the NIST SP 800-63B-4 level (0: none applies), `acr_values` in order of preference
    (RFC 9470), `max_age_s` seconds since the last active authentication (None: no limit), `amr` the
    acceptable combinations of RFC 8176 methods (empty: any).
    """

    aal: int
    acr_values: tuple[str, ...] = ()
    max_age_s: int | None = None
    amr: tuple[tuple[str, ...], ...] = ()


class Requirement(Struct, frozen=True):
    """The tier with its terms, and whether the attempt already satisfies them."""

    tier: Tier
    terms: Terms
    satisfied: bool


def accepts(combinations: tuple[tuple[str, ...], ...], amr: tuple[str, ...]) -> bool:
    """Whether the methods used include one of the acceptable combinations; none listed means any."""
    methods = counted(amr)
    return not combinations or any(methods.issuperset(combination) for combination in combinations)


def counted(amr: Iterable[str]) -> frozenset[str]:
    """The methods that count. `mfa` and `mca` say that there were several, and not which: where a restricted method or
    security questions are named beside them, these may be the second one, and the umbrella is not counted."""
    methods = frozenset(amr)
    return methods if methods.isdisjoint(_HOLLOW) else methods - _UMBRELLAS
