"""OCSF Authentication (class 3002, schema 1.0 to 1.8), as JSON."""

from __future__ import annotations

from typing import Final

from riskd.offline.importers.event import (
    Event,
    Row,
    Skipped,
    Source,
    inside,
    members,
    methods,
    milliseconds,
    moment,
    proof,
    text,
)

_CLASS: Final = "3002"
_ACTIVITIES: Final = {"1": "", "6": "another_step"}
_SUCCESS, _FAILURE = "1", "2"
_FACTORS: Final = {
    "1": "sms",
    "2": "question",
    "3": "phone call",
    "4": "biometric",
    "5": "push",
    "6": "hardware token",
    "7": "otp",
    "8": "email",
    "9": "u2f",
    "10": "webauthn",
    "11": "password",
}
"""`auth_factor.factor_type_id`."""
_FIELDS: Final = {"uid": "uid", "name": "name", "email": "email_addr"}


def read(row: Row, subject: str) -> Event | Skipped:
    """See `event.Read`."""
    if text(row, "class_uid") != _CLASS:
        return Skipped("other_event", f"class {text(row, 'class_uid') or 'unnamed'}")
    activity = text(row, "activity_id")
    if (reason := _ACTIVITIES.get(activity, "other_event")) != "":
        return Skipped(reason, f"activity {activity or 'unnamed'}")
    status = text(row, "status_id")
    if status not in (_SUCCESS, _FAILURE):
        return Skipped("other_event", f"status {status or 'unnamed'}")
    time = milliseconds(inside(row, "time"))
    if time is None:
        time = moment(text(row, "time_dt"))
    if time is None:
        return Skipped("no_time", "time")
    field = _FIELDS.get(subject, "uid")
    who = text(row, "user", field) or text(row, "actor", "user", field)
    address = text(row, "src_endpoint", "ip")
    if not who:
        return Skipped("no_subject", f"user.{field}")
    if not address:
        return Skipped("no_address", "src_endpoint.ip")
    return _event(row, who, address, time, proven=status == _SUCCESS)


def _event(row: Row, who: str, address: str, time: float, *, proven: bool) -> Event:
    factors = members(row, "auth_factors")
    amr = methods(_FACTORS.get(text(factor, "factor_type_id"), text(factor, "factor_type")) for factor in factors)
    return Event(
        time=time,
        subject=who,
        address=address,
        user_agent=text(row, "http_request", "user_agent"),
        credential_result="succeeded" if proven else "failed",
        outcome=proof(amr, challenged=inside(row, "is_mfa") is True) if proven else "",
        amr=amr if proven else (),
    )


SOURCE: Final = Source(name="ocsf", title="OCSF Authentication", read=read, subjects=("uid", "name", "email"))
