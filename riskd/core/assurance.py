"""What assurance a sign-in came through with, beside the one that was required of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from riskd.core.attempt import Outcome
from riskd.core.learn import Receipt
from riskd.core.policy import Rung
from riskd.core.requirement import ALONE, UNMET, Tier, accepts, counted

COMPLETED: Final = ("challenge_passed", "session_established", "recovery_completed")
"""Outcomes that say that a sign-in came through. The first of them counts."""


def through(before: Receipt, kept: Receipt, outcome: Outcome, ladder: Mapping[Tier, Rung]) -> str:
    """The tier achieved, or `UNMET`, if this outcome is the first to say that the sign-in came through; else ''.

    `before` and `kept` are the receipt without the outcome and with it, `ladder` the policy's.
    """
    if outcome.kind not in COMPLETED or any(kind in COMPLETED for kind in before.reported):
        return ""
    tier = achieved(kept, outcome.amr, ladder)
    return tier.name if tier is not None else UNMET


def achieved(kept: Receipt, amr: tuple[str, ...], ladder: Mapping[Tier, Rung]) -> Tier | None:
    """The strictest tier that is known to be met: the one required, if it is, or that of the methods that were used.

    None: a session without a requirement that is met.
    """
    met: list[Tier] = [kept.tier] if kept.satisfied and kept.tier < Tier.DENY else []
    if amr:
        met += [tier for tier, rung in ladder.items() if tier < Tier.DENY and _proven(rung, amr)]
    return max(met, default=None)


def _proven(rung: Rung, amr: tuple[str, ...]) -> bool:
    if rung.any_method:
        return not counted(amr).isdisjoint(ALONE)
    return rung.accepted != () and accepts(rung.accepted, amr)
