"""Translates an event of CAEP 1.0, RISC 1.0 or SSF 1.0 into what riskd records."""

from __future__ import annotations

from collections.abc import Set
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from riskd.core.attempt import SecurityEvent
from riskd.core.caep import LEVELS
from riskd.shared_signals.decoding import Unreadable, decode
from riskd.shared_signals.event_types import OTHER, STREAM_UPDATED, VERIFICATION, name
from riskd.shared_signals.stream import INVALID_REQUEST, Refused, Stream
from riskd.shared_signals.subject import NotUsed, account
from riskd.shared_signals.token import Verified

_CREDENTIAL_CHARACTERS: Final = 64
_Read = TypeVar("_Read")


class _RiskLevelChange(Struct, frozen=True):
    principal: str
    current_level: str


class _Credential(Struct, frozen=True):
    credential_type: str


class _AccountDisabled(Struct, frozen=True):
    reason: str = ""


class _StreamUpdated(Struct, frozen=True):
    """The transmitter pauses, resumes or disables the stream (SSF 1.0, section 8.1.5)."""

    status: str


class OfTheStream(Struct, frozen=True):
    """An event about the stream itself. `status`: the stream's new status, if the event is an update."""

    event: str
    status: str = ""


def meaning(event: Verified, stream: Stream, critical: Set[str]) -> SecurityEvent | OfTheStream:
    """The security event to report, or an event about the stream itself. `critical`: as for `account`.

    Raises NotUsed for an event that riskd does not use, and Refused for one that violates its specification.
    """
    called = name(event.uri)
    if called == VERIFICATION:
        return OfTheStream(called)
    if called == STREAM_UPDATED:
        status = _read(event, _StreamUpdated).status
        return OfTheStream(called, status if status in ("enabled", "paused", "disabled") else OTHER)
    if called == OTHER:
        raise NotUsed("riskd does not use events of this kind")
    return _completed(
        called,
        event,
        SecurityEvent(
            tenant=stream.tenant,
            domain=stream.domain,
            subject=account(event.subject, stream.subject, critical),
            issuer=stream.issuer,
            time=event.at,
            kind=called.replace("-", "_"),
        ),
    )


def _completed(called: str, event: Verified, common: SecurityEvent) -> SecurityEvent:
    """The event with the fields that only its kind has."""
    if called == "risk-level-change":
        change = _read(event, _RiskLevelChange)
        if change.principal != "USER":
            raise NotUsed("the principal is not a user")
        if change.current_level not in LEVELS:
            raise Refused(INVALID_REQUEST, f"current_level must be one of {', '.join(LEVELS)}")
        return replace(common, level=change.current_level.lower())
    if called in ("credential-compromise", "credential-change"):
        kind = _read(event, _Credential).credential_type
        if not 0 < len(kind) <= _CREDENTIAL_CHARACTERS:
            raise Refused(INVALID_REQUEST, f"credential_type must have 1 to {_CREDENTIAL_CHARACTERS} characters")
        return replace(common, credential_type=kind)
    if called == "account-disabled":
        return replace(common, hijacked=_read(event, _AccountDisabled).reason == "hijacking")
    return common


def _read(event: Verified, kind: type[_Read]) -> _Read:
    try:
        return decode(event.content, kind)
    except Unreadable as error:
        raise Refused(INVALID_REQUEST, f"{name(event.uri)} does not follow its specification: {error}") from None
