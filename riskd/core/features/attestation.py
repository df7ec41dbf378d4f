"""Attestation: the result of the caller's check of a platform attestation."""

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
        name="attestation_failed",
        group="attestation",
        unit="0 or 1",
        direction=1,
        reason="ATTESTATION_FAILED",
        why="1 when the platform does not vouch for the app or its device, as with emulators and repackaged apps",
        text="The device could not prove that it is genuine.",
        sources=("attestation",),
        purpose="device",
    ),
    Feature(
        name="attestation_hardware",
        group="attestation",
        unit="0 or 1",
        direction=-1,
        reason="ATTESTATION_WEAK",
        why="1 when hardware vouches for the device: its keys cannot be copied to another machine",
        text="The device has no hardware-backed attestation.",
        sources=("attestation",),
        purpose="device",
    ),
)


def compute(attempt: Attempt, _context: Context, _past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    verdict = attempt.device.attestation if attempt.device else ""
    if not verdict:
        return (math.nan, math.nan)
    return (float(verdict == "failed"), float(verdict == "hardware"))
