"""The example of trusted issuers in docs/policy.md is valid and means what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.policy_file import read_policy
from riskd.core.features import NAMES
from riskd.core.policy import Policy
from riskd.core.requirement import Tier

ROOT: Final = Path(__file__).parents[2]
OKTA: Final = "https://example.okta.com"
SAML: Final = "https://idp.example.edu/shibboleth"


def shown(domain: str) -> Policy:
    page = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(trusted_issuers:\n.*?)```", page, re.DOTALL)
    text = (ROOT / "data" / "policies" / f"{domain}.yaml").read_text(encoding="utf-8")
    assert text.count("trusted_issuers: []\n") == 1
    return read_policy(domain, text.replace("trusted_issuers: []\n", block), CelCompiler(NAMES))


def test_the_issuers_of_the_page_are_valid() -> None:
    """Inserted into the shipped customer and workforce policies, the issuers are valid and map their `acr` values as
    the page says."""
    for domain in ("customer", "workforce"):
        issuers = shown(domain).trusted_issuers
        assert len(issuers) == 6
        assert issuers[OKTA].acr == {
            "urn:okta:loa:2fa:any": Tier.STEP_UP,
            "phr": Tier.PHISHING_RESISTANT,
            "phrh": Tier.HARDWARE_BOUND,
        }
        assert issuers[SAML].acr is not None
        assert issuers[SAML].acr["urn:oasis:names:tc:SAML:2.0:ac:classes:TimeSyncToken"] == ("otp",)
        assert issuers["https://accounts.google.com"].acr is None
