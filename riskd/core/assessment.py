"""The answer, as values."""

from __future__ import annotations

from msgspec import Struct

from riskd.core.context import Missing
from riskd.core.requirement import Requirement, Tier


class Reason(Struct, frozen=True):
    """Why the answer is what it is.

    `code` is stable UPPER_SNAKE, to match on; `text` is for people and may change at any time.
    `contribution` is in log-odds: how much lower they would be had this been as usual (0 for rules).
    """

    code: str
    contribution: float
    text: str


class Hit(Struct, frozen=True):
    """A rule whose condition was true: what it requires, and its reason. A shadow hit changes nothing."""

    rule: str
    tier: Tier
    reason: str
    shadow: bool = False
    text: str = ""
    """The reason for people."""


class Assessment(Struct, frozen=True, kw_only=True):
    """How likely this is not the account's owner, why, what is missing, and what to require.

    `score` is a probability, `level` low | medium | high, `coverage` the share 0..1 of expected sources
    that were there, `causes` why the answer is degraded (parts of riskd that failed, not absent
    signals), `valid_until` epoch seconds.
    """

    id: str
    score: float
    level: str
    requirement: Requirement
    reasons: tuple[Reason, ...]
    gaps: tuple[Missing, ...]
    coverage: float
    causes: tuple[str, ...]
    next_signals: tuple[str, ...]
    release: str
    model: str
    valid_until: float
