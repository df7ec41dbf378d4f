"""The event types of CAEP 1.0, RISC 1.0 and SSF 1.0 that riskd uses."""

from __future__ import annotations

from typing import Final

from riskd.core.caep import CAEP

BASE: Final = "https://schemas.openid.net/secevent/"
RISC: Final = BASE + "risc/event-type/"
SSF: Final = BASE + "ssf/event-type/"
OTHER: Final = "other"
VERIFICATION: Final = "verification"
STREAM_UPDATED: Final = "stream-updated"
EVENTS: Final = {
    CAEP + "risk-level-change": "risk-level-change",
    RISC + "credential-compromise": "credential-compromise",
    CAEP + "credential-change": "credential-change",
    RISC + "account-disabled": "account-disabled",
    RISC + "account-enabled": "account-enabled",
    RISC + "recovery-activated": "recovery-activated",
    RISC + "recovery-information-changed": "recovery-information-changed",
    SSF + VERIFICATION: VERIFICATION,
    SSF + STREAM_UPDATED: STREAM_UPDATED,
}
"""Short names of the events that riskd uses, by event type URI."""


def name(uri: str) -> str:
    """The short name of an event, or `other` for an event that riskd does not use."""
    return EVENTS.get(uri, OTHER)
