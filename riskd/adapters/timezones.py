"""Timezones: offsets from UTC by the IANA database, and the zone at a point by polygons (tzfpy)."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

import tzfpy

CACHED: Final = 8192
"""Answers of either kind that are remembered."""
_QUARTER: Final = 900
"""Seconds. Offsets change on a quarter of an hour of UTC (since 1980, and some of them a minute after it)."""
_LAST: Final = 253_402_300_800.0
"""The end of year 9999, where `datetime` ends."""


class Timezones:
    """What IANA timezones say. Immutable but for bounded caches; safe between threads.

    Names are looked up among the known ones only, so that no text from outside becomes a path.
    """

    def __init__(self) -> None:
        self._names = frozenset(available_timezones())
        self._offset = lru_cache(CACHED)(_offset)
        self._zone = lru_cache(CACHED)(tzfpy.get_tz)
        self._zone(0.0, 0.0)

    def offset(self, name: str, time: float) -> int | None:
        """Minutes east of UTC in zone `name` at `time` (epoch seconds); None for a zone or time that is not known."""
        if name not in self._names or not 0.0 <= time < _LAST:
            return None
        return self._offset(name, int(time) // _QUARTER)

    def at(self, latitude: float, longitude: float) -> str:
        """The zone at a point (degrees, WGS 84)."""
        return self._zone(longitude, latitude)


def _offset(name: str, quarter: int) -> int | None:
    offset = datetime.fromtimestamp(quarter * _QUARTER, ZoneInfo(name)).utcoffset()
    return None if offset is None else int(offset.total_seconds() // 60)
