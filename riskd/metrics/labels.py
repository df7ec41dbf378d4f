"""The vocabularies of the labels of metrics, apart from those of the core. Each is bounded and known at the start."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Final

from riskd.core.attempt import DOMAINS, JOURNEYS
from riskd.core.context import SOURCES
from riskd.core.requirement import UNMET, Tier

OTHER: Final = "other"
"""The label value for anything outside the vocabulary."""
STAGES: Final = ("gather", "store_read", "decide", "record", "store_write", "shadow")
PARTS: Final = (
    "store",
    "store_damaged",
    "decision_log",
    "decision_log_slow",
    "decision_log_sync",
    "compaction",
    "geo",
    "reload",
    "clock",
    "tls",
    "callers",
    "tracing",
    "background",
)
NEEDED: Final = ("store", "decision_log")
"""Parts that an answer needs: if one fails, the answer says so."""
CAUSES: Final = (*SOURCES, "rule", "store", "decision_log")
"""Causes of a degraded answer: sources that could not be read, failed rules, and parts that could not be written to."""
SATISFIED: Final = ("true", "false", "wrong_credential")
"""Whether an attempt met its requirement already. A wrong credential meets none, and challenges nobody."""
FOLDERS: Final = ("store", "log")
DATABASES: Final = ("city", "asn", "anonymous")
CODES: Final = (
    *("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists"),
    *("PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented"),
    *("Internal", "Unavailable", "DataLoss", "Unauthenticated"),
)
"""gRPC status codes, spelled as by go-grpc-middleware, so that common dashboards match them."""
METHODS: Final = (
    ("unary", "riskd.v1.RiskService", "Assess"),
    ("unary", "riskd.v1.RiskService", "BatchAssess"),
    ("bidi_stream", "riskd.v1.RiskService", "StreamAssess"),
    ("unary", "riskd.v1.RiskService", "RecordOutcome"),
    ("unary", "riskd.v1.RiskService", "RecordSecurityEvent"),
    ("unary", "riskd.v1.SubjectService", "GetSubjectSummary"),
    ("unary", "riskd.v1.SubjectService", "ExportSubject"),
    ("unary", "riskd.v1.SubjectService", "EraseSubject"),
    ("unary", "riskd.v1.ReleaseService", "GetRelease"),
    ("unary", "riskd.v1.ReleaseService", "ListReleases"),
    ("unary", "riskd.v1.ReleaseService", "ActivateRelease"),
    ("unary", "riskd.v1.ReleaseService", "RollbackRelease"),
    (OTHER, OTHER, OTHER),
)
TIERS: Final = tuple(Tier.__members__)


def met(required: str, achieved: str) -> str:
    """Whether a sign-in that achieved a tier met the required one, as a label value. Nothing meets DENY."""
    ranks = (UNMET, *TIERS)
    if required not in TIERS or achieved not in ranks:
        return OTHER
    unmet = required == Tier.DENY.name or ranks.index(achieved) < ranks.index(required)
    return "false" if unmet else "true"


def rows(*vocabularies: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Every combination of the values of these labels, with `OTHER` as one more value of each."""
    return tuple(product(*((*vocabulary, OTHER) for vocabulary in vocabularies)))


def sign_ins() -> tuple[tuple[str, ...], ...]:
    """The rows of `riskd_sign_ins_total`: the tiers required and achieved also say whether the requirement was met."""
    combinations = rows(DOMAINS, JOURNEYS, TIERS, (UNMET, *TIERS))
    return tuple((*row, met(row[2], row[3])) for row in combinations)
