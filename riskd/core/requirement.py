"""Tiers, and what a tier asks of an attempt in the terms of an identity provider."""

from __future__ import annotations

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


HUMAN: Final = frozenset(
    "face fpt iris kba mca mfa otp pin pwd retina sms tel user vbm wia phr phrh".split()  # noqa: SIM905 - reads better
)
"""Methods (RFC 8176) and `acr` values (OpenID Connect EAP ACR Values 1.0) that say a person was there."""


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
    return not combinations or any(set(combination) <= set(amr) for combination in combinations)
