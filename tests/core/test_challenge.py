"""A requirement, rendered as an HTTP challenge and as an authorization request."""

from __future__ import annotations

import json
from typing import Final
from urllib.request import parse_http_list, parse_keqv_list

import pytest
from hypothesis import given
from hypothesis import strategies as st

import riskd
from riskd.core.requirement import Requirement, Terms, Tier

tokens: Final = st.text(st.sampled_from("abz019.:/?#=+-_[]~"), min_size=1, max_size=12)
terms: Final = st.builds(
    Terms,
    aal=st.integers(0, 3),
    acr_values=st.lists(tokens, max_size=3).map(tuple),
    max_age_s=st.none() | st.integers(0, 2_592_000),
)
requirements: Final = st.builds(Requirement, st.sampled_from(sorted(set(Tier) - {Tier.DENY})), terms, st.just(False))


@pytest.mark.parametrize(
    ("found", "parameters"),
    [
        (Terms(2, ("phr", "phrh"), 86_400), 'acr_values="phr phrh", max_age="86400"'),
        (Terms(2, ("mfa",)), 'acr_values="mfa"'),
        (Terms(1, (), 300), 'max_age="300"'),
    ],
)
def test_a_challenge_reads_as_in_the_rfc(found: Terms, parameters: str) -> None:
    """The header matches the examples of RFC 9470, section 3."""
    assert riskd.challenge(Requirement(Tier.STEP_UP, found, False)) == (
        'Bearer error="insufficient_user_authentication", '
        f'error_description="A different authentication level is required", {parameters}'
    )


@given(requirements)
def test_a_challenge_matches_the_authorization_request(requirement: Requirement) -> None:
    """Parsed as in RFC 9110, the challenge has the parameters of the authorization request, in the same order."""
    header = riskd.challenge(requirement)
    assert header is not None
    scheme, _, rest = header.partition(" ")
    parameters = parse_keqv_list(parse_http_list(rest))
    assert (scheme, parameters.pop("error")) == ("Bearer", "insufficient_user_authentication")
    assert parameters.pop("error_description")
    assert parameters == riskd.authorization_request(requirement)
    assert parameters.get("acr_values", "").split() == list(requirement.terms.acr_values)
    assert parameters.get("max_age") == (
        None if requirement.terms.max_age_s is None else f"{requirement.terms.max_age_s}"
    )


@given(requirements)
def test_an_essential_acr_replaces_acr_values(requirement: Requirement) -> None:
    """A request has `acr_values` (voluntary in OpenID Connect Core) or an essential `claims` entry, never both."""
    wish, demand = (riskd.authorization_request(requirement, essential=each) for each in (False, True))
    assert "acr_values" not in demand
    assert "claims" not in wish
    assert demand.get("max_age") == wish.get("max_age")
    values = requirement.terms.acr_values
    claims = {"id_token": {"acr": {"essential": True, "values": list(values)}}} if values else None
    assert (json.loads(demand["claims"]) if "claims" in demand else None) == claims


@given(terms, st.booleans())
def test_no_challenge_if_satisfied_or_denied(found: Terms, satisfied: bool) -> None:
    """There is no challenge if the requirement is already satisfied, or if the attempt is denied."""
    assert riskd.challenge(Requirement(Tier.STEP_UP, found, True)) is None
    assert riskd.challenge(Requirement(Tier.DENY, found, satisfied)) is None


@pytest.mark.parametrize("acr", ['a"b', "a b", "a\\b", "a\r\nSet-Cookie: x", "", "é"])
def test_an_acr_cannot_inject_into_the_header(acr: str) -> None:
    """An acr that could end the quoted string or the header line is refused."""
    with pytest.raises(ValueError, match="cannot be sent"):
        riskd.challenge(Requirement(Tier.STEP_UP, Terms(2, (acr,)), False))
