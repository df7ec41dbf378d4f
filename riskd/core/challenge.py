"""Turns a requirement into an OAuth step-up challenge (RFC 9470) or OpenID Connect request parameters."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from riskd.core.requirement import Requirement, Tier

_ERROR: Final = 'Bearer error="insufficient_user_authentication"'
_DESCRIPTION: Final = 'error_description="A different authentication level is required"'
_TOKEN: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""A scope token of RFC 6749, section 3.3: a value that can be one of several, separated by spaces, within quotes."""


def challenge(requirement: Requirement) -> str | None:
    """The `WWW-Authenticate` header of a 401 response that asks for a step-up (RFC 9470, section 3).

    None if the requirement is satisfied, or is DENY, which no authentication can meet: answer that with a 403. Raises
    ValueError for an `acr` that cannot be sent in a header; policies never contain one.
    """
    if requirement.satisfied or requirement.tier is Tier.DENY:
        return None
    parameters = [f'{name}="{value}"' for name, value in authorization_request(requirement).items()]
    return ", ".join([_ERROR, _DESCRIPTION, *parameters])


def authorization_request(requirement: Requirement, *, essential: bool = False) -> dict[str, str]:
    """The parameters of an authorization request that would meet the requirement, not URL-encoded.

    They are `acr_values` and `max_age` (OpenID Connect Core 1.0, section 3.1.2.1; RFC 9470, section 4), each only if
    the terms have it. `acr_values` is voluntary for the provider, so check the `acr` that it returns. With
    `essential`, `claims` takes its place (Core, section 5.5.1.1): a provider that supports it refuses rather than
    return another `acr`. Raises ValueError as `challenge` does.
    """
    terms, asked = requirement.terms, dict[str, str]()
    for value in terms.acr_values:
        if not _TOKEN.fullmatch(value):
            raise ValueError(f"acr {value!r} cannot be sent: use visible ASCII without spaces, quotes and \\")
    if terms.acr_values and essential:
        claim = {"id_token": {"acr": {"essential": True, "values": terms.acr_values}}}
        asked["claims"] = msgspec.json.encode(claim).decode()
    elif terms.acr_values:
        asked["acr_values"] = " ".join(terms.acr_values)
    if terms.max_age_s is not None:
        asked["max_age"] = str(terms.max_age_s)
    return asked
