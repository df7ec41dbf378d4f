"""The counts of a history, by table and value, and the letters that stand for tables where histories are stored."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

Values = dict[str, list[int]]
"""The tallies of a table, by value: `[first period, n, n, ...]`. `[]` stands for the tally of `sign_in`, which a value
has if it came with every sign-in."""
_Whole = dict[str, Annotated[list[int], Meta(min_length=2)]]
"""The tallies of a table in which none is `[]`."""
UNCOUNTED: Final[Values] = {}
"""An empty table."""
SEEN: Final = (
    *("address", "network", "asn", "country", "agent", "browser", "os", "device_class"),
    *("device", "fingerprint", "language", "timezone", "screen", "issuer"),
)
"""Tables of a profile whose values are attributes of sign-ins. The other tables are counts and rhythms."""
RARE: Final = ("failure", "failure_day", "journey_day")
"""Tables of activity that most attempts do not count in."""
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
"""The letter that stands for each table where histories are stored. Never reuse a letter for another table."""


class Tallies(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename=LETTERS):
    """The tallies of each table; None for an empty one. Only `history.fold` may change them."""

    sign_in: _Whole | None = None
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
    hour: _Whole | None = None
    weekday: _Whole | None = None
    typing: _Whole | None = None
    attempt: _Whole | None = None
    attempt_day: _Whole | None = None
    failure: _Whole | None = None
    failure_day: _Whole | None = None
    journey_day: _Whole | None = None

    def of(self, table: str) -> Values:
        """The tallies of a table by value, with those stored as `[]` filled in."""
        account, values = self.account, getattr(self, table) or UNCOUNTED
        return {value: tally or account for value, tally in values.items() if tally or account}

    @property
    def account(self) -> list[int]:
        """The tally of all sign-ins; empty if there were none."""
        return (self.sign_in or UNCOUNTED).get("", [])

    def forget(self, tables: Iterable[str], period: int) -> None:
        """Drop earlier periods, and values without any left. Requires `separate` first. For `history.fold`."""
        for table in tables:
            values = getattr(self, table)
            if values:
                for value in [value for value, tally in values.items() if tally[0] < period]:
                    tally = values[value]
                    del tally[1 : 1 + period - tally[0]]
                    tally[0] = period
                    trim(tally)
                    if len(tally) == 1:
                        del values[value]
                if not values:
                    force_setattr(self, table, None)

    def seen(self) -> bool:
        """Whether any table of `SEEN` has values."""
        return _seen(self) != _NOTHING

    def separate(self) -> None:
        """Replace each `[]` with a copy of the tally of `sign_in`. For `history.fold`."""
        account = self.account
        if account:
            for values in filter(None, _seen(self)):
                for value, tally in values.items():
                    if not tally:
                        values[value] = account.copy()

    def unite(self) -> None:
        """The inverse of `separate`: replace each tally that equals that of `sign_in` with `[]`. For `history.fold`."""
        account = self.account
        if account:
            for values in filter(None, _seen(self)):
                for value, tally in values.items():
                    if tally == account:
                        values[value] = []


def trim(tally: list[int]) -> None:
    """Remove the zero counts at both ends of a tally."""
    while len(tally) > 1 and tally[-1] == 0:
        tally.pop()
    lead = 1
    while lead < len(tally) and tally[lead] == 0:
        lead += 1
    if lead > 1:
        tally[0] += lead - 1
        del tally[1:lead]


_seen: Final = attrgetter(*SEEN)
_NOTHING: Final = (None,) * len(SEEN)
rare: Final = attrgetter(*RARE)
"""The values of the tables of `RARE`, in their order; equal to `NOTHING_RARE` if they are empty."""
NOTHING_RARE: Final = (None,) * len(RARE)
