"""What a history counts, by table and value, and how a table is called where histories are stored."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

Values = dict[str, list[int]]
"""What a table counted: by value, `[first period, n, n, ...]`."""
UNCOUNTED: Final[Values] = {}
"""What a table holds of which nothing was counted."""
LETTERS: Final = {
    "sign_in": "s",
    "address": "a",
    "network": "n",
    "asn": "o",
    "country": "c",
    "agent": "u",
    "browser": "b",
    "os": "p",
    "device_class": "k",
    "device": "d",
    "fingerprint": "f",
    "language": "l",
    "timezone": "z",
    "screen": "r",
    "issuer": "i",
    "hour": "h",
    "weekday": "w",
    "typing": "t",
    "attempt": "A",
    "attempt_day": "B",
    "failure": "F",
    "failure_day": "G",
    "journey_day": "J",
}
"""What a table is called where it is stored. A letter is never given to another table."""


class Tallies(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename=LETTERS):
    """What each table counted; None where nothing was. Only `history.fold` may change it."""

    sign_in: Values | None = None
    address: Values | None = None
    network: Values | None = None
    asn: Values | None = None
    country: Values | None = None
    agent: Values | None = None
    browser: Values | None = None
    os: Values | None = None
    device_class: Values | None = None
    device: Values | None = None
    fingerprint: Values | None = None
    language: Values | None = None
    timezone: Values | None = None
    screen: Values | None = None
    issuer: Values | None = None
    hour: Values | None = None
    weekday: Values | None = None
    typing: Values | None = None
    attempt: Values | None = None
    attempt_day: Values | None = None
    failure: Values | None = None
    failure_day: Values | None = None
    journey_day: Values | None = None

    def of(self, table: str) -> Values:
        """What a table counted, by the name of the table."""
        return getattr(self, table) or UNCOUNTED
