"""A requirement in the words of those who ask for it: an OAuth challenge, an OpenID Connect request."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from riskd.core.requirement import Requirement, Tier

_ERROR: Final = 'Bearer error="insufficient_user_authentication"'
_TOLD: Final = 'error_description="A different authentication level is required"'
_TOKEN: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""RFC 6749, section 3.3: what can be one of several values between quotes, divided by spaces."""


def challenge(requirement: Requirement) -> str | None:
    """The `WWW-Authenticate` of a 401 that asks for a step-up: RFC 9470, section 3.

    None if there is nothing to ask for: the requirement is satisfied, or it is DENY, which no authentication meets and
    a 403 answers. Raises ValueError for an `acr` that cannot be told in a header; policies have none.
    """
    if requirement.satisfied or requirement.tier is Tier.DENY:
        return None
    parameters = [f'{name}="{value}"' for name, value in authorization_request(requirement).items()]
    return ", ".join([_ERROR, _TOLD, *parameters])


def authorization_request(requirement: Requirement, *, essential: bool = False) -> dict[str, str]:
    """The parameters of an authorization request that would meet the requirement, not yet encoded for a URL.

    `acr_values` and `max_age` (OpenID Connect Core 1.0, section 3.1.2.1; RFC 9470, section 4). `acr_values` is a wish
    that the provider may leave unmet: look at the `acr` that comes back. With `essential`, `claims` stands in its
    place (Core, section 5.5.1.1): a provider that supports it refuses instead. What the terms leave open is left out.
    Raises ValueError as `challenge` does.
    """
    terms, asked = requirement.terms, dict[str, str]()
    for value in terms.acr_values:
        if not _TOKEN.fullmatch(value):
            raise ValueError(f"acr {value!r} cannot be asked for: name it in visible ASCII without quotes and \\")
    if terms.acr_values and essential:
        claim = {"id_token": {"acr": {"essential": True, "values": terms.acr_values}}}
        asked["claims"] = msgspec.json.encode(claim).decode()
    elif terms.acr_values:
        asked["acr_values"] = " ".join(terms.acr_values)
    if terms.max_age_s is not None:
        asked["max_age"] = str(terms.max_age_s)
    return asked
