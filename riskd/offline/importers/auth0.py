"""Auth0 tenant logs: entries of `GET /api/v2/logs`, and those of log streams, which have an envelope."""

from __future__ import annotations

import re
from typing import Final

from riskd.offline.importers.event import Event, Row, Skipped, Source, inside, members, methods, moment, proof, text

_MEANING: Final = {
    "s": ("login", "succeeded", "session_established"),
    "sepft": ("login", "succeeded", "session_established"),
    "sens": ("login", "not_checked", "session_established"),
    "f": ("login", "failed", ""),
    "fp": ("login", "failed", ""),
    "fu": ("login", "failed", ""),
    "fepft": ("login", "failed", ""),
    "fcoa": ("login", "failed", ""),
    "fens": ("login", "failed", ""),
    "pwd_leak": ("login", "not_checked", ""),
    "gd_auth_failed": ("login", "succeeded", "challenge_failed"),
    "gd_auth_rejected": ("login", "succeeded", "challenge_failed"),
    "ss": ("registration", "not_checked", "session_established"),
    "scpr": ("recovery", "not_checked", ""),
    "scp": ("recovery", "not_checked", "recovery_completed"),
    "fcp": ("recovery", "not_checked", "recovery_failed"),
    "sce": ("profile_update", "not_checked", ""),
    "scu": ("profile_update", "not_checked", ""),
    "scpn": ("profile_update", "not_checked", ""),
    "gd_enrollment_complete": ("profile_update", "not_checked", ""),
    "gd_unenroll": ("profile_update", "not_checked", ""),
}
"""Journey, credential result and outcome of each event type code that is used."""
_STEPS: Final = frozenset(
    {"gd_start_auth", "gd_auth_succeed", "gd_send_sms", "gd_send_pn", "gd_send_email", "cls", "cs"}
)
_STRATEGIES: Final = {"auth0": "password", "ad": "password", "email": "email", "sms": "sms"}
_SUMMARY: Final = re.compile(r"[^/(]+ / [^/(]+")
"""`Chrome 120.0.0 / Mac OS X 10.15.7`: Auth0's summary of a user agent, which no browser will ever send."""


def read(row: Row, subject: str) -> Event | Skipped:
    """See `event.Read`."""
    if isinstance(inner := inside(row, "data"), dict):
        row = inner
    kind = text(row, "type")
    if kind not in _MEANING:
        return Skipped("another_step" if kind in _STEPS else "other_event", kind or "no type")
    time = moment(text(row, "date"))
    if time is None:
        return Skipped("no_time", "date")
    field = "user_name" if subject == "name" else "user_id"
    who, address, agent = text(row, field), text(row, "ip"), text(row, "user_agent")
    if not who:
        return Skipped("no_subject", field)
    if not address:
        return Skipped("no_address", "ip")
    journey, credential, outcome = _MEANING[kind]
    amr = _amr(row, kind) if outcome == "session_established" else ()
    return Event(
        time=time,
        subject=who,
        address=address,
        user_agent="" if _SUMMARY.fullmatch(agent) else agent,
        journey=journey,
        credential_result=credential,
        outcome=proof(amr) if outcome == "session_established" else outcome,
        amr=amr,
    )


def _amr(row: Row, kind: str) -> tuple[str, ...]:
    """Methods from the connection, and from the prompts that were answered during the sign-in."""
    first = "password" if kind == "sepft" else _STRATEGIES.get(text(row, "strategy"), "")
    prompts = [text(prompt, "name") for prompt in members(row, "details", "prompts")]
    return methods([first, *(name for name in prompts if name.startswith(("mfa-", "passkey")))])


SOURCE: Final = Source(name="auth0", title="Auth0 tenant logs", read=read, subjects=("id", "name"))
