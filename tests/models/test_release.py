"""The shipped policies and models together: what an answer says of them."""

from __future__ import annotations

import math

from riskd.adapters.memory import MemoryStore
from riskd.config import Settings
from riskd.core.assess import assess
from riskd.core.features import FEATURES
from riskd.wiring import load_release
from tests.cases.world import NOW, TableGeo, attempt, facts


def test_what_is_not_known_gives_no_reason() -> None:
    """A first sign-in, through Tor, is unusual for its network; nothing is said of a past that nobody knows."""
    first = attempt({"from": "tor"})
    keys, context = facts(first, TableGeo({}), NOW, MemoryStore())

    decision = assess(first, context, keys, load_release(Settings()), "assessment", explain=True)

    missing = {feature.reason for feature, value in zip(FEATURES, decision.vector, strict=True) if math.isnan(value)}
    present = {
        feature.reason for feature, value in zip(FEATURES, decision.vector, strict=True) if not math.isnan(value)
    }
    codes = {reason.code for reason in decision.assessment.reasons}
    assert "ANONYMIZER" in codes
    assert codes & (missing - present) == set()
