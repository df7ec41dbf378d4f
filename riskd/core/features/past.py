"""What the features ask of the past: the subject's own, and everybody's."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Final

from msgspec import Struct

from riskd.core.context import Context, Memory, Missing, Remembered
from riskd.core.history import EMPTY, Tallies, units

UNCAPPED: Final = 1 << 62
"""For counts of a whole domain, where no single person can flood a week."""


class Past(Struct, frozen=True):
    """What proven sign-ins taught. `total`: how many there were of the subject's, decayed; positive."""

    tallies: Tallies
    total: float
    remembered: Remembered
    now: float


def taught(context: Context) -> Past | None:
    """The subject's past; None when the store failed or nothing has been proven yet.

    So a cold start is a gap, not suspicion.
    """
    remembered = context.remembered
    if isinstance(remembered, Missing):
        return None
    tallies = remembered.subject.profile.tallies
    total = units(tally(tallies, "sign_in", ""), context.now)
    return Past(tallies, total, remembered, context.now) if total > 0 else None


def tally(tallies: Tallies, table: str, value: str | None) -> list[int] | None:
    """The tally of one value, None when it has none."""
    values = tallies.get(table)
    return values.get(value) if values and value is not None else None


def everyone(remembered: Remembered, now: float) -> float:
    """Proven sign-ins of the whole identity domain, decayed."""
    return units(tally(remembered.domain.tallies, "sign_in", ""), now, UNCAPPED)


def popularity(remembered: Remembered, table: str, now: float) -> float:
    """Those of them that had this attempt's value in a table."""
    memory = _ENTITIES[table](remembered) if table in _ENTITIES else None
    history = memory.profile if memory else remembered.popularity.get(table, EMPTY)
    return units(tally(history.tallies, "sign_in", ""), now, UNCAPPED)


_ENTITIES: Final[dict[str, Callable[[Remembered], Memory]]] = {
    table: attrgetter(table) for table in ("address", "network", "asn", "device", "fingerprint")
}
