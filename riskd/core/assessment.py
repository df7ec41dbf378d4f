"""The answer to an attempt: `Assessment`, and the `Reason`s and rule `Hit`s behind it."""

from __future__ import annotations

from msgspec import Struct

from riskd.core.context import Missing
from riskd.core.requirement import Requirement, Tier


class Reason(Struct, frozen=True):
    """One reason for an answer.

    `code` is a stable UPPER_SNAKE code to match on; `text` is for people and may change at any time. `contribution`:
    how much lower the log-odds would be if the features behind this reason had their usual values (0 for rules).
    """

    code: str
    contribution: float
    text: str


class Hit(Struct, frozen=True):
    """A rule whose condition was true: the tier it requires, and its reason code. A shadow hit has no effect."""

    rule: str
    tier: Tier
    reason: str
    shadow: bool = False
    text: str = ""
    """The reason as a sentence for people."""


class Assessment(Struct, frozen=True, kw_only=True):
    """How likely the attempt is not the account owner's, why, which facts are missing, and what to require.

    `score` is that probability, 0 to 1; `level` is low, medium or high. `gaps` are the missing facts, and `coverage`
    is the share 0..1 of expected sources that were there. `causes` name parts of riskd that failed (not absent
    signals). `next_signals` are the sources worth asking for. `release` and `model` are ids. `valid_until` is in
    epoch seconds.
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
