"""The assurance that a completed sign-in achieved, to be compared with the one that was required of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from riskd.core.attempt import Outcome
from riskd.core.learn import Receipt
from riskd.core.policy import Rung
from riskd.core.requirement import UNMET, Tier, accepts

COMPLETED: Final = ("challenge_passed", "session_established", "recovery_completed")
"""Outcomes that say that a sign-in was completed. Only the first one of an assessment counts."""


def completed_tier(before: Receipt, after: Receipt, outcome: Outcome, ladder: Mapping[Tier, Rung]) -> str:
    """The name of the tier achieved, or `UNMET`, if this is the first outcome to complete the sign-in; else ''.

    `before` and `after` are the receipt before and after the outcome; `ladder` is the policy's.
    """
    if outcome.kind not in COMPLETED or any(kind in COMPLETED for kind in before.reported):
        return ""
    tier = achieved(after, outcome.amr, ladder)
    return tier.name if tier is not None else UNMET


def achieved(receipt: Receipt, amr: tuple[str, ...], ladder: Mapping[Tier, Rung]) -> Tier | None:
    """The strictest tier known to be met: the required one, if it was satisfied, or one that the methods `amr` meet.

    None if no tier is known to be met.
    """
    met: list[Tier] = [receipt.tier] if receipt.satisfied and receipt.tier < Tier.DENY else []
    met += [tier for tier, rung in ladder.items() if rung.accepted and accepts(rung.accepted, amr)]
    return max(met, default=None)
