"""riskd: adaptive, risk-based authentication. This package is the in-process API:

with riskd.open_engine() as engine:
    answer = engine.assess(riskd.Attempt(...))
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from riskd.core.assess import Release
from riskd.core.assessment import Assessment, Reason
from riskd.core.attempt import (
    Attempt,
    Behaviour,
    Device,
    Federation,
    Network,
    Outcome,
    Outside,
    ReportedPlace,
    SecurityEvent,
    Session,
)
from riskd.core.challenge import authorization_request, challenge
from riskd.core.context import Missing
from riskd.core.errors import (
    InvalidAttempt,
    InvalidEvent,
    InvalidOutcome,
    Problem,
    RiskdError,
    Unavailable,
    UnknownAssessment,
)
from riskd.core.requirement import Requirement, Tier
from riskd.engine import Engine
from riskd.engine.reported import Recorded
from riskd.ports import Parts

__all__ = [
    "Assessment",
    "Attempt",
    "Behaviour",
    "Device",
    "Engine",
    "Federation",
    "InvalidAttempt",
    "InvalidEvent",
    "InvalidOutcome",
    "Missing",
    "Network",
    "Outcome",
    "Outside",
    "Parts",
    "Problem",
    "Reason",
    "Recorded",
    "Release",
    "ReportedPlace",
    "Requirement",
    "RiskdError",
    "SecurityEvent",
    "Session",
    "Tier",
    "Unavailable",
    "UnknownAssessment",
    "authorization_request",
    "challenge",
    "open_engine",
]


@contextmanager
def open_engine(config: str | None = None) -> Iterator[Engine]:
    """Open an engine configured by the file `config` (else $RISKD_CONFIG) and RISKD_* environment variables.

    Raises InvalidSettings, InvalidPolicy, InvalidModel or InvalidGeo with every problem found.
    """
    from riskd.config import load  # noqa: PLC0415 - `import riskd` must not load third-party packages
    from riskd.wiring import open_engine as wired  # noqa: PLC0415 - likewise

    with wired(load(config)) as engine:
        yield engine
