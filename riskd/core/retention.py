"""How long an identity domain keeps what it remembers: the defaults, and the bounds within which a policy chooses."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from riskd.core.history import ACTIVITY_SECONDS, DAY, HOUR, PROFILE_SECONDS, SEQUENCE_SECONDS

RECEIPT_SECONDS: Final = 90 * DAY
REPLY_SECONDS: Final = DAY
LOG_SECONDS: Final = 365 * DAY


class Retention(Struct, frozen=True, kw_only=True):
    """Retention periods in seconds, from the last change of a record, or from the writing of a log line."""

    profile: int = PROFILE_SECONDS
    """What proven sign-ins taught."""
    activity: int = ACTIVITY_SECONDS
    """What was tried lately."""
    sequence: int = SEQUENCE_SECONDS
    """A subject's sensitive steps."""
    receipt: int = RECEIPT_SECONDS
    """What an assessment would teach. Outcomes can be reported for as long."""
    reply: int = REPLY_SECONDS
    """The first answer to a request id, for repeated requests."""
    log: int = LOG_SECONDS
    """Lines of the decision log; the setting `log.keep_days` may delete them sooner."""


BOUNDS: Final = {
    "profile": (DAY, PROFILE_SECONDS),
    "activity": (HOUR, ACTIVITY_SECONDS),
    "sequence": (DAY, SEQUENCE_SECONDS),
    "receipt": (DAY, PROFILE_SECONDS),
    "reply": (60, 7 * DAY),
    "log": (DAY, 3650 * DAY),
}
"""Shortest and longest period of each, in seconds.

No feature reads profiles, activity or sequences beyond their defaults, so keeping them longer would serve no purpose.
A receipt that outlived the profile could not undo what it had taught.
"""
USUAL: Final = Retention()
"""The periods for policies that set none."""
