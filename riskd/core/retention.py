"""How long an identity domain keeps what it remembers. A policy chooses within these bounds."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from riskd.core.history import ACTIVITY_SECONDS, DAY, HOUR, PROFILE_SECONDS, SEQUENCE_SECONDS

RECEIPT_SECONDS: Final = 90 * DAY
REPLY_SECONDS: Final = DAY
LOG_SECONDS: Final = 365 * DAY


class Retention(Struct, frozen=True, kw_only=True):
    """Seconds from the last touch of a record, or from the writing of a log line, to its end."""

    profile: int = PROFILE_SECONDS
    """What proven sign-ins taught."""
    activity: int = ACTIVITY_SECONDS
    """What was tried lately."""
    sequence: int = SEQUENCE_SECONDS
    """A subject's sensitive steps."""
    receipt: int = RECEIPT_SECONDS
    """What an assessment would teach: as long as its outcomes can be reported."""
    reply: int = REPLY_SECONDS
    """A first answer, for requests that are repeated."""
    log: int = LOG_SECONDS
    """Lines of the decision log; `log.keep_days` may end them sooner."""


BOUNDS: Final = {
    "profile": (DAY, PROFILE_SECONDS),
    "activity": (HOUR, ACTIVITY_SECONDS),
    "sequence": (DAY, SEQUENCE_SECONDS),
    "receipt": (DAY, PROFILE_SECONDS),
    "reply": (60, 7 * DAY),
    "log": (DAY, 3650 * DAY),
}
"""Shortest and longest of each. Nothing reads a profile, activity or sequence beyond its default, so to keep it longer
would be to keep it for nothing; a receipt that outlived the profile could not take back what it had taught."""
USUAL: Final = Retention()
"""Where no policy says otherwise."""
