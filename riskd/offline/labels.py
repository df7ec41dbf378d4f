"""The labels of an attempt: what its outcomes, or the truth of a simulation, say about it. Reports, training and
evaluation use this one rule."""

from __future__ import annotations

from typing import Final, Literal

from riskd.core.attempt import OUTCOMES

LABELS: Final = ("good", "fraud", "unproven", "unknown")
"""What the outcomes say about an attempt.

- `fraud`: confirmed. It outweighs everything else, in whatever order outcomes were reported.
- `good`: confirmed legitimate, or a challenge, a recovery or the whole sign-in was passed, and nobody reported fraud.
  Fraud is reported late or never, so an unknown share of these is not good.
- `unproven`: a challenge or recovery was failed or abandoned, and nothing else is known. Most attackers end here,
  and some owners.
- `unknown`: no outcome was reported.
"""
LabelSource = Literal["truth", "outcomes"]
"""Where labels come from: the truth of a simulation, or the outcomes of a log."""
GOOD, FRAUD, UNPROVEN, UNKNOWN = range(len(LABELS))
BIT: Final = {kind: 1 << number for number, kind in enumerate(OUTCOMES)}
"""The bit of each kind of outcome in a set of them."""
CONFIRMED: Final = "confirmed_fraud"
"""The kind of outcome that labels an attempt as fraud."""
PASSED: Final = ("confirmed_legitimate", "challenge_passed", "recovery_completed", "session_established")
"""Kinds of outcome that make an attempt good, unless fraud is confirmed."""
_GOOD: Final = sum(BIT[kind] for kind in PASSED)


def label(kinds: int) -> int:
    """The index in `LABELS` for a bit set of outcome kinds."""
    if kinds & BIT[CONFIRMED]:
        return FRAUD
    if kinds & _GOOD:
        return GOOD
    return UNPROVEN if kinds else UNKNOWN
