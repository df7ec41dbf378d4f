"""Okta System Log: LogEvent objects (JSON), and the admin console's CSV, whose columns are paths into them."""

from __future__ import annotations

from typing import Final

from riskd.offline.importers.event import Event, Row, Skipped, Source, inside, members, methods, moment, proof, text

_STEPS: Final = (
    "policy.evaluate_sign_on",
    "user.authentication.",
    "user.mfa.okta_verify",
    "system.push.send_factor_verify_push",
)
_OWN_CHANGES: Final = {
    "user.account.update_password": "profile_update",
    "user.account.update_primary_email": "profile_update",
    "user.account.update_secondary_email": "profile_update",
    "user.mfa.factor.activate": "profile_update",
    "user.mfa.factor.deactivate": "profile_update",
    "user.mfa.factor.update": "profile_update",
    "user.account.reset_password": "recovery",
}
"""Journeys of events that an administrator can cause, too; those are not the account owner's."""
_SIGN_IN: Final = ("", "LOGIN", "AUTHENTICATION")
"""Intents of a factor in a sign-in. Other intents enrol a factor or recover an account."""
_REFUSED: Final = ("FAILURE", "DENY")
_COLUMNS: Final = {
    "timestamp": "published",
    "event_type": "eventType",
    "alternate_id": "alternateId",
    "ip_address": "ipAddress",
    "user_agent": "userAgent",
    "raw_user_agent": "rawUserAgent",
    "authentication_context": "authenticationContext",
    "external_session_id": "externalSessionId",
    "credential_type": "credentialType",
    "debug_context": "debugContext",
    "debug_data": "debugData",
    "factor_intent": "factorIntent",
}


def read(row: Row, subject: str) -> Event | Skipped:
    """See `event.Read`."""
    if "event_type" in row:
        row = _nested(row)
    kind, result = text(row, "eventType"), text(row, "outcome", "result")
    if kind == "user.session.start":
        if result != "SUCCESS":
            return _event(row, subject, credential_result="failed")
        amr = methods([text(row, "authenticationContext", "credentialType")])
        return _event(row, subject, credential_result="succeeded", outcome=proof(amr), amr=amr)
    if kind == "user.authentication.auth_via_mfa":
        return _factor(row, subject, result)
    if kind in _OWN_CHANGES:
        return _change(row, subject, kind, result)
    reason = "another_step" if kind.startswith(_STEPS) else "other_event"
    return Skipped(reason, kind or "no eventType")


def _factor(row: Row, subject: str, result: str) -> Event | Skipped:
    intent = text(row, "debugContext", "debugData", "factorIntent")
    if intent not in _SIGN_IN:
        return Skipped("another_step", f"a factor for {intent}")
    amr = methods([text(row, "debugContext", "debugData", "factor")])
    if amr == ("pwd",):  # in Identity Engine the password is a factor, too, but no challenge
        if result in _REFUSED:
            return _event(row, subject, credential_result="failed")
        return Skipped("another_step", "a password, passed as a factor")
    if result == "SUCCESS":
        return _event(row, subject, credential_result="succeeded", outcome="challenge_passed", amr=amr)
    if result in _REFUSED:
        return _event(row, subject, credential_result="succeeded", outcome="challenge_failed", amr=amr)
    return Skipped("another_step", "a factor without a result")


def _change(row: Row, subject: str, kind: str, result: str) -> Event | Skipped:
    targets = [text(target, "id") for target in members(row, "target") if text(target, "type") == "User"]
    if "target" in row and targets != [text(row, "actor", "id")]:
        return Skipped("other_event", f"{kind} by an administrator")
    if result != "SUCCESS":
        return Skipped("other_event", f"{kind} without success")
    journey = _OWN_CHANGES[kind]
    return _event(row, subject, journey=journey, outcome="recovery_completed" if journey == "recovery" else "")


def _event(
    row: Row,
    subject: str,
    *,
    journey: str = "login",
    credential_result: str = "not_checked",
    outcome: str = "",
    amr: tuple[str, ...] = (),
) -> Event | Skipped:
    time = moment(text(row, "published"))
    if time is None:
        return Skipped("no_time", "published")
    who = text(row, "actor", "alternateId" if subject == "login" else "id")
    if not who or who == "unknown" or text(row, "actor", "type") not in ("User", ""):
        return Skipped("no_subject", "actor")
    address = text(row, "client", "ipAddress")
    if not address:
        return Skipped("no_address", "client.ipAddress")
    session = text(row, "authenticationContext", "externalSessionId")
    return Event(
        time=time,
        subject=who,
        address=address,
        user_agent=text(row, "client", "userAgent", "rawUserAgent"),
        journey=journey,
        credential_result=credential_result,
        outcome=outcome,
        amr=amr,
        sign_in=session if outcome and session != "unknown" and journey == "login" else "",
    )


def _nested(row: Row) -> Row:
    """A row of the CSV as the LogEvent that it came from. It has no targets."""
    event: dict[str, object] = {}
    for column, value in row.items():
        *path, last = [_COLUMNS.get(name, name) for name in column.split(".")]
        at = event
        for name in path:
            deeper = inside(at, name)
            at[name] = at = deeper if isinstance(deeper, dict) else {}
        at[last] = value
    return event


SOURCE: Final = Source(name="okta", title="Okta System Log", read=read, subjects=("id", "login"))
