"""Microsoft Entra sign-in logs: Graph `signIn` (JSON), diagnostic settings (JSON lines), the portal's JSON and CSV."""

from __future__ import annotations

from typing import Final

from riskd.offline.importers.event import Event, Row, Skipped, Source, inside, members, methods, moment, proof, text

_WRONG_CREDENTIAL: Final = frozenset({"50126", "50053", "50034", "50056", "50057", "50064", "50144", "50055"})
"""AADSTS error codes: password wrong or expired, account unknown, locked or disabled."""
_WRONG_CHALLENGE: Final = frozenset({"500121", "50088", "53011"})
"""The second factor failed, or the limit of tries was reached."""
_INTERRUPTED: Final = frozenset(
    {
        "50074",
        "50076",
        "50079",
        "50072",
        "50125",
        "50129",
        "50140",
        "50143",
        "50058",
        "50097",
        "50203",
        "65001",
        "16000",
    }
)
"""A prompt was shown (second factor, enrolment, consent, stay signed in); the sign-in that follows has the result."""
_RIGHT_CREDENTIAL: Final = _WRONG_CHALLENGE | {"0"}
_NOBODY: Final = "00000000-0000-0000-0000-000000000000"
_COLUMNS: Final = {
    "Date (UTC)": "createdDateTime",
    "User ID": "userId",
    "Username": "userPrincipalName",
    "IP address": "ipAddress",
    "User agent": "userAgent",
}


def read(row: Row, subject: str) -> Event | Skipped:
    """See `event.Read`."""
    if "Date (UTC)" in row:
        row = _signin(row)
    elif isinstance(inner := inside(row, "properties"), dict) and "createdDateTime" in inner:
        row = inner
    if "createdDateTime" not in row:
        return Skipped("other_event", "no createdDateTime")
    kinds = members(row, "signInEventTypes")
    if inside(row, "isInteractive") is False or (kinds and "interactiveUser" not in kinds):
        return Skipped("not_interactive")
    error = text(row, "status", "errorCode")
    if error in _INTERRUPTED:
        return Skipped("another_step", f"error {error}")
    return _event(row, subject, error)


def _event(row: Row, subject: str, error: str) -> Event | Skipped:
    time = moment(text(row, "createdDateTime"))
    if time is None:
        return Skipped("no_time", "createdDateTime")
    who = text(row, "userPrincipalName" if subject == "upn" else "userId")
    if not who or who == _NOBODY:
        return Skipped("no_subject", "userPrincipalName" if subject == "upn" else "userId")
    address = text(row, "ipAddress")
    if not address:
        return Skipped("no_address", "ipAddress")
    amr = _amr(row)
    right = "succeeded" if error in _RIGHT_CREDENTIAL else "not_checked"
    return Event(
        time=time,
        subject=who,
        address=address,
        user_agent=text(row, "userAgent"),
        credential_result="failed" if error in _WRONG_CREDENTIAL else right,
        outcome=_outcome(row, error, amr),
        amr=amr if error == "0" else (),
    )


def _outcome(row: Row, error: str, amr: tuple[str, ...]) -> str:
    """What Entra found out later outweighs that it let somebody in."""
    risk = text(row, "riskState")
    if risk == "confirmedCompromised":
        return "confirmed_fraud"
    if error in _WRONG_CHALLENGE:
        return "challenge_failed"
    if error != "0" or risk == "atRisk":
        return ""
    if risk == "confirmedSafe":
        return "confirmed_legitimate"
    return proof(amr)


def _amr(row: Row) -> tuple[str, ...]:
    steps = [step for step in members(row, "authenticationDetails") if inside(step, "succeeded") is True]
    return methods(text(step, "authenticationMethod") for step in steps)


def _signin(row: Row) -> Row:
    """A row of the CSV with the field names of Graph."""
    method, status = text(row, "Multifactor authentication auth method"), text(row, "Status")
    error = text(row, "Sign-in error code")
    fields: dict[str, object] = {ours: row.get(column) for column, ours in _COLUMNS.items()}
    required = text(row, "Authentication requirement").lower().startswith("multi")
    used = ["password", method] if required and method not in ("", "None") else []
    fields["authenticationDetails"] = [{"authenticationMethod": name, "succeeded": True} for name in used]
    fields["status"] = {"errorCode": "0" if status == "Success" else error if error not in ("", "None") else status}
    return fields


SOURCE: Final = Source(name="entra", title="Microsoft Entra sign-in logs", read=read, subjects=("id", "upn"))
