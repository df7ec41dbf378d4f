"""Adaptive, risk-based authentication, in process.

    with riskd.open_engine() as engine:
        answer = engine.assess(riskd.Attempt(...))

Open one engine in each process, after any fork; all its threads share it. The modules inside are private.
"""

from __future__ import annotations

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
from riskd.core.caep import assurance_level_change, risk_level_change
from riskd.core.challenge import authorization_request, challenge
from riskd.core.context import Missing
from riskd.core.dossier import Summary
from riskd.core.errors import (
    InvalidAttempt,
    InvalidEvent,
    InvalidFile,
    InvalidOutcome,
    InvalidSubject,
    Problem,
    RiskdError,
    Unavailable,
    UnknownAssessment,
)
from riskd.core.requirement import Requirement, Tier
from riskd.embedded import Engine, open_engine
from riskd.engine.reported import Recorded
from riskd.subjects import Erased, Exported, Page, Subject, Subjects

__all__ = [
    "Assessment",
    "Attempt",
    "Behaviour",
    "Device",
    "Engine",
    "Erased",
    "Exported",
    "Federation",
    "InvalidAttempt",
    "InvalidEvent",
    "InvalidFile",
    "InvalidOutcome",
    "InvalidSubject",
    "Missing",
    "Network",
    "Outcome",
    "Outside",
    "Page",
    "Problem",
    "Reason",
    "Recorded",
    "Release",
    "ReportedPlace",
    "Requirement",
    "RiskdError",
    "SecurityEvent",
    "Session",
    "Subject",
    "Subjects",
    "Summary",
    "Tier",
    "Unavailable",
    "UnknownAssessment",
    "assurance_level_change",
    "authorization_request",
    "challenge",
    "open_engine",
    "risk_level_change",
]
