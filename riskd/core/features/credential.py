"""Credential: whether the first factor was checked, and whether it was wrong."""

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
        name="credential_failed",
        group="credential",
        unit="0 or 1",
        direction=1,
        reason="CREDENTIAL_FAILED",
        why="1 when the first factor was wrong; missing when it was not checked",
        text="The first factor was wrong.",
        sources=("credential",),
    ),
    Feature(
        name="credential_unchecked",
        group="credential",
        unit="0 or 1",
        direction=0,
        reason="CREDENTIAL_UNCHECKED",
        why="1 when the first factor was not checked, as in recovery and in flows that ask before the password: "
        "nothing has been proven yet",
        text="The first factor was not checked.",
    ),
)


def compute(attempt: Attempt, _context: Context, _past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    result = attempt.credential_result
    if result == "not_checked":
        return (math.nan, 1.0)
    return (float(result == "failed"), 0.0)
