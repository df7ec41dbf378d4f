"""Outside: what breach corpora and shared signals report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Context
from riskd.core.features.feature import Feature
from riskd.core.features.past import Past

FEATURES: Final = (
    Feature(
        name="credential_breached",
        group="outside",
        unit="0 or 1",
        direction=1,
        reason="CREDENTIAL_BREACHED",
        why="1 when the password is in a breach corpus, which credential stuffing draws on",
        text="The password is known from a data breach.",
        sources=("outside",),
        purpose="sharing",
    ),
    Feature(
        name="reported_risk",
        group="outside",
        unit="0 low, 1 medium, 2 high",
        direction=1,
        reason="RISK_REPORTED",
        why="the risk that a partner last reported for the subject (CAEP 1.0 risk-level-change)",
        text="A partner reports that the account is at risk.",
        sources=("outside",),
        purpose="sharing",
    ),
)
_LEVELS: Final = {"low": 0.0, "medium": 1.0, "high": 2.0}


def compute(attempt: Attempt, _context: Context, _past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    outside = attempt.outside
    if outside is None:
        return (math.nan, math.nan)
    breached = outside.credential_breached
    return (math.nan if breached is None else float(breached), _LEVELS.get(outside.risk_level, math.nan))
