"""The public dataset of Wiefling et al., Pump Up Password Security! (TOPS 2022, doi:10.1145/3546069): CSV."""

from __future__ import annotations

from typing import Final

from riskd.offline.importers.event import Event, Row, Skipped, Source, moment, number, text


def read(row: Row, _: str) -> Event | Skipped:
    """See `event.Read`."""
    if "Login Successful" not in row:
        return Skipped("other_event", "no column `Login Successful`")
    time = moment(text(row, "Login Timestamp"))
    if time is None:
        return Skipped("no_time", "Login Timestamp")
    who, address = text(row, "User ID"), text(row, "IP Address")
    if not who:
        return Skipped("no_subject", "User ID")
    if not address:
        return Skipped("no_address", "IP Address")
    succeeded = _is_true(row, "Login Successful")
    attack = _is_true(row, "Is Attack IP") or _is_true(row, "Is Account Takeover")
    proven = "session_established" if succeeded else ""
    return Event(
        time=time,
        subject=who,
        address=address,
        user_agent=text(row, "User Agent String"),
        credential_result="succeeded" if succeeded else "failed",
        outcome="confirmed_fraud" if attack else proven,
        rtt_ms=number(text(row, "Round-Trip Time [ms]")),
    )


def _is_true(row: Row, column: str) -> bool:
    return text(row, column).lower() in ("true", "1")


SOURCE: Final = Source(name="rba-dataset", title="RBA dataset", read=read, subjects=("id",))
