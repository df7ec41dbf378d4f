"""Keycloak user events: the REST API's objects, and the lines of the `jboss-logging` listener, plain or JSON."""

from __future__ import annotations

import re
from typing import Final

from riskd.offline.importers.event import Event, Row, Skipped, Source, inside, milliseconds, moment, text

_MEANING: Final = {
    "LOGIN": ("login", "session_established"),
    "LOGIN_ERROR": ("login", ""),
    "REGISTER": ("registration", "session_established"),
    "SEND_RESET_PASSWORD": ("recovery", ""),
    "RESET_PASSWORD": ("recovery", "recovery_completed"),
    "RESET_PASSWORD_ERROR": ("recovery", "recovery_failed"),
    "UPDATE_PASSWORD": ("profile_update", ""),
    "UPDATE_CREDENTIAL": ("profile_update", ""),
    "REMOVE_CREDENTIAL": ("profile_update", ""),
    "UPDATE_TOTP": ("profile_update", ""),
    "REMOVE_TOTP": ("profile_update", ""),
    "UPDATE_EMAIL": ("profile_update", ""),
    "UPDATE_PROFILE": ("profile_update", ""),
}
"""Journey and outcome of each event type that is used."""
_WRONG_CREDENTIAL: Final = frozenset(
    {"invalid_user_credentials", "user_not_found", "user_disabled", "user_temporarily_disabled", "invalid_passkey"}
)
"""Errors that mean a wrong credential. The others are expired pages and missing cookies."""
_PAIR: Final = re.compile(r'([A-Za-z_][\w.]*)=(?:"((?:[^"\\]|\\.)*)"|([^",\s]+))')
_STAMP: Final = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?")
_FIELDS: Final = ("type", "userId", "ipAddress", "error")


def read(row: Row, subject: str) -> Event | Skipped:
    """See `event.Read`."""
    if "line" in row or "message" in row:
        row = _logged(row)
    kind, error = text(row, "type"), text(row, "error")
    if kind not in _MEANING:
        return Skipped("another_step" if kind == "IDENTITY_PROVIDER_LOGIN" else "other_event", kind or "no type")
    if kind == "LOGIN_ERROR" and error not in _WRONG_CREDENTIAL:
        return Skipped("another_step", f"LOGIN_ERROR {error}")
    time = milliseconds(inside(row, "time"))
    if time is None:
        return Skipped("no_time", "time")
    who = text(row, "details", "username") if subject == "username" else text(row, "userId")
    if not who or who == "null":
        return Skipped("no_subject", subject)
    address = text(row, "ipAddress")
    if not address or address == "null":
        return Skipped("no_address", "ipAddress")
    journey, outcome = _MEANING[kind]
    credential = "not_checked" if kind != "LOGIN" or text(row, "details", "identity_provider") else "succeeded"
    return Event(
        time=time,
        subject=who,
        address=address,
        journey=journey,
        credential_result="failed" if kind == "LOGIN_ERROR" else credential,
        outcome=outcome,
    )


def _logged(row: Row) -> Row:
    """The event in a line of the server's log. Its time is UTC if it names no timezone."""
    line = text(row, "line") or text(row, "message")
    pairs = {key: quoted or bare for key, quoted, bare in _PAIR.findall(line)}
    event: dict[str, object] = {name: pairs.pop(name) for name in _FIELDS if name in pairs}
    stamp = _STAMP.search(line)
    time = moment(text(row, "timestamp") or (stamp[0] if stamp else ""))
    if time is not None:
        event["time"] = time * 1000
    return {**event, "details": pairs}


SOURCE: Final = Source(
    name="keycloak", title="Keycloak user events", read=read, subjects=("id", "username"), lines=True
)
